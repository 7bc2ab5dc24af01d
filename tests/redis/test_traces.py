"""What the end of a session leaves in Redis, and how long; and a rotation whose reply was lost."""

import pytest
from redis import exceptions

from fastapi_memsession import StoreUnavailable
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.base import LOGIN_SECONDS, SetValue
from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import START
from tests.redis_server import RedisServer

SLACK = 60  # seconds that Redis keeps what is over: callers' clocks differ


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("traces") / "redis") as server:
        yield server


@pytest.fixture
async def stores(redis):
    redis.command("FLUSHALL")
    stores = [RedisStore(redis.url, timeout=20) for _ in range(3)]
    yield stores
    for store in stores:
        await store.aclose()


@pytest.fixture
def lives(redis):
    """Tell for how many seconds each key will live, with the end of its name."""

    def lives():
        names = redis.command("KEYS", "*").split()
        seconds = [int(redis.command("PTTL", name)) / 1000 for name in names]
        return list(zip((name.rpartition(":")[2] for name in names), seconds, strict=True))

    return lives


async def create(store, made, **more):
    await store.create(made, now=START, limit_per_user=None, **more)
    return made


async def test_a_lost_reply_to_a_rotation_is_made_up_for_elsewhere(stores, make_app, monkeypatch):
    """The token was exchanged and nobody heard of it: any other process gives its successor."""
    here, there, yonder = (make_app(store=store, refresh=True).state.sessions for store in stores)
    token = (await here.login("anna")).tokens.refresh
    clients = stores[0]._clients
    attempt, sent = clients._attempt, []

    async def lose_the_reply(command):
        sent.append(await attempt(command))
        raise exceptions.ConnectionError

    monkeypatch.setattr(clients, "_attempt", lose_the_reply)
    with pytest.raises(StoreUnavailable):
        await here.renew(token)
    assert [reply[0] for reply in sent] == [b"rotated"]  # once: it was not tried again
    login = await there.renew(token)
    assert login.session.record.generation == 1
    assert (await yonder.renew(token)).tokens == login.tokens
    assert await yonder.open(login.tokens.access)
    assert (await there.renew(login.tokens.refresh)).session.record.generation == 2


async def test_a_reason_lives_until_the_deadline(stores, record, lives):
    """And a little longer, whichever way the session ended; its index is gone with it."""
    store, *_ = stores
    await store.delete((await create(store, record("a"))).key, now=START, reason="logout")
    await create(store, record("b"))
    await store.delete_user("b", now=START, reason="revoked")
    reused = (await create(store, record("c"))).key
    for generation in (0, 1, 0):
        await store.rotate(reused, generation, now=START, grace=0)
    await create(store, record("d"))
    await store.create(record("d", x=b"1"), now=START + 5, limit_per_user=1)
    await store.delete_user("d", now=START + 5, reason="revoked")
    renamed = await store.rename((await create(store, record("e"))).key, "new", now=START)
    await store.delete(renamed.key, now=START, reason="logout")
    left = [(name, seconds) for name, seconds in lives() if name != "rev"]
    assert len(left) == 7
    for _, seconds in left:
        assert 10_000 - 30 < seconds - SLACK <= 10_000


async def test_a_revocation_is_remembered_for_as_long_as_a_login_may_take(stores, lives):
    """Nothing else is left of a user who had no session; an earlier one changes nothing."""
    store, *_ = stores
    await store.delete_user("anna", now=START, reason="revoked")
    await store.delete_user("anna", now=START - 300, reason="revoked")
    ((name, seconds),) = lives()
    assert name == "rev"
    assert LOGIN_SECONDS - 30 < seconds <= LOGIN_SECONDS


async def test_every_key_expires(stores, record, lives, clock):
    """Whatever is done to a session: what a crash leaves, Redis removes."""
    store, *_ = stores
    one, other = await create(store, record("anna")), await create(store, record("bert"))
    now = START + 1
    one = await store.rename(one.key, new_session_id(), now=now, confirmed_at=now)
    await store.rotate(one.key, 0, now=now, grace=10)
    await store.load(one.key, now=now, renew_interval=0, generation=1)
    await store.set_claims(one.key, {"a": "1"}, expected={}, now=now)
    await store.change(one.key, [SetValue("a", b"1")], now=now, max_bytes=99)
    await store.delete_user("bert", now=now, keep=other.session_id, reason="revoked")
    async with store.lock(one.key, timeout=5, clock=clock):
        left = lives()
    assert {"idx", "rev", one.session_id, other.session_id} < {name for name, _ in left}
    assert all(seconds > 0 for _, seconds in left)
    assert min(seconds for name, seconds in left if name == "idx") > 10_000 - 30


async def test_the_servers_memory_is_told(stores):
    """All that it uses; how many sessions it holds it cannot tell at that cost."""
    stats = await stores[0].stats()
    assert stats.server_bytes > 100_000
    assert (stats.sessions, stats.users, stats.data_bytes) == (None, None, None)
