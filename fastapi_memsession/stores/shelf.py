"""Where a store in memory puts its records, and how it gets rid of them. Awaits nothing.

    records  session id -> record
    users    user id -> session ids
    queue    session ids by the second from which on they may be dead
    endings  session id -> why it ended

Not safe for threads: its store guards it.
"""

from fastapi_memsession.errors import EndReason, SessionIdTaken
from fastapi_memsession.records import SessionInfo, SessionKey, SessionRecord
from fastapi_memsession.stores.endings import Endings
from fastapi_memsession.stores.expiry import ExpiryQueue
from fastapi_memsession.values import size_of

_SWEPT_FOR_ROOM = 1000  # steps at a time, when a login finds the store full


class Shelf:
    """Records, findable by id, user and expiry.

    Args:
        limit: of the sessions that were ended, this many are remembered.
    """

    __slots__ = ("_queue", "data_bytes", "endings", "records", "users")

    def __init__(self, limit: int) -> None:
        self.records: dict[str, SessionRecord] = {}
        self.users: dict[str, dict[str, None]] = {}
        self.endings = Endings(limit)
        self.data_bytes = 0
        self._queue = ExpiryQueue()

    def live(self, key: SessionKey, now: float) -> SessionRecord | None:
        """Return a record, None if it is absent, dead or another user's."""
        record = self.records.get(key.session_id)
        if record is None or now >= record.expires_at or record.user_id != key.user_id:
            return None
        return record

    def put(self, record: SessionRecord) -> SessionRecord:
        """Replace a record that is here."""
        before = self.records[record.session_id].data
        if before is not record.data:
            self.data_bytes += size_of(record.data) - size_of(before)
        self.records[record.session_id] = record
        return record

    def add(self, record: SessionRecord) -> None:
        """Keep a record that is new here."""
        self.records[record.session_id] = record
        self.users.setdefault(record.user_id, {})[record.session_id] = None
        self.data_bytes += size_of(record.data)
        self._queue.put(record.session_id, record.expires_at)

    def refuse_taken(self, session_id: str) -> None:
        """Raise SessionIdTaken if a session has or had this id."""
        if session_id in self.records or session_id in self.endings:
            raise SessionIdTaken

    def end(self, record: SessionRecord, reason: EndReason, now: float) -> None:
        """Drop a live record, and remember why."""
        self._drop(record.session_id)
        self.endings.note(record.key, reason, now=now, deadline=record.deadline)

    def list_user(self, user_id: str, now: float) -> list[SessionInfo]:
        """Return the user's live sessions, oldest first."""
        records = (self.records[each] for each in self.users.get(user_id, ()))
        living = [record.info for record in records if now < record.expires_at]
        living.sort(key=lambda info: (info.created_at, info.session_id))
        return living

    def count(self, now: float) -> int:
        """Return how many are live. Costs what is dead and not swept yet."""
        return len(self.records) - sum(self._is_dead(each, now) for each in self._queue.due(now))

    def make_room(self, now: float) -> None:
        """Drop some of the dead, if there are any."""
        removed, finished = 0, False
        while not removed and not finished:
            removed, finished = self.reap(now, _SWEPT_FOR_ROOM)
        if not removed:  # the queue knows whole seconds: look into the one that is under way
            for session_id in self._queue.under_way(now):
                if self._is_dead(session_id, now):
                    self._drop(session_id)

    def reap(self, now: float, budget: int) -> tuple[int, bool]:
        """Drop what is dead in at most `budget` steps of the queue.

        Returns how many were removed, and whether the queue is done up to `now`.
        """
        removed = 0
        session_ids, finished = self._queue.take(now, budget)
        for session_id in session_ids:
            record = self.records[session_id]
            if now >= record.expires_at:
                self._drop(session_id)
                removed += 1
            else:
                self._queue.put(session_id, record.expires_at)
        return removed, finished

    def _is_dead(self, session_id: str, now: float) -> bool:
        return now >= self.records[session_id].expires_at

    def _drop(self, session_id: str) -> None:
        record = self.records.pop(session_id)
        self._queue.remove(session_id)
        self.data_bytes -= size_of(record.data)
        mine = self.users[record.user_id]
        del mine[session_id]
        if not mine:
            del self.users[record.user_id]
