"""What happens to sessions, for whoever watches: one event each, to handlers and to the log.

Events carry no token and no data of a session (ASVS 16.3.1). Knows neither stores nor HTTP.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from fastapi_memsession.errors import (
    CredentialConflict,
    CrossOriginRefused,
    EndReason,
    InvalidToken,
    NotPermitted,
    SessionEnded,
    SessionError,
    TokenExpired,
)
from fastapi_memsession.records import SessionKey

logger = logging.getLogger("fastapi_memsession")

EventKind = Literal["created", "renewed", "ended", "reused", "refused"]
RefusalReason = Literal[
    "invalid_token", "token_expired", "conflict", "cross_origin", "claims", "confirmation"
]
EventReason = EndReason | RefusalReason

_LEVELS: dict[EventKind, int] = {"reused": logging.WARNING}
_SHOWN = 8  # characters of a session id that a line in the log shows: enough to follow one


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """Something that happened to a session, or to a request that wanted one.

    Attributes:
        kind: `created` by a login, or under a new id; `renewed`, a refresh token was exchanged;
            `ended`, by this process: one that merely expires is not noticed by anyone; `reused`,
            a refresh token came a second time, so one of its two users is a thief; `refused`, a
            request with a credential did not get what it wanted.
        at: seconds since the epoch.
        user_id: whose; None if nobody knows.
        session_id: which; None if nobody knows.
        reason: of `ended` why, as `EndReason`; of `refused` that, or `invalid_token`,
            `token_expired`, which is no more than the time to renew, `conflict`, `cross_origin`,
            `claims`, `confirmation`; None otherwise.
    """

    kind: EventKind
    at: float
    user_id: str | None = None
    session_id: str | None = None
    reason: EventReason | None = None


EventHandler = Callable[[SessionEvent], Awaitable[None] | None]
H = TypeVar("H", bound=EventHandler)


class Events:
    """Tells every event to the log and to each handler, in the order in which they came.

    A handler that fails is logged, and disturbs nobody.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._handlers: list[EventHandler] = []

    def subscribe(self, handler: H) -> H:
        """Call `handler`, sync or async, with each event from now on. Returns it: a decorator."""
        self._handlers.append(handler)
        return handler

    def heard(self, kind: EventKind) -> bool:
        """Whether anybody would hear of it: a handler, or the log."""
        return bool(self._handlers) or logger.isEnabledFor(_LEVELS.get(kind, logging.INFO))

    async def tell(
        self, kind: EventKind, key: SessionKey | None = None, reason: EventReason | None = None
    ) -> None:
        """Tell what happened to a session."""
        if self.heard(kind):
            user_id, session_id = key or (None, None)
            await self._emit(SessionEvent(kind, self._clock(), user_id, session_id, reason))

    async def refused(self, error: SessionError) -> None:
        """Tell that a request with a credential did not get what it wanted, if that is so."""
        reason = _refusal_reason(error)
        if reason is not None:
            user_id = getattr(error, "user_id", None)
            session_id = getattr(error, "session_id", None)
            await self._emit(SessionEvent("refused", self._clock(), user_id, session_id, reason))

    async def _emit(self, event: SessionEvent) -> None:
        known = [] if event.user_id is None else [f"user {event.user_id!r}"]
        if event.session_id is not None:
            known.append(f"session {event.session_id[:_SHOWN]}")
        if event.reason is not None:
            known.append(f"reason {event.reason}")
        level = _LEVELS.get(event.kind, logging.INFO)
        logger.log(level, "Session %s: %s.", event.kind, ", ".join(known))
        for handler in self._handlers:
            try:
                waiting = handler(event)
                if inspect.isawaitable(waiting):
                    await waiting
            except Exception:
                logger.exception("A handler of session events failed; its event was %r.", event)


def _refusal_reason(error: SessionError) -> EventReason | None:
    """Return the reason of a `refused` event; None for an error that is no refusal."""
    if isinstance(error, SessionEnded | NotPermitted):
        return error.reason
    if isinstance(error, InvalidToken):
        return "token_expired" if isinstance(error, TokenExpired) else "invalid_token"
    if isinstance(error, CredentialConflict):
        return "conflict"
    return "cross_origin" if isinstance(error, CrossOriginRefused) else None
