"""The stores that the contract is tested on. Add a store here and the whole suite runs on it."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest

from fastapi_memsession import MemoryStore, SessionKey, SessionStore
from fastapi_memsession.stores.near import NearStore
from fastapi_memsession.stores.redis import RedisStore
from tests.redis_deployments import cluster, sentinel

PATIENCE = 20  # seconds that a call may take on a machine that has other things to do


@dataclass(frozen=True)
class Kind:
    """A kind of store.

    Attributes:
        server: the fixture that gives the URL of its server; None if it needs none.
        programs: how many random programs are run on it.
        make: what it is made by, if it has a server.
    """

    server: str | None
    programs: int
    make: Callable[..., SessionStore] = RedisStore


class EagerNearStore(NearStore):
    """Answers with copies whoever asks, if need be a second time: the whole suite meets them.

    And it hears of no change: what this process does it has to know by itself.
    """

    def __init__(self, url: str, **options) -> None:
        super().__init__(url, staleness=PATIENCE, **options)

    async def open(self) -> None:
        await super().open()
        for ear in self._tracking.here._ears.values():
            ear._take = lambda _: None

    async def load(self, key, *, now, renew_interval, generation=None):
        # Every session has had its first tokens: to show one of them changes nothing.
        options = {"renew_interval": renew_interval, "generation": generation or 0}
        await super().load(key, now=now, **options)
        return await super().load(key, now=now, **options)

    async def list_user(self, user_id, *, now):
        """See that there is a copy of each, and that it is right."""
        infos = await super().list_user(user_id, now=now)
        for info in infos:
            key = SessionKey(user_id, info.session_id)
            record = await self.load(key, now=now, renew_interval=None)
            assert record is not None
            assert record.info == info
        return infos


STORES = {
    "memory": Kind(None, programs=150),
    "redis": Kind("redis_url", programs=50),
    "redis-cluster": Kind("redis_cluster_url", programs=15),
    "redis-sentinel": Kind("redis_sentinel_url", programs=15),
    "near": Kind("redis_url", programs=20, make=EagerNearStore),
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
    return lambda: kind.make(url, prefix=f"test-{secrets.token_hex(8)}", timeout=PATIENCE)


@pytest.fixture
def new_stores(kind, request) -> Callable[[int], list[SessionStore]]:
    """Make stores that keep the same sessions, as processes do; in memory that is one for all."""
    if kind.server is None:
        return lambda number: [MemoryStore()] * number
    url, prefix = request.getfixturevalue(kind.server), f"test-{secrets.token_hex(8)}"
    return lambda number: [kind.make(url, prefix=prefix, timeout=PATIENCE) for _ in range(number)]


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
