"""Frozen values that travel between the rooms. Knows no store, no token and no HTTP.

Every time is a number of seconds since the epoch, by the application's clock.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from fastapi_memsession.base64url import base64url
from fastapi_memsession.errors import EndReason


def new_session_id() -> str:
    """Make a session id: 256 random bits as 43 characters of base64url (ASVS 7.2.3)."""
    return base64url(secrets.token_bytes(32)).decode()


class SessionKey(NamedTuple):
    """What names a session in a store. Both parts are known from a verified token."""

    user_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Claims:
    """Who a session belongs to: what the token says and the record confirms.

    Attributes:
        user_id: as given at login.
        data: small read-only facts: those given at login, or updated since.
        issued_at: whole seconds since the epoch (`iat`, RFC 7519 section 4.1.6).
        expires_at: whole seconds since the epoch; from then on the token is refused (`exp`).
    """

    user_id: str
    data: Mapping[str, str] = field(repr=False)
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as an administrator or its owner sees it: no data, nothing secret.

    Attributes:
        user_agent: what the client called itself at login; None if that was not recorded.
        address: where the login came from; None if that was not recorded.
    """

    user_id: str
    session_id: str
    created_at: float
    last_seen_at: float
    expires_at: float
    user_agent: str | None = None
    address: str | None = None


class Ended(NamedTuple):
    """That a session is no more under its id.

    Attributes:
        session_id: the id that is over.
        reason: why.
        successor: the id under which the session lives on; None if it is over, too.
    """

    session_id: str
    reason: EndReason
    successor: str | None = None


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The tokens of a session.

    Attributes:
        access: opens the session.
        refresh: buys the next pair, once; None if the settings ask for no refresh tokens.
    """

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)


class TokenInfo(Protocol):
    """What an access token says, besides whose session it opens."""

    @property
    def issued_at(self) -> int:
        """Whole seconds since the epoch."""
        ...

    @property
    def expires_at(self) -> int:
        """Whole seconds since the epoch; from then on the token is refused."""
        ...

    @property
    def generation(self) -> int:
        """Which of the session's tokens it is; see `SessionRecord`."""
        ...


@dataclass(frozen=True, slots=True)
class SessionStats:
    """What a store can tell about itself at little cost; None is what this store cannot.

    Attributes:
        sessions: sessions that it holds, with those that died and were not swept yet.
        users: users who have such sessions.
        data_bytes: bytes of their data: keys and encoded values.
        server_bytes: bytes of memory that the store's server uses, for whatever it holds.
        sweeps: sweeps that this process has finished.
        swept: dead sessions that they removed.
    """

    sessions: int | None = None
    users: int | None = None
    data_bytes: int | None = None
    server_bytes: int | None = None
    sweeps: int = 0
    swept: int = 0


class SessionRecord(NamedTuple):
    """What a store keeps for one session.

    Attributes:
        claims: small read-only facts; the record is the authority, the token a copy.
        data: encoded values (see `values.py`) by key. Never changed in place.
        created_at: when the user logged in.
        last_seen_at: the last use that was written down.
        expires_at: dead from here on, unless used before. Never past `deadline`.
        deadline: dead from here on, whatever happens (login plus max lifetime).
        expiration: idle expiration of this session, in seconds.
        confirmed_at: when the user last proved who they are: at login, or since.
        user_agent: what the client called itself at login, if that is recorded.
        address: where the login came from, if that is recorded.
        generation: how often its tokens were rotated.
        used_generation: the highest generation that a client has shown to possess.
        rotated_at: when `generation` last grew.
    """

    user_id: str
    session_id: str
    claims: Mapping[str, str]
    data: Mapping[str, bytes]
    created_at: float
    last_seen_at: float
    expires_at: float
    deadline: float
    expiration: float
    confirmed_at: float = 0.0
    user_agent: str | None = None
    address: str | None = None
    generation: int = 0
    used_generation: int = 0
    rotated_at: float = 0.0

    def __repr__(self) -> str:
        # Neither id, claims nor data: a repr ends up in logs and traces.
        return f"<Record of {self.user_id!r}, until {self.expires_at:.3f}>"

    @property
    def key(self) -> SessionKey:
        """The name of this record in a store."""
        # Without the call that the class' own function is: each login comes by here three times.
        return tuple.__new__(SessionKey, (self.user_id, self.session_id))

    @property
    def info(self) -> SessionInfo:
        """The part of the record that may be shown."""
        return SessionInfo(
            self.user_id,
            self.session_id,
            self.created_at,
            self.last_seen_at,
            self.expires_at,
            self.user_agent,
            self.address,
        )

    def used(self, now: float, interval: float | None, generation: int | None) -> "SessionRecord":
        """Return the record after a use, or a look, at `now`; itself if nothing is written down.

        A use closer to the last one than `interval` seconds is not. A session with a short
        idle expiration of its own is renewed after half of that at the latest, or it would
        never slide.

        Args:
            now: seconds since the epoch.
            interval: None for a look that is no use.
            generation: of the token that was shown; it is then known to have arrived.
        """
        record = self
        if interval is not None:
            unseen = now - self.last_seen_at
            if unseen >= interval or unseen + unseen >= self.expiration:
                record = self.renewed(now)
        if generation is not None and record.used_generation < generation <= record.generation:
            record = record._replace(used_generation=generation)
        return record

    def unwritten_until(self, interval: float) -> float:
        """Return until when a use is surely not written down: a moment less than `used` says."""
        return self.last_seen_at + min(interval, self.expiration / 2) - 0.001

    def renewed(self, now: float) -> "SessionRecord":
        """Return the record as used at `now`: idle expiration starts again, up to the deadline."""
        expires_at = min(now + self.expiration, self.deadline)
        return self._replace(last_seen_at=now, expires_at=expires_at)
