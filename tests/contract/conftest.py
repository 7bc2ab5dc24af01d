"""The stores that the contract is tested on. Add a store here and the whole suite runs on it."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest

from fastapi_memsession import MemoryStore, SessionRecord, SessionStore
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.redis import RedisStore
from tests.redis_deployments import cluster, sentinel

ODD_TEXTS = ["", " ", "a b", "\r\nSet-Cookie: x=1", "\0", "}x", "{a}", "a:b", "ü", "u\u0308", "🦊"]
ODD_TEXTS += ["x" * 10_000, "%7B", "=", "#" + "0" * 64]
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


@pytest.fixture
def programs(kind) -> int:
    """Tell how many random programs are worth their time on a kind of store."""
    return kind.programs


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


@pytest.fixture
def record(clock) -> Callable[..., SessionRecord]:
    """Make a record as a login would: idle for 100 s at most, 1000 s old at most."""

    def make(user_id: str = "anna", **values) -> SessionRecord:
        now = clock()
        made = SessionRecord(
            user_id=user_id,
            session_id=new_session_id(),
            claims={"role": "admin"},
            data={},
            created_at=now,
            last_seen_at=now,
            expires_at=now + 100,
            deadline=now + 1000,
            expiration=100.0,
        )
        return made._replace(**values)

    return make


@pytest.fixture
async def kept(store, record, clock):
    """A live record in the store."""
    made = record(data={"b": b"1", "a": b'"x"'})
    await create(store, made, clock)
    return made


async def create(store, record, clock, limit=None, **more):
    return await store.create(record, now=clock(), limit_per_user=limit, **more)


async def load(store, key, clock, renew=None, **more):
    return await store.load(key, now=clock(), renew_interval=renew, **more)
