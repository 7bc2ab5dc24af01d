"""The expiry queue of a store in memory: ids, by the second from which on they may be dead.

Knows ids and seconds, not sessions. Putting, taking and removing an id each cost one step, however
many there are. A session that is renewed stays where it is: when it is taken, its store looks
whether it is dead, and puts it back if not.
"""

import heapq
import math
from collections.abc import Iterator


class ExpiryQueue:
    """Slots of one second each. Not safe for threads: its store guards it."""

    __slots__ = ("_order", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, set[str]] = {}
        self._order: list[int] = []  # a heap of all slots, and of some that are gone

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    @property
    def first(self) -> int | None:
        """The second from which on an id may be dead; None if there is no id."""
        while self._order and self._order[0] not in self._slots:
            heapq.heappop(self._order)
        return self._order[0] if self._order else None

    def put(self, session_id: str, expires_at: float) -> int:
        """Queue an id that is not in the queue; return the slot that it is in."""
        slot = math.ceil(expires_at)
        ids = self._slots.get(slot)
        if ids is None:
            ids = self._slots[slot] = set()
            heapq.heappush(self._order, slot)
        ids.add(session_id)
        return slot

    def remove(self, session_id: str, slot: int) -> None:
        """Take an id out of its slot; one that is not there is no error."""
        ids = self._slots.get(slot)
        if ids is None or session_id not in ids:
            return
        ids.remove(session_id)
        if not ids:
            del self._slots[slot]
            if len(self._order) > 2 * len(self._slots) + 1000:  # mostly slots that are gone
                self._order = list(self._slots)
                heapq.heapify(self._order)

    def take(self, now: float, budget: int) -> tuple[list[str], bool]:
        """Take ids out that are dead at `now` unless they were renewed.

        Does at most `budget` steps; a step is an id or a slot. Returns the ids, and whether there
        are no more.
        """
        taken: list[str] = []
        while self._order and self._order[0] <= now:
            ids = self._slots.get(self._order[0])
            while ids and budget > 0:
                budget -= 1
                session_id = ids.pop()
                taken.append(session_id)
            if budget <= 0:
                return taken, False
            budget -= 1
            self._slots.pop(heapq.heappop(self._order), None)
        return taken, True

    def due(self, now: float) -> Iterator[str]:
        """Look at the ids that may be dead at `now`, the second that is under way included."""
        for slot, ids in self._slots.items():
            if slot < now + 1:
                yield from ids

    def under_way(self, now: float) -> list[str]:
        """Return the ids that die within the second that is under way."""
        return list(self._slots.get(math.ceil(now), ()))
