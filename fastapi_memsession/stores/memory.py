"""MemoryStore: sessions in this process, for development, tests and single-process services.

    _records  session id -> record
    _users    user id -> session ids
    _queue    session ids by the second from which on they may be dead

A sweep costs what it removes and never walks the living; a renewal costs the queue nothing. No
step awaits anything, and a thread lock guards each: several event loops may call.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from fastapi_memsession.errors import SessionIdTaken, StoreFull
from fastapi_memsession.records import SessionInfo, SessionKey, SessionRecord
from fastapi_memsession.stores.base import Change, ChangeResult, EndReason, Rotation, SessionStore
from fastapi_memsession.stores.changes import apply_changes
from fastapi_memsession.stores.expiry import ExpiryQueue
from fastapi_memsession.stores.leases import LeaseTable, lease_ran_out
from fastapi_memsession.stores.siblings import warn_of_siblings
from fastapi_memsession.values import check_size

_SWEPT_PER_LOGIN = 16  # steps in passing, so that the dead go even where no sweep runs
_SWEPT_FOR_ROOM = 1000  # steps at a time, when a login finds the store full


class MemoryStore(SessionStore):
    """Keeps records in dicts. What it holds is gone when the process ends.

    Args:
        max_sessions: live sessions at most; past it `create` raises StoreFull.
    """

    def __init__(self, *, max_sessions: int = 100_000) -> None:
        self._max_sessions = max_sessions
        self._guard = threading.Lock()
        self._sweeping = threading.Lock()
        self._leases = LeaseTable()
        self._records: dict[str, SessionRecord] = {}
        self._users: dict[str, dict[str, None]] = {}
        self._queue = ExpiryQueue()

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
    ) -> list[str]:
        """See SessionStore."""
        with self._guard:
            self._refuse_taken(record.session_id)
            self._reap(now, _SWEPT_PER_LOGIN)
            replaced = self._live(replacing, now) if replacing else None
            evicted: list[str] = []
            if limit_per_user is not None:
                mine = [info.session_id for info in self._list(record.user_id, now)]
                if replaced is not None and replaced.session_id in mine:
                    mine.remove(replaced.session_id)
                evicted = mine[: max(0, len(mine) + 1 - limit_per_user)]
            leaving = len(evicted) + (replaced is not None)
            if len(self._records) - leaving >= self._max_sessions:
                self._make_room(now)
                if len(self._records) - leaving >= self._max_sessions:
                    raise StoreFull(
                        f"The memory store holds {self._max_sessions} live sessions, its limit; "
                        "raise MEMSESSION_MAX_SESSIONS or use Redis.",
                        retry_after=60,
                    )
            for session_id in evicted:
                self._forget(session_id)
            self._keep(record)
            return evicted

    async def load(
        self,
        key: SessionKey,
        *,
        now: float,
        renew_interval: float | None,
        generation: int | None = None,
    ) -> SessionRecord | None:
        """See SessionStore."""
        with self._guard:
            record = self._live(key, now)
            if record is None:
                return None
            if record.needs_renewal(now, renew_interval):
                record = self._put(record.renewed(now))
            if generation is not None and record.used_generation < generation <= record.generation:
                record = self._put(replace(record, used_generation=generation))
            return record

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
            record = self._live(key, now)
            if record is None:
                return None
            if lease is not None and not self._leases.is_held(key.session_id, lease, now):
                raise lease_ran_out()
            data, result = apply_changes(record.data, changes)
            if result.applied:
                check_size(data, max_bytes)
                self._put(replace(record, data=data))
            return result

    async def rename(self, key: SessionKey, session_id: str, *, now: float) -> SessionRecord | None:
        """See SessionStore."""
        with self._guard:
            record = self._live(key, now)
            if record is None:
                return None
            self._refuse_taken(session_id)
            self._forget(key.session_id)
            record = replace(record, session_id=session_id)
            self._keep(record)
            return record

    async def rotate(
        self, key: SessionKey, generation: int, *, now: float, grace: float
    ) -> Rotation:
        """See SessionStore."""
        with self._guard:
            record = self._live(key, now)
            if record is None or generation > record.generation:
                return "gone"
            if generation == record.generation:
                self._put(
                    replace(
                        record,
                        generation=generation + 1,
                        used_generation=generation,
                        rotated_at=now,
                    )
                )
                return "rotated"
            unused = record.used_generation < record.generation
            if generation == record.generation - 1 and (unused or now - record.rotated_at < grace):
                return "repeated"
            self._forget(key.session_id)
            return "reused"

    async def delete(self, key: SessionKey, *, now: float, reason: EndReason) -> bool:
        """See SessionStore."""
        with self._guard:
            live = self._live(key, now) is not None
            if live:
                self._forget(key.session_id)
            return live

    async def list_user(self, user_id: str, *, now: float) -> list[SessionInfo]:
        """See SessionStore."""
        with self._guard:
            return self._list(user_id, now)

    async def delete_user(
        self, user_id: str, *, now: float, keep: str | None = None, reason: EndReason
    ) -> list[str]:
        """See SessionStore."""
        with self._guard:
            ended = [i.session_id for i in self._list(user_id, now) if i.session_id != keep]
            for session_id in ended:
                self._forget(session_id)
            return ended

    async def count(self, *, now: float) -> int:
        """See SessionStore. Costs what is dead and not swept yet."""
        with self._guard:
            return len(self._records) - sum(
                self._is_dead(each, now) for each in self._queue.due(now)
            )

    async def scan(self, *, now: float) -> AsyncIterator[SessionInfo]:
        """See SessionStore."""
        with self._guard:
            ids = list(self._records)
        for session_id in ids:
            record = self._records.get(session_id)
            if record is not None and now < record.expires_at:
                yield record.info

    async def sweep(self, *, now: float, budget: int) -> int:
        """See SessionStore."""
        if not self._sweeping.acquire(blocking=False):
            return 0
        try:
            removed = 0
            while True:
                with self._guard:
                    swept, finished = self._reap(now, budget)
                removed += swept
                if finished:
                    return removed
                await asyncio.sleep(0)
        finally:
            self._sweeping.release()

    def lock(
        self, key: SessionKey, *, timeout: float, clock: Callable[[], float]
    ) -> AbstractAsyncContextManager[str]:
        """See SessionStore."""
        return self._leases.hold(key.session_id, timeout=timeout, clock=clock)

    # Everything below runs with the guard held.

    def _live(self, key: SessionKey, now: float) -> SessionRecord | None:
        record = self._records.get(key.session_id)
        if record is None or now >= record.expires_at or record.user_id != key.user_id:
            return None
        return record

    def _put(self, record: SessionRecord) -> SessionRecord:
        self._records[record.session_id] = record
        return record

    def _refuse_taken(self, session_id: str) -> None:
        if session_id in self._records:
            raise SessionIdTaken

    def _list(self, user_id: str, now: float) -> list[SessionInfo]:
        records = (self._records[each] for each in self._users.get(user_id, ()))
        living = [record.info for record in records if now < record.expires_at]
        living.sort(key=lambda info: (info.created_at, info.session_id))
        return living

    def _keep(self, record: SessionRecord) -> None:
        self._put(record)
        self._users.setdefault(record.user_id, {})[record.session_id] = None
        self._queue.put(record.session_id, record.expires_at)

    def _forget(self, session_id: str) -> None:
        record = self._records.pop(session_id)
        self._queue.remove(session_id)
        mine = self._users[record.user_id]
        del mine[session_id]
        if not mine:
            del self._users[record.user_id]

    def _is_dead(self, session_id: str, now: float) -> bool:
        return now >= self._records[session_id].expires_at

    def _make_room(self, now: float) -> None:
        removed, finished = 0, False
        while not removed and not finished:
            removed, finished = self._reap(now, _SWEPT_FOR_ROOM)
        if not removed:  # the queue knows whole seconds: look into the one that is under way
            for session_id in self._queue.under_way(now):
                if self._is_dead(session_id, now):
                    self._forget(session_id)

    def _reap(self, now: float, budget: int) -> tuple[int, bool]:
        """Free what is dead in at most `budget` steps of the queue.

        Returns how many were removed, and whether the queue is done up to `now`.
        """
        removed = 0
        session_ids, finished = self._queue.take(now, budget)
        for session_id in session_ids:
            record = self._records[session_id]
            if now >= record.expires_at:
                self._forget(session_id)
                removed += 1
            else:
                self._queue.put(session_id, record.expires_at)
        return removed, finished
