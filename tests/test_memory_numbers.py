"""What a store in memory tells about itself, and how much of the past it remembers."""

import asyncio
import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_memsession import MemoryStore, SessionError, SessionStats
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.base import CompareAndSet, DeleteValue, Increment, SetValue
from fastapi_memsession.stores.packing import unpack
from fastapi_memsession.values import encode_value, size_of
from tests.conftest import START
from tests.test_memory import create, record

LIVES = st.sampled_from([0.5, 5.0, 60.0])
TEXTS = st.sampled_from(["", "a", "ü", "🦊" * 3])
BYTES = TEXTS.map(encode_value)
CALLS = st.one_of(
    st.tuples(st.just("create"), LIVES, st.dictionaries(TEXTS, BYTES), st.integers(1, 3)),
    st.tuples(st.just("change"), st.builds(SetValue, TEXTS, BYTES)),
    st.tuples(st.just("change"), st.builds(DeleteValue, TEXTS)),
    st.tuples(st.just("change"), st.builds(CompareAndSet, TEXTS, BYTES, BYTES)),
    st.tuples(st.just("change"), st.builds(Increment, TEXTS, st.just(10**9))),
    st.tuples(st.just("rename")),
    st.tuples(st.just("rotate"), st.integers(0, 2)),
    st.tuples(st.just("set_claims")),
    st.tuples(st.just("delete")),
    st.tuples(st.just("delete_user")),
    st.tuples(st.just("sweep")),
    st.tuples(st.just("wait"), LIVES),
)


async def play(store, program):
    """Play calls on the session that came last, and recount after each of them."""
    now, last = START, record()
    for name, *arguments in program:
        with contextlib.suppress(SessionError):
            if name == "create":
                expiration, data, users = arguments
                made = record(now, expiration, f"user-{users}")._replace(data=data)
                last = await create(store, made, now, limit=2)
            elif name == "change":
                await store.change(last.key, arguments, now=now, max_bytes=30)
            elif name == "rename":
                last = await store.rename(last.key, new_session_id(), now=now) or last
            elif name == "rotate":
                await store.rotate(last.key, *arguments, now=now, grace=0)
            elif name == "set_claims":
                await store.set_claims(last.key, {"a": "1"}, expected={}, now=now)
            elif name == "delete":
                await store.delete(last.key, now=now, reason="logout")
            elif name == "delete_user":
                await store.delete_user(last.user_id, now=now, reason="revoked")
            elif name == "sweep":
                await store.sweep(now=now, budget=2)
            else:
                now += arguments[0]
        held = [unpack(each, packed) for each, packed in store._shelf.records.items()]
        stats = await store.stats()
        assert stats.data_bytes == sum(size_of(each.data) for each in held)
        assert stats.sessions == len(held)
        assert stats.users == len({each.user_id for each in held})


@settings(max_examples=200, deadline=None)
@given(st.lists(CALLS, max_size=30))
def test_the_numbers_are_exact_after_any_program(program):
    """Sessions, users and bytes are those that a recount finds, after every call."""
    asyncio.run(play(MemoryStore(max_sessions=4), program))


async def test_numbers_cost_no_walk():
    """Those that died count until they are swept; nothing is said of a server."""
    store = MemoryStore()
    for number in range(3):
        await create(store, record(user_id=f"user-{number % 2}")._replace(data={"ü": b"12"}))
    stats = await store.stats()
    assert (stats.sessions, stats.users, stats.data_bytes) == (3, 2, 12)
    assert stats.server_bytes is None
    await store.count(now=START + 100)
    assert await store.stats() == stats
    await store.sweep(now=START + 100, budget=10)
    assert await store.stats() == SessionStats(0, 0, 0, None, sweeps=1, swept=3)


async def test_as_many_endings_are_remembered_as_sessions_may_live():
    """The oldest are forgotten first; those that are past their deadline need no room."""
    store = MemoryStore(max_sessions=3)
    ended = []
    for number in range(5):
        ended.append(await create(store, record()))
        await store.delete(ended[-1].key, now=START, reason="logout")
        await store.delete_user(f"user-{number}", now=START, reason="revoked")
    reasons = [await store.end_reason(each.key, now=START) for each in ended]
    assert reasons == [None, None, "logout", "logout", "logout"]
    assert len(store._shelf.endings.by_id) == len(store._shelf.endings._revoked) == 3
    late = await create(store, record(START + 2000), START + 2000)
    await store.delete(late.key, now=START + 2000, reason="logout")
    await store.delete_user("bert", now=START + 2000, reason="revoked")
    assert len(store._shelf.endings.by_id) == len(store._shelf.endings._revoked) == 1
