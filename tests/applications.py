"""What the applications of tests have in common: a login, clients, and a store that counts."""

from contextlib import asynccontextmanager

import httpx
from fastapi import Request
from starlette.testclient import TestClient

from fastapi_memsession import CurrentSession, MemoryStore, login_session


def client_of(app, **options):
    return TestClient(app, base_url="https://testserver", **options)


def add_login(app) -> None:
    """Let whoever asks be anna, and tell whose a session is."""

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.get("/profile")
    async def profile(session: CurrentSession):
        return session.user_id


def credential(response) -> dict[str, str]:
    """The headers with which a client comes back after a response."""
    if "authorization" in response.headers:
        return {"Authorization": response.headers["authorization"]}
    cookie = response.headers.get("set-cookie", "")
    return {"Cookie": cookie.partition(";")[0]} if cookie else {}


class CountingStore(MemoryStore):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        self.calls = 0

    async def load(self, *args, **options):
        self.loads += 1
        self.calls += 1
        return await super().load(*args, **options)

    async def create(self, *args, **options):
        self.calls += 1
        return await super().create(*args, **options)

    async def delete(self, *args, **options):
        self.calls += 1
        return await super().delete(*args, **options)


@asynccontextmanager
async def calling(app):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as client:
        yield client
