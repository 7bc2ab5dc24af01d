"""Runs an application under a real uvicorn, in processes of its own."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

PROJECT = str(Path(__file__).parents[1])


@contextmanager
def serving(
    folder: Path, application: str, *options: str, log: Path | None = None, **environment: str
):
    """Run an application, given as a program, under uvicorn; give its process and its address.

    What it prints goes to `log`, or to whoever reads it from the process, which waits for that.
    """
    (folder / "served.py").write_text(application)
    listening = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(listening.fileno(), True)
    # What is accepted there has it, too. Asyncio sets it for sockets of which it knows the family,
    # which a server does not that is given a number: each answer would take forty milliseconds.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = listening.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "served:app", "--fd", str(listening.fileno())]
    if "--workers" in options:  # workers are started anew and inherit nothing
        listening.close()
        command = [*command[:4], "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") if log else nullcontext(subprocess.PIPE) as output:
        process = subprocess.Popen(
            [*command, *options],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": PROJECT, "MEMSESSION_ENV": "test", **environment},
            pass_fds=() if "--workers" in options else (listening.fileno(),),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    listening.close()
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers, too
        process.wait()
        if process.stdout:
            process.stdout.close()


def read_until(process, text, count=1):
    """Return what the process prints until `text` came `count` times, or it ends."""
    printed = ""
    while printed.count(text) < count and (line := process.stdout.readline()):
        printed += line
    assert printed.count(text) >= count, printed
    return printed
