"""What a store in memory remembers of sessions that are no more: why they ended.

And when all sessions of a user were ended, so that a login which began before can be stopped.
Bounded: past the limit the oldest are forgotten first. Not safe for threads: its store guards it.
"""

from collections import OrderedDict
from typing import NamedTuple

from fastapi_memsession.errors import EndReason
from fastapi_memsession.records import SessionKey
from fastapi_memsession.stores.base import LOGIN_SECONDS


class Ending(NamedTuple):
    """Why a session ended, and the id under which it lived on; worth knowing until the deadline."""

    user_id: str
    session_id: str
    reason: EndReason
    deadline: float
    successor: str | None = None


class Endings:
    """Endings by session id until its deadline, and revocations by user for a while.

    Attributes:
        by_id: the oldest first.

    Args:
        limit: of each, this many are remembered.
    """

    __slots__ = ("_limit", "_revoked", "by_id")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.by_id: OrderedDict[str, Ending] = OrderedDict()
        self._revoked: OrderedDict[str, float] = OrderedDict()

    def note(self, ending: Ending, now: float) -> None:
        """Remember why a session ended."""
        self.by_id[ending.session_id] = ending
        while self.by_id:
            oldest = next(iter(self.by_id.values()))
            if len(self.by_id) <= self._limit and now < oldest.deadline:
                return
            self.by_id.popitem(last=False)

    def all(self) -> list[Ending]:
        """Return what is remembered of single sessions, oldest first."""
        return list(self.by_id.values())

    def reason(self, key: SessionKey, now: float) -> EndReason | None:
        """Return why a session ended, None if nothing is remembered."""
        ending = self._of(key)
        return ending.reason if ending and now < ending.deadline else None

    def latest(self, key: SessionKey) -> SessionKey:
        """Follow a session that was given new ids to the last of them."""
        while (ending := self._of(key)) and ending.successor is not None:
            key = SessionKey(key.user_id, ending.successor)
        return key

    def successor(self, key: SessionKey, now: float) -> str | None:
        """Return the id that a session was given next; None if it was given none."""
        ending = self._of(key)
        return ending.successor if ending and now < ending.deadline else None

    def _of(self, key: SessionKey) -> Ending | None:
        ending = self.by_id.get(key.session_id)
        return ending if ending and ending.user_id == key.user_id else None

    def note_all(self, user_id: str, now: float) -> None:
        """Remember that all sessions of a user were ended."""
        self._revoked[user_id] = max(now, self._revoked.get(user_id, now))
        self._revoked.move_to_end(user_id)
        while len(self._revoked) > self._limit or (
            next(iter(self._revoked.values())) <= now - LOGIN_SECONDS
        ):
            self._revoked.popitem(last=False)

    def stops(self, user_id: str, since: float, now: float) -> bool:
        """Whether the user's sessions were all ended after `since`, and not too long ago."""
        revoked_at = self._revoked.get(user_id)
        return revoked_at is not None and since < revoked_at and now - revoked_at < LOGIN_SECONDS
