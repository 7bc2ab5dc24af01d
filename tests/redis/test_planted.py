"""Fields that no store would write, as somebody may have planted them: absent, and no fault."""

import itertools
import secrets

import pytest
from redis.asyncio import Redis

from fastapi_memsession import LockTimeout
from fastapi_memsession.stores.base import SetValue
from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import START
from tests.redis.calls import TIMEOUT, delete, keep, load

TIMES = ["soon", "nan", "inf", "-1e308", b"\xff"]
NUMBERS = ["", "x", "nan", "1.5"]
PLANTED = {
    "k": ["[]", "5", "[1, 2]", '"x"', "null", '{"role": 5}', "{", b"\xff"],
    **dict.fromkeys("cledxvr", TIMES),
    **dict.fromkeys("gu", NUMBERS),
}
ENDINGS = {
    "delete": delete,
    "rename": lambda store, key: store.rename(key, key.session_id[::-1], now=START),
    "rotate": lambda store, key: store.rotate(key, 1, now=START, grace=10),
    "repeat": lambda store, key: store.rotate(key, 0, now=START, grace=10),
    "refresh": lambda store, key: store.load(key, now=START, renew_interval=0, generation=2),
    "revoke": lambda store, key: store.delete_user(key.user_id, now=START, reason="revoked"),
}


@pytest.fixture
async def store(server):
    store = RedisStore(server.url, timeout=TIMEOUT, prefix=f"planted-{secrets.token_hex(8)}")
    yield store
    await store.aclose()


@pytest.fixture
async def raw(server):
    """Connect without a store."""
    client = Redis.from_url(server.url)
    yield client
    await client.aclose()


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("field", PLANTED)
async def test_a_broken_field_is_no_fault(store, raw, record, field, end):
    """The session is absent, and its user's others are there; what is left of it goes by itself."""
    for planted, listed in itertools.product(PLANTED[field], (True, False)):
        other = record()
        made = record()._replace(generation=1, used_generation=1, rotated_at=START)
        for each in (made, other):
            await keep(store, each)
        await raw.hset(store._names.session(*made.key), field, planted)
        assert await load(store, made.key) is None
        await store.change(made.key, [SetValue("a", b"1")], now=START, max_bytes=1000)
        await store.set_claims(made.key, {}, expected={}, now=START)
        if listed:  # which removes it, if it is dead
            infos = await store.list_user("anna", now=START)
            assert other.info in infos
            assert all(abs(info.created_at + info.expires_at) < 1e13 for info in infos)
        await ENDINGS[end](store, made.key)
        for key in (made.key, made.key._replace(session_id=made.session_id[::-1])):
            await store.end_reason(key, now=START)
            await store.successor(key, now=START)
            # A use writes some of them anew.
            assert await load(store, key) is None or end in {"rotate", "repeat", "refresh"}
        await store.delete_user("anna", now=START, reason="revoked")
        assert await store.list_user("anna", now=START) == []
        pattern = store._names.pattern("*")
        assert all([await raw.pttl(each) != -1 async for each in raw.scan_iter(pattern)])


@pytest.mark.parametrize("deadline", [*TIMES, None])
async def test_an_ending_without_its_deadline_is_forgotten(store, raw, kept, deadline):
    """Nobody can tell for how long it is to be remembered."""
    await store.rename(kept.key, "new", now=START)
    name = store._names.session(*kept.key)
    assert await store.end_reason(kept.key, now=START) == "replaced"
    await (raw.hdel(name, "d") if deadline is None else raw.hset(name, "d", deadline))
    assert await store.end_reason(kept.key, now=START) is None
    assert await store.successor(kept.key, now=START) is None


async def test_a_lease_that_runs_out_at_no_time_has_run_out(store, raw, kept):
    """For whoever wants the lock, and for whoever holds it."""
    name = store._names.lock(kept.key)
    await raw.set(name, "abc:x")
    with pytest.raises(LockTimeout, match="held longer"):
        async with store.lock(kept.key, timeout=TIMEOUT, clock=lambda: START) as lease:
            await raw.set(name, f"{lease}:x")
            change = {"changes": [SetValue("a", b"1")], "max_bytes": 1000, "lease": lease}
            with pytest.raises(LockTimeout, match="ran out"):
                await store.change(kept.key, now=START, **change)


async def test_a_size_that_is_none_is_no_fault(store, raw, kept):
    """Nor is a moment at which all sessions were ended."""
    names = store._names
    await raw.hset(names.session(*kept.key), "z", "x")
    change = [SetValue("a", b"1")]
    assert await store.change(kept.key, change, now=START, max_bytes=1000)
    await raw.set(names.revocation("anna"), "x")
    ended = await store.delete_user("anna", now=START, reason="revoked")
    assert ended == [kept.session_id]


@pytest.mark.parametrize("deadline", ["9e16", "-9e16"])
async def test_what_ended_is_kept_for_no_longer_than_a_life(store, raw, kept, deadline):
    """A deadline that no login could have asked for counts as none."""
    name = store._names.session(*kept.key)
    await raw.hset(name, "d", deadline)
    assert await delete(store, kept.key) == kept.session_id
    assert 0 < await raw.pttl(name) <= 60_000
