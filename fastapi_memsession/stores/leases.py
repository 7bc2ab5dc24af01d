"""Locks with a lease, for one process. Knows names and clocks, not sessions.

asyncio's locks belong to one event loop and lose wake-ups across threads. Here a thread lock
guards the table for a few instructions at a time, and whoever must wait does so on a future of
its own loop. The one who leaves hands over to the one who waited longest, so none overtakes.
"""

import asyncio
import secrets
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi_memsession.errors import LockTimeout


def lock_not_free(timeout: float) -> LockTimeout:
    """Return the error for who waited in vain."""
    return LockTimeout(
        f"The session's lock was not free within {timeout:g} s; another request holds it. "
        "Try again."
    )


def lock_lost(timeout: float) -> LockTimeout:
    """Return the error for who held the lock too long."""
    return LockTimeout(
        f"The session's lock was held longer than its timeout of {timeout:g} s, so another holder "
        "may have entered. Do less while holding it, or give it a longer timeout."
    )


def lease_ran_out() -> LockTimeout:
    """Return the error for who wrote under a lease that holds the lock no more."""
    return LockTimeout(
        "The session's lock ran out before this write, which was refused. "
        "Do less while holding it, or give it a longer timeout."
    )


class _Waiter:
    __slots__ = ("future", "lease", "loop", "timeout")

    def __init__(self, timeout: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()  # done: look again
        self.lease = secrets.token_hex(16)
        self.timeout = timeout

    def wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class _Lock:
    __slots__ = ("lease", "until", "waiters")

    def __init__(self) -> None:
        self.lease: str | None = None
        self.until = 0.0
        self.waiters: deque[_Waiter] = deque()


class LeaseTable:
    """Named locks that exist while somebody holds or wants them."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, _Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    def is_held(self, name: str, lease: str, now: float) -> bool:
        """Whether `lease` is the one that holds `name`, and has not run out."""
        with self._guard:
            lock = self._locks.get(name)
            return lock is not None and lock.lease == lease and now < lock.until

    @asynccontextmanager
    async def hold(
        self, name: str, *, timeout: float, clock: Callable[[], float]
    ) -> AsyncIterator[str]:
        """Hold `name` as `SessionStore.lock` describes."""
        lease = await self.acquire(name, timeout, clock)
        try:
            yield lease
        except BaseException:
            self.release(name, lease, clock())
            raise
        if not self.release(name, lease, clock()):
            raise lock_lost(timeout)

    async def acquire(self, name: str, timeout: float, clock: Callable[[], float]) -> str:
        """Return the lease of who holds `name` from now on; to be released."""
        waiter = _Waiter(timeout)
        give_up = waiter.loop.time() + timeout
        try:
            while (patience := self._try(name, waiter, clock())) > 0:
                left = give_up - waiter.loop.time()
                if left <= 0:
                    raise lock_not_free(timeout)
                await asyncio.wait({waiter.future}, timeout=min(patience, left))
        except BaseException:
            self._withdraw(name, waiter, clock())
            raise
        return waiter.lease

    def _try(self, name: str, waiter: _Waiter, now: float) -> float:
        """Return 0 if the waiter holds the lock now, else the seconds until the lease runs out."""
        with self._guard:
            lock = self._locks.setdefault(name, _Lock())
            if lock.lease != waiter.lease:
                if waiter not in lock.waiters:
                    lock.waiters.append(waiter)
                if lock.lease is None or now >= lock.until:  # its holder is dead or dawdles
                    self._pass_on(name, lock, now)
            if lock.lease == waiter.lease:
                return 0
            waiter.future = waiter.loop.create_future()
            return lock.until - now

    def extend(self, name: str, lease: str, until: float) -> None:
        """Let a lease hold the lock until then, if it still does."""
        with self._guard:
            lock = self._locks.get(name)
            if lock is not None and lock.lease == lease:
                lock.until = until

    def release(self, name: str, lease: str, now: float) -> bool:
        """Let the next one in. Returns whether `lease` still held the lock until now."""
        with self._guard:
            lock = self._locks.get(name)
            if lock is None or lock.lease != lease:
                return False
            in_time = now < lock.until
            self._pass_on(name, lock, now)
            return in_time

    def _withdraw(self, name: str, waiter: _Waiter, now: float) -> None:
        with self._guard:
            lock = self._locks.get(name)
            if lock is None:
                return
            if waiter in lock.waiters:
                lock.waiters.remove(waiter)
            elif lock.lease == waiter.lease:  # handed over in the very moment of giving up
                self._pass_on(name, lock, now)

    def _pass_on(self, name: str, lock: _Lock, now: float) -> None:
        while lock.waiters:
            waiter = lock.waiters.popleft()
            lock.lease, lock.until = waiter.lease, now + waiter.timeout
            try:
                waiter.loop.call_soon_threadsafe(waiter.wake)
            except RuntimeError:  # its loop was closed while it waited: nobody is there any more
                continue
            return
        del self._locks[name]
