"""Where a store in memory puts its records, and how it gets rid of them. Awaits nothing.

    records  session id -> record, packed
    users    user id -> its session id, or the set of them
    queue    session ids by the second from which on they may be dead
    endings  session id -> why it ended, and where it lives on

Not safe for threads, but for what says so: its store guards it.
"""

from collections.abc import Callable, Iterable

from fastapi_memsession.errors import EndReason, SessionIdTaken
from fastapi_memsession.records import Ended, SessionInfo, SessionKey, SessionRecord
from fastapi_memsession.stores.endings import Ending, Endings
from fastapi_memsession.stores.expiry import ExpiryQueue
from fastapi_memsession.stores.packing import (
    Packed,
    expires_at,
    moved,
    pack,
    size_of_data,
    slot_of,
    unpack,
)
from fastapi_memsession.values import size_of

_SWEPT_FOR_ROOM = 1000  # steps at a time, when a login finds the store full


class Shelf:
    """Records, findable by id, user and expiry.

    Args:
        limit: of the sessions that were ended, this many are remembered.
        tell: hears of each, with its user.
    """

    __slots__ = ("_queue", "_tell", "data_bytes", "endings", "records", "users")

    def __init__(self, limit: int, *, tell: Callable[[str, Ended], None]) -> None:
        self.records: dict[str, Packed] = {}
        self.users: dict[str, str | set[str]] = {}
        self.endings = Endings(limit)
        self.data_bytes = 0
        self._queue = ExpiryQueue()
        self._tell = tell

    def live(self, key: SessionKey, now: float) -> SessionRecord | None:
        """Return a record, None if it is absent, dead or another user's.

        One look into a dictionary, at what is never changed in place: safe without the guard.
        """
        user_id, session_id = key
        packed = self.records.get(session_id)
        if packed is None:
            return None
        record = unpack(session_id, packed)
        return record if now < record.expires_at and record.user_id == user_id else None

    def all(self) -> list[SessionRecord]:
        """Return every record, the dead that were not swept yet included."""
        return [unpack(session_id, packed) for session_id, packed in self.records.items()]

    def info(self, session_id: str, now: float) -> SessionInfo | None:
        """Return what may be shown of a record, None if it is absent or dead."""
        packed = self.records.get(session_id)
        if packed is None or now >= expires_at(packed):
            return None
        return unpack(session_id, packed).info

    def put(self, record: SessionRecord) -> SessionRecord:
        """Replace a record that is here."""
        before, size = self.records[record.session_id], size_of(record.data)
        self.records[record.session_id] = pack(record, slot_of(before), size)
        self.data_bytes += size - size_of_data(before)
        return record

    def add(self, record: SessionRecord) -> None:
        """Keep a record that is new here."""
        session_id, user_id, size = record.session_id, record.user_id, size_of(record.data)
        slot = self._queue.put(session_id, record.expires_at)
        self.records[session_id] = pack(record, slot, size)
        self.data_bytes += size
        mine = self.users.get(user_id)
        if mine is None:
            self.users[user_id] = session_id
        elif isinstance(mine, str):
            self.users[user_id] = {mine, session_id}
        else:
            mine.add(session_id)

    def is_taken(self, session_id: str) -> bool:
        """Whether a session has or had this id."""
        return session_id in self.records or session_id in self.endings.by_id

    def end(
        self, key: SessionKey, reason: EndReason, now: float, *, successor: str | None = None
    ) -> None:
        """Drop a live record, remember why, and tell; it may live on under another id."""
        deadline = unpack(key.session_id, self.records[key.session_id]).deadline
        self._drop(key.session_id)
        self.endings.note(Ending(*key, reason, deadline, successor), now)
        self._tell(key.user_id, Ended(key.session_id, reason, successor))

    def rename(
        self, key: SessionKey, session_id: str, now: float, confirmed_at: float | None
    ) -> SessionRecord | None:
        """See SessionStore."""
        record = self.live(key, now)
        if record is None:
            again = self.endings.successor(key, now) == session_id
            return self.live(SessionKey(key.user_id, session_id), now) if again else None
        if self.is_taken(session_id):
            raise SessionIdTaken
        self.end(key, "replaced", now, successor=session_id)
        if confirmed_at is not None:
            record = record._replace(confirmed_at=confirmed_at)
        record = record._replace(session_id=session_id)
        self.add(record)
        return record

    def list_user(self, user_id: str, now: float) -> list[SessionInfo]:
        """Return the user's live sessions, oldest first."""
        living = [self.info(session_id, now) for session_id in self._of_user(user_id)]
        return sorted(
            (info for info in living if info is not None),
            key=lambda info: (info.created_at, info.session_id),
        )

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
            packed = self.records[session_id]
            dies_at = expires_at(packed)
            if now >= dies_at:
                self._drop(session_id)
                removed += 1
            else:
                slot = self._queue.put(session_id, dies_at)
                self.records[session_id] = moved(packed, slot)
        return removed, finished

    def _of_user(self, user_id: str) -> Iterable[str]:
        mine = self.users.get(user_id, ())
        return (mine,) if isinstance(mine, str) else mine

    def _is_dead(self, session_id: str, now: float) -> bool:
        return now >= expires_at(self.records[session_id])

    def _drop(self, session_id: str) -> None:
        packed = self.records.pop(session_id)
        self._queue.remove(session_id, slot_of(packed))
        self.data_bytes -= size_of_data(packed)
        user_id = unpack(session_id, packed).user_id
        mine = self.users[user_id]
        if isinstance(mine, str):
            del self.users[user_id]
        else:
            mine.discard(session_id)
            if len(mine) == 1:
                self.users[user_id] = mine.pop()
