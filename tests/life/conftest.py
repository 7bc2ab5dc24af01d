"""An application that uses all of a session's life, on every store and with every carrier."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from fastapi_memsession import (
    CurrentSession,
    MemoryStore,
    Session,
    SessionProvider,
    SessionStore,
    get_provider,
    login_session,
    peek_session,
    renew_session,
    require,
    session_router,
)
from fastapi_memsession.stores.redis import RedisStore
from tests.life.client import Client


def new_store(name: str, request: pytest.FixtureRequest) -> SessionStore:
    if name == "memory":
        return MemoryStore()
    url = request.getfixturevalue("redis_url")
    return RedisStore(url, prefix=f"life-{secrets.token_hex(8)}", timeout=20)


@pytest.fixture(params=["memory", "redis"])
async def store(request) -> AsyncIterator[SessionStore]:
    store = new_store(request.param, request)
    yield store
    await store.aclose()  # of the loop of the test itself, if that used it


@pytest.fixture
def make_client(make_app, store, clock) -> Iterator[Callable[..., Client]]:
    """Make an application on a store, and somebody to talk to it; keywords are settings."""
    with ExitStack() as stack:

        def make(carrier: str = "header", *, store: SessionStore = store, **values) -> Client:
            app = make_app(
                app=application(), store=store, **{"refresh": True, "carrier": carrier, **values}
            )
            client = TestClient(app, raise_server_exceptions=False)
            return Client(stack.enter_context(client), carrier, clock)

        yield make


@pytest.fixture
def client(make_client, carrier) -> Client:
    return make_client(carrier)


@pytest.fixture
def provider(client) -> SessionProvider:
    return client.app.state.sessions


Provider = Annotated[SessionProvider, Depends(get_provider)]


def application() -> FastAPI:
    app = FastAPI()
    app.include_router(session_router())

    @app.post("/login/{user}")
    async def login(request: Request, user: str, role: str = "user"):
        await login_session(request, user, claims={"role": role}, data={"n": 0})

    @app.get("/profile")
    async def profile(session: CurrentSession):
        return {"user": session.user_id, "data": await session.all(), **session.claims.data}

    @app.post("/count")
    async def count(session: CurrentSession):
        return await session.incr("n")

    @app.get("/left")
    async def left(session: Annotated[Session, Depends(peek_session)]):
        return session.expires_in

    @app.get("/left-and-used")
    async def left_and_used(
        peeked: Annotated[Session, Depends(peek_session)], session: CurrentSession
    ):
        return [session.expires_in, peeked is session]

    @app.post("/regenerate")
    async def regenerate(session: CurrentSession, then: str = ""):
        await session.set("before", 1)
        await session.regenerate()
        await session.set("after", 1)
        if then == "fail":
            raise RuntimeError
        if then == "destroy":
            await session.destroy()
        return session.id

    @app.post("/late/{verb}")
    async def late(session: CurrentSession, verb: str):
        async def body() -> AsyncIterator[str]:
            yield "started,"
            try:
                await getattr(session, verb)()
            except Exception as error:
                yield type(error).__name__

        return StreamingResponse(body())

    @app.post("/confirm")
    async def confirm(session: CurrentSession):
        await session.confirm()
        return session.confirmed_at

    @app.post("/claims")
    async def claims(session: CurrentSession, changes: dict[str, str | None]):
        await session.update_claims(**changes)
        return session.claims.data

    @app.post("/everywhere/{user}")
    async def everywhere(user: str, changes: dict[str, str | None], provider: Provider):
        return await provider.update_claims(user, **changes)

    @app.get("/admin")
    async def admin(session: Annotated[Session, Depends(require(role="admin"))]):
        return session.user_id

    @app.get("/staff")
    async def staff(session: Annotated[Session, Depends(require(role=("admin", "editor")))]):
        return session.user_id

    @app.get("/fresh")
    async def fresh(session: Annotated[Session, Depends(require(fresh=300))], same: CurrentSession):
        return session is same

    @app.post("/renew/{then}")
    async def renew(request: Request, then: str):
        session = await renew_session(request)
        if then == "fail":
            raise RuntimeError
        return session.claims.data

    return app
