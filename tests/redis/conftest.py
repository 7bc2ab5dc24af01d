"""Redis as it is deployed, started for the tests that ask for it, and records to keep in it."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from fastapi_memsession import SessionRecord
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import START
from tests.redis.calls import TIMEOUT, keep
from tests.redis.relay import Relay
from tests.redis_deployments import Cluster, cluster
from tests.redis_server import RedisServer


@pytest.fixture(scope="session")
def server(redis_folder) -> Iterator[RedisServer]:
    with RedisServer(redis_folder / "server") as running:
        yield running


@pytest.fixture(scope="session")
def nodes(redis_folder) -> Iterator[Cluster]:
    with cluster(redis_folder / "nodes") as running:
        yield running


@pytest.fixture
async def relay(server) -> AsyncIterator[Relay]:
    """Open a way to the server, which a test can block."""
    async with Relay(server) as relay:
        yield relay


@pytest.fixture
def record() -> Callable[..., SessionRecord]:
    """Make a record that lives for as long as any test."""

    def make(user_id: str = "anna", **data: bytes) -> SessionRecord:
        return SessionRecord(
            user_id=user_id,
            session_id=new_session_id(),
            claims={},
            data=data,
            created_at=START,
            last_seen_at=START,
            expires_at=START + 1000,
            deadline=START + 10_000,
            expiration=1000.0,
        )

    return make


@pytest.fixture
async def store(server) -> AsyncIterator[RedisStore]:
    """Make a store on the server, which a file may have overridden with one for each test."""
    store = RedisStore(server.url, timeout=TIMEOUT)
    yield store
    await store.aclose()


@pytest.fixture
async def kept(store, record) -> SessionRecord:
    """Keep a session with a number in it."""
    made = record(n=b"0")
    await keep(store, made)
    return made
