"""A real uvicorn, real sockets and signals: what no test client shows."""

import signal

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.serving import read_until, serving

APP = """
import os
from fastapi import FastAPI, WebSocket
from fastapi_memsession import CurrentSession, MemoryStore, setup_sessions
from tests.applications import add_login

class Store(MemoryStore):
    async def open(self):
        if os.environ.get("FAIL"):
            raise RuntimeError("the store is not there")
        await super().open()

    async def aclose(self):
        print("store closed", flush=True)

app = FastAPI()
setup_sessions(app, store=Store())

add_login(app)

@app.websocket("/socket")
async def echo(websocket: WebSocket, session: CurrentSession):
    await websocket.accept()
    await websocket.send_text(session.user_id)
"""


def credential(address):
    return {"Authorization": httpx.post(f"{address}/login").headers["authorization"]}


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_a_session_over_real_sockets(tmp_path, parser):
    """HTTP and WebSocket; a stop by signal closes the store."""
    with serving(tmp_path, APP, "--http", parser) as (process, address):
        headers = credential(address)
        assert httpx.get(f"{address}/profile", headers=headers).json() == "anna"
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
    with serving(tmp_path, APP, "--lifespan", "off") as (_, address):
        assert httpx.get(f"{address}/profile", headers=credential(address)).status_code == 200


def test_a_store_that_cannot_open_stops_the_server(tmp_path):
    """It exits with an error that says why, instead of serving without sessions."""
    with serving(tmp_path, APP, FAIL="1") as (process, _):
        printed, _ = process.communicate(timeout=20)
        assert process.returncode != 0
    assert "the store is not there" in printed
    assert "Application startup failed" in printed


def test_one_worker_is_not_warned(tmp_path):
    """Neither of siblings nor, with a key of its own, of a random one."""
    with serving(tmp_path, APP) as (process, _):
        assert "Several workers" not in read_until(process, "Application startup complete")


def test_several_workers_are_warned(tmp_path):
    """All but the first, that their sessions are not shared; by real processes of one server."""
    with serving(tmp_path, APP, "--workers", "3") as (process, _):
        printed = read_until(process, "Application startup complete", 3)
        process.send_signal(signal.SIGTERM)
        printed += process.communicate(timeout=20)[0]
    assert printed.count("Several workers keep sessions in memory") == 2
