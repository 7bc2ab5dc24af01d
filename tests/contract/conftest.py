"""The stores that the contract is tested on. Add a store here and the whole suite runs on it."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest

from fastapi_memsession import MemoryStore, SessionStore
from fastapi_memsession.stores.redis import RedisStore
from tests.redis_deployments import cluster, sentinel

PATIENCE = 20  # seconds that a call may take on a machine that has other things to do


@dataclass(frozen=True)
class Kind:
    """A kind of store.

    Attributes:
        server: the fixture that gives the URL of its server; None if it needs none.
        programs: how many random programs are run on it.
    """

    server: str | None
    programs: int


STORES = {
    "memory": Kind(None, programs=150),
    "redis": Kind("redis_url", programs=50),
    "redis-cluster": Kind("redis_cluster_url", programs=15),
    "redis-sentinel": Kind("redis_sentinel_url", programs=15),
}


@pytest.fixture(params=STORES)
def kind(request) -> Kind:
    return STORES[request.param]


@pytest.fixture
def new_store(kind, request) -> Callable[[], SessionStore]:
    """Make an empty store of one kind."""
    return maker_of(kind, request)


def maker_of(kind: Kind, request: pytest.FixtureRequest) -> Callable[[], SessionStore]:
    if kind.server is None:
        return MemoryStore
    url = request.getfixturevalue(kind.server)  # starts it, if it is the first to ask
    return lambda: RedisStore(url, prefix=f"test-{secrets.token_hex(8)}", timeout=PATIENCE)


@pytest.fixture
def new_stores(kind, request) -> Callable[[int], list[SessionStore]]:
    """Make stores that keep the same sessions, as processes do; in memory that is one for all."""
    if kind.server is None:
        return lambda number: [MemoryStore()] * number
    url, prefix = request.getfixturevalue(kind.server), f"test-{secrets.token_hex(8)}"
    return lambda number: [RedisStore(url, prefix=prefix, timeout=PATIENCE) for _ in range(number)]


@pytest.fixture(scope="session")
def redis_cluster_url(redis_folder) -> Iterator[str]:
    with cluster(redis_folder / "cluster") as servers:
        yield servers.url


@pytest.fixture(scope="session")
def redis_sentinel_url(redis_folder) -> Iterator[str]:
    with sentinel(redis_folder / "sentinel") as servers:
        yield servers.url


@pytest.fixture
async def store(new_store) -> AsyncIterator[SessionStore]:
    store = new_store()
    await store.open()
    yield store
    await store.aclose()
