"""Locks with a lease in Redis: one holder among all processes. Knows names and clocks.

Within a process, callers stand in line, first come first served; the first of them asks Redis.
"""

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi_memsession.errors import StoreUnavailable
from fastapi_memsession.stores.leases import LeaseTable, lock_lost, lock_not_free
from fastapi_memsession.stores.redis_calls import RedisCalls

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
        async with self._here.hold(name, timeout=timeout, clock=clock):
            lease = await self._take(name, timeout, clock)
            try:
                yield lease
            except BaseException:
                with suppress(StoreUnavailable):  # it runs out by itself; the error matters more
                    await self._give_back(name, lease, clock())
                raise
            in_time = await self._give_back(name, lease, clock())
        if not in_time:
            raise lock_lost(timeout)

    async def _take(self, name: str, timeout: float, clock: Callable[[], float]) -> str:
        lease, loop = secrets.token_hex(16), asyncio.get_running_loop()
        give_up, pause = loop.time() + timeout, 0.005
        life = math.ceil(timeout * 1000) + 60_000  # longer than the lease: callers' clocks differ
        while True:
            now = clock()
            until = repr(now + timeout)
            till = await self._calls.script("lock", [name], repr(now), lease, until, life)
            if till == b"":
                return lease
            if loop.time() >= give_up:
                raise lock_not_free(timeout)
            await asyncio.sleep(min(pause, give_up - loop.time()))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _give_back(self, name: str, lease: str, now: float) -> bool:
        return bool(await self._calls.script("unlock", [name], repr(now), lease))
