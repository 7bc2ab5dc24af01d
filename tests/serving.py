"""Runs an application under a real uvicorn, in processes of its own."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

PROJECT = str(Path(__file__).parents[1])


@contextmanager
def serving(folder: Path, application: str, *options: str, **environment: str):
    """Run an application, given as a program, under uvicorn; give its process and its address."""
    (folder / "served.py").write_text(application)
    listening = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(listening.fileno(), True)
    port = listening.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "served:app", "--fd", str(listening.fileno())]
    if "--workers" in options:  # workers are started anew and inherit nothing
        listening.close()
        command = [*command[:4], "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": PROJECT, "MEMSESSION_ENV": "test", **environment},
        pass_fds=() if "--workers" in options else (listening.fileno(),),
        stdout=subprocess.PIPE,
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
        process.stdout.close()


def read_until(process, text, count=1):
    """Return what the process prints until `text` came `count` times, or it ends."""
    printed = ""
    while printed.count(text) < count and (line := process.stdout.readline()):
        printed += line
    assert printed.count(text) >= count, printed
    return printed
