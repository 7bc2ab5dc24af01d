"""The expiry queue of a store in memory: ids, by the second from which on they may be dead.

Knows ids and seconds, not sessions. Putting and removing costs one step; taking costs what is
taken and the seconds that have passed since. A session that is renewed stays where it is: when
it is taken, its store looks whether it is dead, and puts it back if not.
"""

import math
from collections.abc import Iterator


class ExpiryQueue:
    """Slots of one second each. Not safe for threads: its store guards it."""

    __slots__ = ("_slot_of", "_slots", "_taken_until")

    def __init__(self) -> None:
        self._slots: dict[int, set[str]] = {}
        self._slot_of: dict[str, int] = {}
        self._taken_until = 0  # no slot is at or before this second

    def __len__(self) -> int:
        return len(self._slot_of)

    def put(self, session_id: str, expires_at: float) -> None:
        """Queue an id that is not in the queue."""
        slot = math.ceil(expires_at)
        if not self._slots or slot <= self._taken_until:
            self._taken_until = slot - 1
        self._slots.setdefault(slot, set()).add(session_id)
        self._slot_of[session_id] = slot

    def remove(self, session_id: str) -> None:
        """Take an id out; one that is not in the queue is no error."""
        slot = self._slot_of.pop(session_id, None)
        if slot is not None:
            ids = self._slots[slot]
            ids.remove(session_id)
            if not ids:
                del self._slots[slot]

    def take(self, now: float, budget: int) -> tuple[list[str], bool]:
        """Take ids out that are dead at `now` unless they were renewed.

        Does at most `budget` steps; a step is an id or a second without any. Returns the ids, and
        whether there are no more.
        """
        taken: list[str] = []
        second = math.floor(now)
        if second - self._taken_until > len(self._slots):  # a long sleep: jump to what there is
            self._taken_until = min(min(self._slots, default=second + 1) - 1, second)
        while self._taken_until < second:
            ids = self._slots.get(self._taken_until + 1)
            while ids and budget > 0:
                budget -= 1
                session_id = ids.pop()
                del self._slot_of[session_id]
                taken.append(session_id)
            if budget <= 0:
                return taken, False
            budget -= 1
            self._taken_until += 1
            self._slots.pop(self._taken_until, None)
        return taken, True

    def due(self, now: float) -> Iterator[str]:
        """Look at the ids that may be dead at `now`, the second that is under way included."""
        last = math.ceil(now)
        if last - self._taken_until > len(self._slots):
            slots = [slot for slot in self._slots if slot <= last]
        else:
            slots = [slot for slot in range(self._taken_until + 1, last + 1) if slot in self._slots]
        for slot in slots:
            yield from self._slots[slot]
