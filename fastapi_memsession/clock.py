"""The time, as an application with sessions is told it. Knows nothing of sessions.

An application that is set up without a clock of its own follows `system_clock`: whoever makes that
one follow another source moves its tokens, its stores and its clean-up alike, also of applications
that were set up long before. Only tests do; see `testing/session_clock.py`.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress


class Clock:
    """Seconds since the epoch, from a source that can be exchanged.

    Attributes:
        now: the source itself. What each request asks, it asks without a call in between.

    Args:
        source: returns them.
    """

    __slots__ = ("_sleepers", "now")

    now: Callable[[], float]

    def __init__(self, source: Callable[[], float]) -> None:
        self.now = source
        # Whoever sleeps, on whichever event loop and thread: each step on the set is atomic.
        self._sleepers: set[asyncio.Future[None]] = set()

    def __call__(self) -> float:
        """Return the time."""
        return self.now()

    def follow(self, source: Callable[[], float]) -> Callable[[], float]:
        """Take the time from another source from now on; return the one before."""
        before, self.now = self.now, source
        return before

    def wake(self) -> None:
        """Let those who sleep look at the time again: it has jumped."""
        for sleeper in list(self._sleepers):
            with suppress(RuntimeError):  # its loop was closed while it slept
                sleeper.get_loop().call_soon_threadsafe(_settle, sleeper)

    async def sleep(self, seconds: float) -> None:
        """Return once this clock has moved on by `seconds`, or as many have really passed."""
        loop = asyncio.get_running_loop()
        until, really_until = self() + seconds, loop.time() + seconds
        while True:
            sleeper: asyncio.Future[None] = loop.create_future()
            self._sleepers.add(sleeper)  # before looking, or a jump in between would be missed
            timer = loop.call_at(really_until, _settle, sleeper)
            try:
                if self() >= until or loop.time() >= really_until:
                    return
                await sleeper
            finally:
                self._sleepers.discard(sleeper)
                timer.cancel()


def _settle(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


system_clock = Clock(time.time)
"""The clock of every application that was given none."""
