"""Moving from memory to Redis: one variable, and nothing that a program or a client could see."""

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from fastapi_memsession import CurrentSession, SessionDataError, login_session, setup_sessions
from tests.redis_server import RedisServer


@pytest.fixture
def server(redis_folder, tmp_path):
    with RedisServer(tmp_path / "redis") as server:
        yield server


def application():
    """An application that names no store."""
    app = FastAPI()
    setup_sessions(app)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna", claims={"role": "admin"}, data={"n": 1, "a": [1.0]})

    @app.post("/work")
    async def work(session: CurrentSession):
        seen = [await session.incr("n"), await session.incr("f", 0.1), await session.incr("f", 0.2)]
        seen.append(await session.setdefault("d", {"b": None, "a": True}))
        seen.append(await session.pop("a"))
        seen.append(await session.compare_and_set("n", 2, "two"))
        for call in (session.set("bad", {1}), session.incr("n"), session.set("x", "x" * 70_000)):
            with pytest.raises(SessionDataError) as caught:
                await call
            seen.append(type(caught.value).__name__)
        async with session.lock():
            seen.append(await session.all())
        seen.append([session.user_id, session.claims.data])
        return seen

    @app.post("/logout")
    async def logout(session: CurrentSession):
        await session.destroy()

    return app


def story(app):
    """All that a client can see of a session's life, but for its token."""
    told = []
    with TestClient(app) as client:
        told.append(client.post("/work").json())
        headers = {"Authorization": client.post("/login").headers["authorization"]}
        for path in ("/work", "/logout", "/work", "/logout"):
            response = client.post(path, headers=headers)
            told.append((response.status_code, response.json(), sorted(response.headers)))
    return told


@pytest.mark.parametrize("near", ["false", "true"])
def test_one_variable_moves_an_application(server, monkeypatch, near):
    """The whole story is the same, value by value and header by header."""
    monkeypatch.setenv("MEMSESSION_ENV", "test")
    monkeypatch.setenv("MEMSESSION_REDIS_URL", server.url)
    in_memory = story(application())
    assert server.command("DBSIZE").strip() == "0"
    monkeypatch.setenv("MEMSESSION_PROVIDER", "redis")
    monkeypatch.setenv("MEMSESSION_NEAR_CACHE", near)
    app = application()
    assert story(app) == in_memory
    assert in_memory[1][0] == 200
    assert "evalsha" in server.command("INFO", "commandstats")
