"""Copies of records that were loaded lately, and which of them may still be shown. Awaits nothing.

A copy is shown for a bounded time, counted from when its load was sent, and until somebody says
that its session has changed. A load that is under way when that is said may have read what was
there before: it is not kept. Knows records and clocks, no store; who hears of changes is elsewhere.
"""

import threading
import time
from collections import OrderedDict
from typing import NamedTuple

from fastapi_memsession.records import SessionKey, SessionRecord

MOST = 10_000
"""Copies that are kept at the same time; then the one that was loaded first makes room."""


class _Copy(NamedTuple):
    record: SessionRecord
    first: float  # by the clock of the caller, and what follows
    last: float
    until: float  # by the monotonic clock


class Load:
    """A load that is under way: of whom, and when it was sent, by both clocks."""

    __slots__ = ("now", "sent", "session_id")

    def __init__(self, session_id: str, now: float) -> None:
        self.session_id = session_id
        self.now = now
        self.sent = time.monotonic()


class Copies:
    """Records by session id, which is no other session's: it is random.

    One event loop loads and shows them; any thread may say that a session has changed.

    Args:
        seconds: how old a copy may be that is shown.
        most: how many are kept.
    """

    def __init__(self, *, seconds: float, most: int = MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, _Copy] = OrderedDict()
        self._loading: dict[str, Load] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: SessionKey, now: float) -> SessionRecord | None:
        """Return the copy of a record that lives; None if there is none that may be shown.

        Old is what either clock calls old: a machine that was suspended may have stopped one of
        them, and somebody may have put back the other.
        """
        copy = self._kept.get(key.session_id)
        if copy is None:
            return None
        record, first, last, until = copy
        shown = first <= now < last and time.monotonic() < until and record.user_id == key.user_id
        return record if shown else None

    def begin(self, session_id: str, now: float) -> Load:
        """Note a load, before it is sent. Of several at the same time only the first is noted."""
        load = Load(session_id, now)
        with self._guard:
            self._loading.setdefault(session_id, load)
        return load

    def end(self, load: Load, record: SessionRecord | None) -> None:
        """Keep what a load has read, if it is still noted; None if it failed or is not to be kept.

        What was kept before is dropped, for what was read is newer.
        """
        session_id = load.session_id
        with self._guard:
            if self._loading.get(session_id) is not load:
                return
            del self._loading[session_id]
            self._kept.pop(session_id, None)
            if record is not None:
                last = min(load.now + self._seconds, record.expires_at)
                self._kept[session_id] = _Copy(record, load.now, last, load.sent + self._seconds)
                self._make_room()

    def forget(self, session_id: str) -> None:
        """Show a session no more as it was until now."""
        with self._guard:
            self._kept.pop(session_id, None)
            self._loading.pop(session_id, None)

    def forget_all(self) -> None:
        """Show nothing that was read before now."""
        with self._guard:
            self._kept.clear()
            self._loading.clear()

    def _make_room(self) -> None:
        """Let go of the oldest while there are too many, or they are of no use any more."""
        now, kept = time.monotonic(), self._kept
        while len(kept) > self._most or (kept and next(iter(kept.values())).until <= now):
            kept.popitem(last=False)
