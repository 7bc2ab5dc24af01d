"""Knows who is to be interrupted when a session ends, and when that is. Knows the store contract.

A store tells when a session is ended. That one expires nobody tells: each event loop has one timer
for the session that would be next. When it is time, the session is looked at, which extends
nothing, and if it was renewed meanwhile, the timer is set anew. It rings by the application's
clock; where that jumps unseen, as when a machine has slept, a sweep looks.
"""

import asyncio
import contextvars
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi_memsession.clock import Clock
from fastapi_memsession.errors import EndReason, SessionEnded
from fastapi_memsession.interruption import Watch
from fastapi_memsession.records import Ended, SessionKey, SessionRecord
from fastapi_memsession.stores.base import SessionStore
from fastapi_memsession.stores.expiry import ExpiryQueue

logger = logging.getLogger("fastapi_memsession")

_AT_ONCE = 10  # sessions that are looked at side by side: others need the store, too
_AGAIN = 1.0  # seconds after which a session is looked at again if the store could not tell
_SOONEST = 0.05  # seconds a timer takes at least: it may ring early by our clock


class Watches:
    """All who are to be interrupted, on every event loop.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._vigils: dict[tuple[asyncio.AbstractEventLoop, int], _Vigil] = {}

    @asynccontextmanager
    async def watch(
        self, store: SessionStore, record: SessionRecord, follow: Callable[[SessionKey], None]
    ) -> AsyncIterator[Watch]:
        """Watch a session from entering to leaving.

        Args:
            store: where it is.
            record: the session, as it was when it was seen last.
            follow: called with its new key when the session gets a new id.

        Raises:
            SessionEnded: it is over, on entering.
            StoreUnavailable: on entering.
        """
        watch, place = Watch(record.key, follow), (asyncio.get_running_loop(), id(store))
        vigil = self._vigils.get(place)
        if vigil is None:
            vigil = self._vigils[place] = _Vigil(store, self._clock)
        vigil.add(watch, expires_at=record.expires_at, deadline=record.deadline)
        try:
            async with store.watch(record.key, partial(vigil.hear, watch)):
                await vigil.check(watch)
                yield watch
        finally:
            vigil.remove(watch)
            if not vigil.sessions:
                vigil.close()
                self._vigils.pop(place, None)

    def look(self) -> None:
        """Have those looked at that may have expired by now, each on its loop."""
        for (loop, _), vigil in list(self._vigils.items()):
            with suppress(RuntimeError):  # that loop was closed
                loop.call_soon_threadsafe(vigil.look_at_the_due)


class _Watched:
    """A session that somebody watches."""

    __slots__ = ("deadline", "key", "slot", "watches")

    def __init__(self, key: SessionKey, deadline: float, slot: int) -> None:
        self.key = key
        self.deadline = deadline
        self.slot = slot  # where it is in the expiry queue, if it is there
        self.watches: set[Watch] = set()


class _Vigil:
    """The watches of one store on one event loop, and their timer."""

    def __init__(self, store: SessionStore, clock: Clock) -> None:
        self.sessions: dict[str, _Watched] = {}
        self._store = store
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._expiry = ExpiryQueue()
        self._timer: asyncio.Task[None] | None = None
        self._rings_at = 0  # by our clock
        self._doubtful: set[str] = set()
        self._looking: asyncio.Task[None] | None = None

    def add(self, watch: Watch, *, expires_at: float, deadline: float) -> None:
        """Watch from now on; the session expires then unless it is renewed."""
        session_id = watch.key.session_id
        watched = self.sessions.get(session_id)
        if watched is None:
            slot = self._expiry.put(session_id, expires_at)
            watched = self.sessions[session_id] = _Watched(watch.key, deadline, slot)
            self._set_timer()
        watched.watches.add(watch)

    def remove(self, watch: Watch) -> None:
        """Watch no more."""
        session_id = watch.key.session_id
        watched = self.sessions[session_id]
        watched.watches.remove(watch)
        if not watched.watches:
            del self.sessions[session_id]
            self._expiry.remove(session_id, watched.slot)

    def close(self) -> None:
        """Let go of the loop."""
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def hear(self, watch: Watch, ending: Ended | None) -> None:
        """Hear what the store tells."""
        if ending is None:
            self._look([watch.key.session_id])
        elif ending.successor is None:
            watch.end(ending.reason)
        else:
            deadline = self.sessions[watch.key.session_id].deadline
            self.remove(watch)
            watch.move(SessionKey(watch.key.user_id, ending.successor))
            # When it expires is known to the record only: it is looked at soon.
            self.add(watch, expires_at=self._clock(), deadline=deadline)

    async def check(self, watch: Watch) -> None:
        """Raise SessionEnded unless the session lives."""
        while True:
            key = watch.key
            reason, _ = await self._find(key)
            if reason is None:
                return
            if key == watch.key:  # else it has got a new id just now
                raise SessionEnded(reason, **key._asdict())

    def look_at_the_due(self) -> None:
        """Look at those that may have expired by now."""
        due, _ = self._expiry.take(self._clock(), sys.maxsize)
        self._look(due)
        self._set_timer()

    def _look(self, session_ids: Iterable[str]) -> None:
        self._doubtful.update(session_ids)
        if self._doubtful and self._looking is None:
            self._looking = self._loop.create_task(
                self._look_at_the_doubtful(), context=contextvars.Context()
            )

    async def _look_at_the_doubtful(self) -> None:
        while self._doubtful:
            some = [self._doubtful.pop() for _ in range(min(_AT_ONCE, len(self._doubtful)))]
            await asyncio.gather(*map(self._look_at, some))
        self._looking = None

    async def _look_at(self, session_id: str) -> None:
        watched = self.sessions.get(session_id)
        if watched is None:
            return
        try:
            reason, expires_at = await self._find(watched.key)
        except Exception as error:  # whatever it is, a fault ends no session
            logger.warning("Whether a session lives cannot be told now: %s", error)
            now = self._clock()
            reason, expires_at = "expired" if now >= watched.deadline else None, now + _AGAIN
        if reason is not None:
            for watch in watched.watches:
                watch.end(reason)
        elif self.sessions.get(session_id) is watched:
            self._expiry.remove(session_id, watched.slot)
            watched.slot = self._expiry.put(session_id, expires_at)
            self._set_timer()

    async def _find(self, key: SessionKey) -> tuple[EndReason | None, float]:
        """Return why a session is over, or None and when it will be unless it is used."""
        now = self._clock()
        record = await self._store.load(key, now=now, renew_interval=None)
        if record is not None:
            return None, record.expires_at
        return await self._store.end_reason(key, now=now) or "expired", now

    def _set_timer(self) -> None:
        first = self._expiry.first
        if first is None:
            return
        if self._timer is not None and first < self._rings_at:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._rings_at = first
            self._timer = self._loop.create_task(
                self._ring_at(first), context=contextvars.Context()
            )

    async def _ring_at(self, time: float) -> None:
        await self._clock.sleep(max(time - self._clock(), _SOONEST))
        self._timer = None
        self.look_at_the_due()
