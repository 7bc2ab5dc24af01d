"""A real uvicorn, real sockets and signals: what no test client shows."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.conftest import KEY
from tests.redis_server import RedisServer

APP = """
import os
from fastapi import FastAPI, Request, WebSocket
from fastapi_memsession import CurrentSession, MemoryStore, login_session, setup_sessions

class Store(MemoryStore):
    async def open(self):
        if os.environ.get("FAIL"):
            raise RuntimeError("the store is not there")
        await super().open()

    async def aclose(self):
        print("store closed", flush=True)

app = FastAPI()
setup_sessions(app, store=None if "MEMSESSION_PROVIDER" in os.environ else Store())

@app.post("/login")
async def login(request: Request):
    await login_session(request, "anna")

@app.get("/profile")
async def profile(session: CurrentSession):
    return [session.user_id, os.getpid()]

@app.post("/logout")
async def logout(session: CurrentSession):
    await session.destroy()
    return os.getpid()

@app.websocket("/socket")
async def echo(websocket: WebSocket, session: CurrentSession):
    await websocket.accept()
    await websocket.send_text(session.user_id)
"""


@contextmanager
def serving(folder, *options, **environment):
    """Run the application under uvicorn; give its process and its address."""
    (folder / "served.py").write_text(APP)
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
        env={**os.environ, "MEMSESSION_ENV": "test", **environment},
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


def credential(address):
    return {"Authorization": httpx.post(f"{address}/login").headers["authorization"]}


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_a_session_over_real_sockets(tmp_path, parser):
    """HTTP and WebSocket; a stop by signal closes the store."""
    with serving(tmp_path, "--http", parser) as (process, address):
        headers = credential(address)
        assert httpx.get(f"{address}/profile", headers=headers).json()[0] == "anna"
        assert httpx.get(f"{address}/profile").status_code == 401
        url = address.replace("http", "ws") + "/socket"
        with connect(url, additional_headers=headers) as websocket:
            assert websocket.recv() == "anna"
        with pytest.raises(InvalidStatus) as caught:
            connect(url)
        assert caught.value.response.status_code == 403
        process.send_signal(signal.SIGTERM)
        read_until(process, "store closed")
        process.wait(10)


def test_without_lifespan_sessions_work(tmp_path):
    """There is only nobody to clean up regularly."""
    with serving(tmp_path, "--lifespan", "off") as (_, address):
        assert httpx.get(f"{address}/profile", headers=credential(address)).status_code == 200


def test_a_store_that_cannot_open_stops_the_server(tmp_path):
    """It exits with an error that says why, instead of serving without sessions."""
    with serving(tmp_path, FAIL="1") as (process, _):
        printed, _ = process.communicate(timeout=20)
        assert process.returncode != 0
    assert "the store is not there" in printed
    assert "Application startup failed" in printed


def test_one_worker_is_not_warned(tmp_path):
    """Neither of siblings nor, with a key of its own, of a random one."""
    with serving(tmp_path) as (process, _):
        assert "Several workers" not in read_until(process, "Application startup complete")


def test_several_workers_are_warned(tmp_path):
    """All but the first, that their sessions are not shared; by real processes of one server."""
    with serving(tmp_path, "--workers", "3") as (process, _):
        printed = read_until(process, "Application startup complete", 3)
        process.send_signal(signal.SIGTERM)
        printed += process.communicate(timeout=20)[0]
    assert printed.count("Several workers keep sessions in memory") == 2


def test_workers_share_the_sessions_in_redis(tmp_path):
    """Logged in on one, looked at and logged out on the other, gone on both."""
    with (
        RedisServer(tmp_path / "redis") as redis,
        serving(
            tmp_path,
            "--workers",
            "2",
            MEMSESSION_PROVIDER="redis",
            MEMSESSION_REDIS_URL=redis.url,
            MEMSESSION_JWT_KEY=KEY,
        ) as (process, address),
    ):
        printed = read_until(process, "Application startup complete", 2)
        assert "Several workers" not in printed
        headers = credential(address)

        def ask(path, method="GET"):  # a new connection each time: any worker may answer
            return httpx.request(method, f"{address}{path}", headers=headers)

        workers = set()
        for _ in range(500):
            workers.add(ask("/profile").json()[1])
            if len(workers) == 2:
                break
        assert len(workers) == 2
        ask("/logout", "POST")
        assert {ask("/profile").status_code for _ in range(50)} == {401}
