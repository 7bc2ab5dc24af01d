"""Sessions on every store, as endpoints hold them: blocking, and with data of a shape."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_memsession import MemoryStore, Session, SessionKey, SessionProvider, SessionStore
from fastapi_memsession.stores.redis import RedisStore
from tests.redis_server import RedisServer


@pytest.fixture(scope="session")
def handles_url(redis_folder) -> Iterator[str]:
    with RedisServer(redis_folder / "handles") as server:
        yield server.url


@pytest.fixture(params=["memory", "redis"])
async def store(request) -> AsyncIterator[SessionStore]:
    if request.param == "memory":
        store: SessionStore = MemoryStore()
    else:
        url = request.getfixturevalue("handles_url")
        store = RedisStore(url, prefix=f"handles-{secrets.token_hex(8)}", timeout=20)
    yield store
    await store.aclose()  # of the loop of the test itself, if that used it


@pytest.fixture
def provider(make_app, store) -> SessionProvider:
    return make_app(store=store).state.sessions


@pytest.fixture
async def session(provider) -> Session:
    return (await provider.login("anna", data={"n": 1})).session


@pytest.fixture
def again(provider) -> Callable[[Session], Session]:
    """Open the session as another request would."""

    async def again(session: Session) -> Session:
        token = provider.tokens.encode(
            SessionKey(session.user_id, session.id),
            {},
            issued_at=session.claims.issued_at,
            expires_at=session.claims.expires_at,
        )
        return await provider.open(token)

    return again


@pytest.fixture
def serve(make_app, store) -> Iterator[Callable[..., TestClient]]:
    """Serve an application on the store; keywords are settings."""
    with ExitStack() as stack:

        def serve(app: FastAPI, **values) -> TestClient:
            app = make_app(app=app, store=store, **values)
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield serve


@pytest.fixture
def log_in() -> Callable[[TestClient], dict[str, str]]:
    """Post to /login; return the headers that bring the token back."""

    def log_in(client: TestClient) -> dict[str, str]:
        response = client.post("/login")
        assert response.status_code == 200, response.text
        return {"Authorization": response.headers["authorization"]}

    return log_in
