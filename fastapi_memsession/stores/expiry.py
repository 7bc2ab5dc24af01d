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

    __slots__ = ("_order", "_slot_of", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, set[str]] = {}
        self._slot_of: dict[str, int] = {}
        self._order: list[int] = []  # a heap of all slots, and of some that are gone

    def __len__(self) -> int:
        return len(self._slot_of)

    def put(self, session_id: str, expires_at: float) -> None:
        """Queue an id that is not in the queue."""
        slot = math.ceil(expires_at)
        ids = self._slots.get(slot)
        if ids is None:
            ids = self._slots[slot] = set()
            heapq.heappush(self._order, slot)
        ids.add(session_id)
        self._slot_of[session_id] = slot

    def remove(self, session_id: str) -> None:
        """Take an id out; one that is not in the queue is no error."""
        slot = self._slot_of.pop(session_id, None)
        if slot is None:
            return
        ids = self._slots[slot]
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
                del self._slot_of[session_id]
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
