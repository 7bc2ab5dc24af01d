"""Locks with a lease in Redis: one holder among all processes. Knows names and clocks.

Within a process, callers stand in line, first come first served; the first of them asks Redis.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi_memsession.errors import StoreUnavailable
from fastapi_memsession.stores.leases import LeaseTable, lock_lost, lock_not_free
from fastapi_memsession.stores.redis_calls import RedisCalls
from fastapi_memsession.unbroken import begin, unbroken

_LONGEST_PAUSE = 0.1  # seconds between two looks at a lock that another process holds


class RedisLocks:
    """Named locks that exist while somebody holds them.

    Args:
        calls: to where they are kept.
    """

    def __init__(self, calls: RedisCalls) -> None:
        self._calls = calls
        self._here = LeaseTable()

    @asynccontextmanager
    async def hold(
        self, name: str, *, timeout: float, clock: Callable[[], float]
    ) -> AsyncIterator[str]:
        """Hold `name` as `SessionStore.lock` describes."""
        give_up = asyncio.get_running_loop().time() + timeout
        lease = await self._here.acquire(name, timeout, clock)
        try:
            until = await self._take(name, lease, timeout, clock, give_up)
            # Who is next in line waits from now on: how long this one waited is not held.
            self._here.extend(name, lease, until)
            try:
                yield lease
            except BaseException:
                await unbroken(self._drop(name, lease, clock()))
                raise
            in_time = await unbroken(self._give_back(name, lease, clock()))
        finally:
            self._here.release(name, lease, clock())
        if not in_time:
            raise lock_lost(timeout)

    async def _take(
        self, name: str, lease: str, timeout: float, clock: Callable[[], float], give_up: float
    ) -> float:
        """Return the time until which the lease holds the lock."""
        loop, pause = asyncio.get_running_loop(), 0.005
        life = math.ceil(timeout * 1000) + 60_000  # longer than the lease: callers' clocks differ
        while True:
            now = clock()
            until = now + timeout
            script = self._calls.script("lock", [name], repr(now), lease, repr(until), life)
            asking = begin(script)
            try:
                till = await asyncio.shield(asking)
            except BaseException:
                # It may be taken all the same. Not waited for: the server may hang.
                begin(self._drop_after(asking, name, lease, now))
                raise
            if till == b"":
                return until
            if loop.time() >= give_up:
                raise lock_not_free(timeout)
            await asyncio.sleep(min(pause, give_up - loop.time()))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _give_back(self, name: str, lease: str, now: float) -> bool:
        return bool(await self._calls.script("unlock", [name], repr(now), lease))

    async def _drop_after(
        self, asking: asyncio.Task[Any], name: str, lease: str, now: float
    ) -> None:
        # Over another connection this could be there first, and the lock be taken after it.
        await asyncio.wait({asking})
        await self._drop(name, lease, now)

    async def _drop(self, name: str, lease: str, now: float) -> None:
        with suppress(StoreUnavailable):  # it runs out by itself; what went wrong matters more
            await self._give_back(name, lease, now)
