"""SessionProvider: the policy over any store. Logs in, opens, ends, cleans up; knows no FastAPI.

One class for every store: what differs between memory and Redis is behind the store contract,
what must not differ is here.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from starlette.datastructures import MutableHeaders

from fastapi_memsession.carriers import TokenCarrier
from fastapi_memsession.errors import (
    InvalidToken,
    SessionDataError,
    SessionEnded,
    SessionUsageError,
)
from fastapi_memsession.records import Claims, SessionKey, SessionRecord
from fastapi_memsession.session import Session
from fastapi_memsession.settings import SessionSettings
from fastapi_memsession.stores.base import EndReason, SessionStore
from fastapi_memsession.tokens import TokenCodec, new_session_id
from fastapi_memsession.values import check_size, encode_data

logger = logging.getLogger("fastapi_memsession")

SWEEP_BUDGET = 500
"""Sessions that a sweep looks at before it lets others run: well under a millisecond's work."""


@dataclass(frozen=True, slots=True)
class Login:
    """A new session, and the response headers that bring its token to the client.

    `record` is what the store keeps from the beginning.
    """

    session: Session
    headers: MutableHeaders = field(repr=False)
    record: SessionRecord = field(repr=False)


class SessionProvider:
    """Logs users in and opens their sessions. `setup_sessions` makes one for each application.

    Args:
        settings: how sessions behave.
        store: where records are kept.
        carrier: how tokens travel.
        tokens: signs and verifies them.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        settings: SessionSettings,
        *,
        store: SessionStore,
        carrier: TokenCarrier,
        tokens: TokenCodec,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.store = store
        self.carrier = carrier
        self.tokens = tokens
        self.clock = clock
        self._idle_seconds = settings.expiration.total_seconds()
        self._renew_seconds = settings.renew_seconds
        self._max_bytes = settings.max_data_bytes

    async def login(self, user_id: str, **options: Any) -> Login:
        """Make a session for `user_id`. See `login_session`, which also answers the request.

        Takes the keywords of `prepare_login`.
        """
        login = self.prepare_login(user_id, **options)
        await self.begin(login)
        return login

    def prepare_login(
        self,
        user_id: str,
        *,
        claims: Mapping[str, str] | None = None,
        data: Mapping[str, object] | None = None,
        expiration: float | timedelta | None = None,
        max_lifetime: float | timedelta | None = None,
    ) -> Login:
        """Make all that a new session is, and store nothing yet.

        Everything is checked here, so an error leaves no session behind. Takes and raises what
        `login_session` does.
        """
        now = self.clock()
        life = self._at_most_max_lifetime("max_lifetime", max_lifetime)
        idle = min(
            self._at_most_max_lifetime("expiration", expiration)
            if expiration is not None
            else self._idle_seconds,
            life,
        )
        record = SessionRecord(
            user_id=_checked_user_id(user_id),
            session_id=new_session_id(),
            claims=_checked_claims(claims or {}),
            data=encode_data(data or {}),
            created_at=now,
            last_seen_at=now,
            expires_at=now + idle,
            deadline=now + life,
            expiration=idle,
        )
        check_size(record.data, self._max_bytes)
        token = self.tokens.encode(
            record.key, record.claims, issued_at=now, expires_at=record.deadline
        )
        headers = MutableHeaders()
        self.carrier.inject(headers, token, max_age=math.ceil(life))
        session = self._session(record, math.floor(now), math.ceil(record.deadline))
        return Login(session, headers, record)

    async def begin(self, login: Login, *, replacing: SessionKey | None = None) -> None:
        """Store a prepared session; one that it is `replacing` is about to be ended."""
        await self.store.create(
            login.record,
            now=login.record.created_at,
            limit_per_user=self.settings.max_sessions_per_user,
            replacing=replacing,
        )

    async def open(self, token: str) -> Session:
        """Return the live session of a token, renewed if it is time to.

        Raises:
            InvalidToken: the token does not verify; the store was not asked.
            SessionEnded: the token is genuine, but its session is over.
            StoreUnavailable: the store cannot tell.
        """
        claims = self.tokens.decode(token)
        record = await self.store.load(
            claims.key, now=self.clock(), renew_interval=self._renew_seconds
        )
        if record is None:
            raise SessionEnded
        return self._session(record, claims.issued_at, claims.expires_at)

    async def end(self, key: SessionKey, *, reason: EndReason) -> None:
        """End a session; one that is over already is no error."""
        await self.store.delete(key, now=self.clock(), reason=reason)

    def key_of(self, token: str) -> SessionKey | None:
        """Return which session a token names; None if it does not verify. Asks no store."""
        try:
            return self.tokens.decode(token).key
        except InvalidToken:
            return None

    async def count(self) -> int:
        """Return the number of live sessions."""
        return await self.store.count(now=self.clock())

    async def sweep(self) -> int:
        """Free what dead sessions take, now. Returns how many were removed."""
        return await self.store.sweep(now=self.clock(), budget=SWEEP_BUDGET)

    async def clean_up_forever(self) -> None:
        """Sweep every `cleanup_interval` until cancelled. A failed sweep is logged, and retried."""
        interval = self.settings.cleanup_interval.total_seconds()
        while True:
            await asyncio.sleep(interval)
            try:
                removed = await self.sweep()
            except Exception:
                logger.exception("Cleaning up sessions failed; the next try is in %g s.", interval)
            else:
                logger.debug("Cleaned up %d dead sessions.", removed)

    def _session(self, record: SessionRecord, issued_at: int, expires_at: int) -> Session:
        return Session(
            record,
            Claims(record.user_id, dict(record.claims), issued_at, expires_at),
            store=self.store,
            clock=self.clock,
            max_bytes=self._max_bytes,
        )

    def _at_most_max_lifetime(self, name: str, value: float | timedelta | None) -> float:
        longest = self.settings.max_lifetime.total_seconds()
        if value is None:
            return longest
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        if not isinstance(seconds, int | float) or not 0 < seconds <= longest:
            raise SessionUsageError(
                f"{name} must be more than 0 and at most {longest:g} seconds, which is "
                "MEMSESSION_MAX_LIFETIME: the longest that any session may live."
            )
        return seconds


def _checked_user_id(user_id: object) -> str:
    if not isinstance(user_id, str):
        raise SessionDataError(
            f"user_id must be a str, not {type(user_id).__name__}; use str(...)."
        )
    if not user_id:
        raise SessionDataError("user_id is empty; a session must belong to someone.")
    return user_id


def _checked_claims(claims: object) -> dict[str, str]:
    if not isinstance(claims, Mapping):
        raise SessionDataError(f"Claims must be a mapping, not a {type(claims).__name__}.")
    for name, value in claims.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise SessionDataError(
                f"Claims are text by text, but claim {name!r} is of type {type(value).__name__}; "
                "use str(...), or put it into the session's data."
            )
    return dict(claims)
