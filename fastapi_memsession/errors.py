"""The tree of errors. Knows nothing of HTTP: `answers.py` decides what a client is told.

    SessionError
    |- NotAuthenticated        no credential came
    |  |- InvalidToken         a credential came that does not verify
    |  |  `- TokenExpired      ... because an access token has had its time
    |  `- SessionEnded         a genuine credential, but its session is over
    |- CredentialConflict      two credentials that disagree
    |- CrossOriginRefused      another site's page sent this request
    |- NotPermitted            the session lives, but may not do this
    |- SessionDataError        a value, key, claim or user id that cannot be stored
    |  |- SessionDataMismatch  ... or what is stored does not fit the model
    |  `- SessionTooLarge      ... because of its size
    |- StoreUnavailable        the store cannot answer now
    |  |- StoreFull            ... because it holds as many sessions as it may
    |  `- LockTimeout          a session's lock was waited for, or held, too long
    |- SessionIdTaken          two sessions cannot have one id
    |- SessionUsageError       a mistake in the calling program
    `- SettingsError           settings that are wrong or unsafe

Messages never contain a token, a key or a stored value.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

ClientReason = Literal["expired", "revoked", "replaced", "evicted", "reused"]
"""Why a session ended, as a client may know it."""

EndReason = Literal["logout", "expired", "revoked", "replaced", "evicted", "reused", "undone"]
"""Why a session ended: its user logged out, it expired, was revoked, got a new id or another login
took its place, made room for newer ones, a refresh token was used twice; or its login never
reached the client."""

Lack = Literal["claims", "confirmation"]
"""What a session lacks that is not permitted something."""

_TOLD: dict[str, ClientReason] = {reason: reason for reason in get_args(ClientReason)}


class SessionError(Exception):
    """Base of every error that this package raises on purpose."""


class NotAuthenticated(SessionError):
    """The request carries no credential, so there is no session to give."""

    def __init__(
        self, message: str = "The request carries no session token; log in first."
    ) -> None:
        super().__init__(message)


class InvalidToken(NotAuthenticated):
    """A token came that does not verify.

    One message for every cause, so that an attacker learns nothing from it; a genuine one that is
    merely too old is TokenExpired.
    """

    def __init__(self) -> None:
        super().__init__("The session token is not valid; log in again.")


class TokenExpired(InvalidToken):
    """A genuine access token whose time is over; its session may live, and be renewed."""

    def __init__(self) -> None:
        NotAuthenticated.__init__(self, "The access token has expired; renew it, or log in again.")


class SessionEnded(NotAuthenticated):
    """The session is over. Nothing was written.

    Attributes:
        reason: why, as a client may know it: a logout is `revoked`, too; what nobody remembers
            was `expired`.
        user_id: whose session it was, for the log; None if that is not known.
        session_id: which session it was, likewise.
    """

    def __init__(
        self,
        reason: EndReason = "expired",
        message: str = "The session has ended; log in again.",
        *,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: ClientReason = _TOLD.get(reason, "revoked")
        self.user_id = user_id
        self.session_id = session_id


class CredentialConflict(SessionError):
    """The request carries two credentials that disagree; using either would be a guess."""


class CrossOriginRefused(SessionError):
    """A browser sent an unsafe request, with the cookie, for a page of another origin.

    Attributes:
        origin: what the browser said the origin was; empty when it named none.
    """

    def __init__(self, origin: str) -> None:
        # A client may write anything there, and what is told stands in the log, too.
        named = repr(origin) if origin else "an unnamed origin"
        super().__init__(
            f"A cross-origin request from {named} was refused. If that "
            "origin is yours, add it to MEMSESSION_TRUSTED_ORIGINS."
        )
        self.origin = origin


class NotPermitted(SessionError):
    """The session lives, and is not enough for what was asked. Nothing was done.

    Attributes:
        reason: `claims` if it lacks some, `confirmation` if the user must prove again who they are.
        max_age: seconds for which such a proof is good here; None for claims.
        user_id: whose session it is.
        session_id: which session it is.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Lack,
        max_age: float | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason: Lack = reason
        self.max_age = max_age
        self.user_id = user_id
        self.session_id = session_id


class SessionDataError(SessionError, ValueError):
    """A value cannot be stored, or not be read as the type asked for. Nothing was changed."""


class SessionDataMismatch(SessionDataError):
    """What a session holds does not fit the model, or the type, that it is read into.

    Attributes:
        fields: the names of those that do not; an empty one if it is the model as a whole. None
            are named where one value was read.
    """

    def __init__(self, message: str, *, fields: tuple[str, ...]) -> None:
        super().__init__(message)
        self.fields = fields


class SessionTooLarge(SessionDataError):
    """What should be stored or sent is larger than allowed. Nothing was changed.

    Attributes:
        size: bytes that it would take.
        limit: bytes that are allowed.
    """

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class StoreUnavailable(SessionError):
    """The store cannot answer now. Says nothing about whether the session lives.

    Attributes:
        retry_after: seconds after which another attempt is sensible.
    """

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreFull(StoreUnavailable):
    """The store holds as many live sessions as it may; those go on, new ones must wait."""


class LockTimeout(StoreUnavailable):
    """A session's lock was not free in time, or was held longer than its timeout."""


class SessionIdTaken(SessionError):
    """A new session would have the id of another; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("This session id is taken; ids are made anew for each session.")


class SessionUsageError(SessionError, RuntimeError):
    """The package is used in a way that cannot work; the message says what to change."""


class SettingsError(SessionError, ValueError):
    """The settings are wrong or unsafe; the message lists all that was found."""


def maker_of(error: NotAuthenticated) -> Callable[[], NotAuthenticated]:
    """Return what makes this error anew: an error that is kept would hold its whole call stack."""
    if isinstance(error, SessionEnded):
        user_id, session_id = error.user_id, error.session_id
        return partial(SessionEnded, error.reason, user_id=user_id, session_id=session_id)
    return type(error)
