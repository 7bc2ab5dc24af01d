"""Many callers while connections break, or while none is answered: what was said stays true."""

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import cycle

import pytest

from fastapi_memsession import StoreUnavailable
from fastapi_memsession.stores.base import CompareAndSet, Increment, SetDefault, SetValue
from fastapi_memsession.stores.redis_urls import MAX_CONNECTIONS
from tests.conftest import START
from tests.redis.calls import (
    PATIENCE,
    SLACK,
    TIMEOUT,
    Counting,
    add_one,
    delete,
    keep,
    load,
    number_of,
    until_it_works,
)
from tests.redis_server import RedisServer

SESSIONS = 10
WRITERS = 2
LIVES = 3  # one after the other, of each user
CALLS = 50  # that are answered, of each session
LULL = 20  # calls of one caller between two kills
KILL = ("client", "kill", "type", "normal", "skipme", "yes")


@pytest.fixture
def server(redis_folder, tmp_path):
    """A server of the test's own."""
    with RedisServer(tmp_path / "redis", unix=True) as server:
        yield server


@asynccontextmanager
async def storm(server, store):
    """Kill all connections for as long as the block takes: again when a few calls were answered."""

    async def blow():
        while True:
            await asyncio.to_thread(server.command, *KILL)
            for _ in range(LULL):
                await until_it_works(partial(store.list_user, "nobody", now=START))

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        blowing = group.create_task(blow())
        yield
        blowing.cancel()


async def hammer(store, key, begun, over):
    """Use a session in every way that writes, whatever comes of it."""
    ways = cycle(
        (
            [SetValue("a", b"1")],
            [SetDefault("b", b"2"), Increment("n", 1)],
            [CompareAndSet("c", b"null", b"3")],
        )
    )
    while not over.is_set():
        for call in (
            store.change(key, next(ways), now=START, max_bytes=1000),
            store.load(key, now=START + 600, renew_interval=0, generation=0),
            store.rotate(key, 0, now=START, grace=1000),
        ):
            with suppress(StoreUnavailable):
                await call
        begun.set()


async def test_an_ended_session_never_comes_back_in_a_storm(server, store, record):
    """Whatever is being written at that moment, and however often ending it has to be tried."""

    async def live(user):
        made = record(user, n=b"0")
        with suppress(StoreUnavailable):  # and else it may have been kept all the same
            await keep(store, made)
        begun, over = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(hammer(store, made.key, begun, over))
            await begun.wait()
            await until_it_works(partial(delete, store, made.key))
            for _ in range(5):
                assert await until_it_works(partial(load, store, made.key)) is None
            over.set()
        return made.key

    async with storm(server, store):
        ended = []
        for _ in range(LIVES):
            ended += await asyncio.gather(*(live(f"user-{n}") for n in range(SESSIONS)))
    assert [await load(store, key) for key in ended] == [None] * len(ended)
    assert await store.count(now=START) == 0
    left = [server.command("hkeys", store._names.session(*key)) for key in ended]
    assert ":" not in "".join(left)  # with which the names of values begin


async def test_a_number_counts_each_call_once_in_a_storm(server, store, record):
    """One that was answered counts; one that failed counts once or not at all."""
    keys = [await keep(store, record(f"user-{n}", n=b"0")) for n in range(SESSIONS)]
    counting = [Counting(store, key) for key in keys]

    async def count(each):
        while len(each.answers) < CALLS:
            await each.once()

    async with storm(server, store):
        await asyncio.gather(*map(count, counting))
    assert sum(each.attempts for each in counting) > CALLS * SESSIONS
    for each in counting:
        assert each.answers == sorted(set(each.answers))
        assert each.answers[-1] <= await number_of(store, each.key) <= each.attempts


async def test_nobody_waits_longer_because_others_wait(server, store, kept):
    """With many times more callers than connections, and a server that hangs."""

    async def seconds(call):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await call
        return time.monotonic() - begun

    callers = 4 * MAX_CONNECTIONS
    with server.hung():
        calls = [add_one(store, kept.key) for _ in range(callers)]
        calls += [load(store, kept.key) for _ in range(callers)]
        assert max(await asyncio.gather(*map(seconds, calls))) < TIMEOUT + SLACK
    woken = [add_one(store, kept.key) for _ in range(MAX_CONNECTIONS)]
    results = await asyncio.gather(*woken)
    assert len(set(results)) == len(woken)
    assert await number_of(store, kept.key) == max(results) <= callers + len(woken)
