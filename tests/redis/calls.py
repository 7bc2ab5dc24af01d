"""Calls to a store, as several tests of Redis make them, and how long each may take."""

import asyncio
import time
from contextlib import asynccontextmanager, suppress

import pytest

from fastapi_memsession import StoreUnavailable
from fastapi_memsession.stores.base import Increment
from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import START

TIMEOUT = 2.0  # seconds that the store gives a call
SLACK = 2.0  # seconds that a machine with other things to do may add
PATIENCE = 30.0  # seconds within which whatever broke must work again


@asynccontextmanager
async def opened(url, *, timeout=TIMEOUT, **options):
    """Open a store, and close it whatever happens."""
    store = RedisStore(url, timeout=timeout, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


async def keep(store, made):
    """Keep a record; return its key."""
    await store.create(made, now=START, limit_per_user=None)
    return made.key


async def load(store, key):
    return await store.load(key, now=START, renew_interval=None)


async def delete(store, key):
    return await store.delete(key, now=START, reason="logout")


async def add_one(store, key):
    """Add one; return the number that it has become, None if the session has ended."""
    result = await store.change(key, [Increment("n", 1)], now=START, max_bytes=1000)
    return result and int(result.values[0])


async def number_of(store, key):
    return int((await load(store, key)).data["n"])


async def in_time(call, timeout=TIMEOUT):
    """Await a call that has to be answered before the deadline, whatever the answer."""
    async with asyncio.timeout(timeout + SLACK):
        return await call


async def refuses(store, made, match):
    """Make every call there is, all at once, and see each refused in time, for a reason."""
    renamed = made.session_id[::-1]
    calls = (
        load(store, made.key),
        add_one(store, made.key),
        store.create(made._replace(session_id=renamed), now=START, limit_per_user=2),
        store.rename(made.key, renamed, now=START),
        store.rotate(made.key, 0, now=START, grace=10),
        delete(store, made.key),
        store.list_user(made.user_id, now=START),
        store.delete_user(made.user_id, now=START, reason="revoked"),
        store.count(now=START),
        store.sweep(now=START, budget=10),
        store.lock(made.key, timeout=5, clock=lambda: START).__aenter__(),
    )
    results = await asyncio.gather(*map(in_time, calls), return_exceptions=True)
    for result in results:
        with pytest.raises(StoreUnavailable, match=match):
            raise result if isinstance(result, Exception) else AssertionError(result)
    with pytest.raises(StoreUnavailable, match=match):  # by itself, for it closes the client
        await in_time(store.open())


async def until(happened):
    """Let others go on until something has happened."""
    async with asyncio.timeout(PATIENCE):
        while not happened():  # noqa: ASYNC110 - nobody sets an event for it
            await asyncio.sleep(0)


async def until_it_works(call):
    """Try again until there is an answer, and return it."""
    while True:
        with suppress(StoreUnavailable):
            return await call()


class Counting:
    """Adds ones to the number of one session, and writes down what is answered."""

    def __init__(self, store, key):
        self.store, self.key = store, key
        self.attempts = 0
        self.answers = []
        self.slowest = 0.0
        self.begun = asyncio.Event()  # set once it was answered a few times

    async def once(self):
        self.attempts += 1
        begun = time.monotonic()
        try:
            self.answers.append(await add_one(self.store, self.key))
        except StoreUnavailable:
            return False
        else:
            if len(self.answers) > 10:
                self.begun.set()
            return True
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begun)

    async def until(self, happened, more=5):
        """Go on until something happened, and then until it worked a few more times."""
        while not happened.is_set():
            await self.once()
        while more:
            more -= await self.once()
