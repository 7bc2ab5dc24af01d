"""MemoryStore: sessions in this process, for development, tests and single-process services.

A sweep costs what it removes and never walks the living; a renewal costs the expiry queue nothing.
No step on the shelf awaits anything, and a thread lock guards each: several event loops may call.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from fastapi_memsession.errors import EndReason, SessionEnded, SessionIdTaken, StoreFull
from fastapi_memsession.records import Ended, SessionInfo, SessionKey, SessionRecord, SessionStats
from fastapi_memsession.stores.base import Change, ChangeResult, Rotation, SessionStore
from fastapi_memsession.stores.changes import apply_changes
from fastapi_memsession.stores.endings import Ending
from fastapi_memsession.stores.leases import LeaseTable, lease_ran_out
from fastapi_memsession.stores.listeners import Listeners
from fastapi_memsession.stores.shelf import Shelf
from fastapi_memsession.stores.siblings import warn_of_siblings
from fastapi_memsession.values import check_size

_SWEPT_PER_LOGIN = 16  # steps in passing, so that the dead go even where no sweep runs


class Contents(NamedTuple):
    """What a store in memory holds: records, and why other sessions ended."""

    records: list[SessionRecord]
    endings: list[Ending]


class MemoryStore(SessionStore):
    """Keeps records in dicts. What it holds is gone when the process ends.

    Args:
        max_sessions: live sessions at most; past it `create` raises StoreFull. As many that were
            ended are remembered, with the reason.
    """

    waits = False

    def __init__(self, *, max_sessions: int = 100_000) -> None:
        self._max_sessions = max_sessions
        self._guard = threading.Lock()
        self._sweeping = threading.Lock()
        self._leases = LeaseTable()
        self._listeners = Listeners()
        self._shelf = Shelf(max_sessions, tell=self._listeners.tell)
        self._sweeps = 0
        self._swept = 0

    def contents(self) -> Contents:
        """Return what the store holds, the dead that were not swept yet included."""
        with self._guard:
            return Contents(self._shelf.all(), self._shelf.endings.all())

    def restore(self, contents: Contents, *, now: float) -> None:
        """Take over what is not over, the sessions that were used last if there are too many."""
        with self._guard:
            shelf = self._shelf
            for each in contents.endings:
                shelf.endings.note(each, now)
            living = [record for record in contents.records if now < record.expires_at]
            living.sort(key=lambda record: record.last_seen_at, reverse=True)
            for record in living:
                taken = shelf.is_taken(record.session_id)
                if len(shelf.records) < self._max_sessions and not taken:
                    shelf.add(record)

    async def open(self) -> None:
        """Warn if other workers of this server keep sessions of their own."""
        warn_of_siblings()

    async def aclose(self) -> None:
        """Nothing to let go of: sessions outlive a restart of the lifespan."""

    async def create(
        self,
        record: SessionRecord,
        *,
        now: float,
        limit_per_user: int | None,
        replacing: SessionKey | None = None,
        since: float | None = None,
    ) -> list[str]:
        """See SessionStore."""
        shelf, user_id = self._shelf, record.user_id
        with self._guard:
            if since is not None and shelf.endings.stops(user_id, since, now):
                raise SessionEnded("revoked")
            if shelf.is_taken(record.session_id):
                raise SessionIdTaken
            shelf.reap(now, _SWEPT_PER_LOGIN)
            replaced = shelf.live(shelf.endings.latest(replacing), now) if replacing else None
            evicted: list[str] = []
            if limit_per_user is not None:
                mine = [info.session_id for info in shelf.list_user(user_id, now)]
                if replaced is not None and replaced.session_id in mine:
                    mine.remove(replaced.session_id)
                evicted = mine[: max(0, len(mine) + 1 - limit_per_user)]
            leaving = len(evicted) + (replaced is not None)
            if len(shelf.records) - leaving >= self._max_sessions:
                shelf.make_room(now)
                if len(shelf.records) - leaving >= self._max_sessions:
                    raise StoreFull(
                        f"The memory store holds {self._max_sessions} live sessions, its limit; "
                        "raise MEMSESSION_MAX_SESSIONS or use Redis.",
                        retry_after=60,
                    )
            for session_id in evicted:
                shelf.end(SessionKey(user_id, session_id), "evicted", now)
            shelf.add(record)
            return evicted

    async def load(
        self,
        key: SessionKey,
        *,
        now: float,
        renew_interval: float | None,
        generation: int | None = None,
    ) -> SessionRecord | None:
        """See SessionStore. Takes the guard only if there is something to write."""
        record = self._shelf.live(key, now)
        if not record or record.used(now, renew_interval, generation) is record:
            return record
        with self._guard:
            record = self._shelf.live(key, now)
            return record and self._shelf.put(record.used(now, renew_interval, generation))

    def version(self, key: SessionKey, now: float) -> object | None:
        """See SessionStore."""
        return self._shelf.records.get(key.session_id)

    async def change(
        self,
        key: SessionKey,
        changes: Sequence[Change],
        *,
        now: float,
        max_bytes: int,
        lease: str | None = None,
    ) -> ChangeResult | None:
        """See SessionStore."""
        with self._guard:
            record = self._shelf.live(key, now)
            if record is None:
                return None
            if lease is not None and not self._leases.is_held(key.session_id, lease, now):
                raise lease_ran_out()
            data, result = apply_changes(record.data, changes)
            if result.applied:
                check_size(data, max_bytes)
                self._shelf.put(record._replace(data=data))
            return result

    async def set_claims(
        self,
        key: SessionKey,
        claims: Mapping[str, str],
        *,
        expected: Mapping[str, str],
        now: float,
    ) -> SessionRecord | None:
        """See SessionStore."""
        with self._guard:
            record = self._shelf.live(key, now)
            if record is None or record.claims != expected:
                return record
            return self._shelf.put(record._replace(claims=dict(claims)))

    async def rename(
        self, key: SessionKey, session_id: str, *, now: float, confirmed_at: float | None = None
    ) -> SessionRecord | None:
        """See SessionStore."""
        with self._guard:
            return self._shelf.rename(key, session_id, now, confirmed_at)

    async def rotate(
        self, key: SessionKey, generation: int, *, now: float, grace: float
    ) -> Rotation:
        """See SessionStore."""
        with self._guard:
            record = self._shelf.live(key, now)
            if record is None or not 0 <= generation <= record.generation:
                return Rotation("gone", None)
            if generation == record.generation:
                rotated = record.renewed(now)._replace(
                    generation=generation + 1,
                    used_generation=generation,
                    rotated_at=now,
                )
                return Rotation("rotated", self._shelf.put(rotated))
            unused = record.used_generation < record.generation
            if generation == record.generation - 1 and (unused or now - record.rotated_at < grace):
                return Rotation("repeated", self._shelf.put(record.renewed(now)))
            self._shelf.end(key, "reused", now)
            return Rotation("reused", None)

    async def delete(self, key: SessionKey, *, now: float, reason: EndReason) -> str | None:
        """See SessionStore."""
        with self._guard:
            latest = self._shelf.endings.latest(key)
            if self._shelf.live(latest, now) is None:
                return None
            self._shelf.end(latest, reason, now)
            return latest.session_id

    async def end_reason(self, key: SessionKey, *, now: float) -> EndReason | None:
        """See SessionStore."""
        with self._guard:
            return self._shelf.endings.reason(key, now)

    async def successor(self, key: SessionKey, *, now: float) -> str | None:
        """See SessionStore."""
        with self._guard:
            endings = self._shelf.endings  # all ids of one session have its deadline
            return endings.latest(key).session_id if endings.successor(key, now) else None

    @asynccontextmanager
    async def watch(
        self, key: SessionKey, tell: Callable[[Ended | None], None]
    ) -> AsyncIterator[None]:
        """See SessionStore."""
        with self._listeners.listening(key, tell):
            yield

    async def list_user(self, user_id: str, *, now: float) -> list[SessionInfo]:
        """See SessionStore."""
        with self._guard:
            return self._shelf.list_user(user_id, now)

    async def delete_user(
        self, user_id: str, *, now: float, keep: str | None = None, reason: EndReason
    ) -> list[str]:
        """See SessionStore."""
        with self._guard:
            mine = [info.session_id for info in self._shelf.list_user(user_id, now)]
            if keep is not None:
                keep = self._shelf.endings.latest(SessionKey(user_id, keep)).session_id
            ended = [session_id for session_id in mine if session_id != keep]
            for session_id in ended:
                self._shelf.end(SessionKey(user_id, session_id), reason, now)
            self._shelf.endings.note_all(user_id, now)
            return ended

    async def count(self, *, now: float) -> int:
        """See SessionStore. Costs what is dead and not swept yet."""
        with self._guard:
            return self._shelf.count(now)

    async def stats(self) -> SessionStats:
        """See SessionStore. Walks nothing."""
        with self._guard:
            return SessionStats(
                sessions=len(self._shelf.records),
                users=len(self._shelf.users),
                data_bytes=self._shelf.data_bytes,
                sweeps=self._sweeps,
                swept=self._swept,
            )

    async def scan(self, *, now: float) -> AsyncIterator[SessionInfo]:
        """See SessionStore."""
        with self._guard:
            ids = list(self._shelf.records)
        for session_id in ids:
            info = self._shelf.info(session_id, now)
            if info is not None:
                yield info

    async def sweep(self, *, now: float, budget: int) -> int:
        """See SessionStore."""
        if not self._sweeping.acquire(blocking=False):
            return 0
        try:
            removed = 0
            while True:
                with self._guard:
                    swept, finished = self._shelf.reap(now, budget)
                removed += swept
                if finished:
                    break
                await asyncio.sleep(0)
            self._sweeps += 1
            self._swept += removed
            return removed
        finally:
            self._sweeping.release()

    def lock(
        self, key: SessionKey, *, timeout: float, clock: Callable[[], float]
    ) -> AbstractAsyncContextManager[str]:
        """See SessionStore."""
        return self._leases.hold(key.session_id, timeout=timeout, clock=clock)
