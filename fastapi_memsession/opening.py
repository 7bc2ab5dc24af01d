"""Opening the session of an access token, and seeing at a glance that nothing has changed since.

A client comes again with the same credential, and finds its session as it was. Whoever opens one
keeps what came of it beside the store's version of the record; as long as that is the same, and no
time has run out, the answer is the same. A store that cannot tell without being asked has none.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.types import Scope

from fastapi_memsession.carriers import TokenCarrier
from fastapi_memsession.errors import SessionEnded, TokenExpired
from fastapi_memsession.records import SessionKey, SessionRecord
from fastapi_memsession.session import Session
from fastapi_memsession.session_data import Keeper
from fastapi_memsession.shown import shown_by
from fastapi_memsession.tokens import TokenClaims, TokenCodec
from fastapi_memsession.values import size_of

_KEPT = 1024  # sessions; then all are forgotten, which costs each of them one load
# Until then they are kept, also if they have ended: so only small ones are.
_MOST_DATA, _MOST_VALUES = 2048, 32  # bytes, and how many
_LONGEST = 4096  # bytes that were shown


@dataclass(slots=True)  # not frozen: one is made for each that is loaded
class Opened:
    """What an access token opened, and how long that is true.

    Attributes:
        record: as it was loaded.
        claims: of the token; the record has the same.
        version: the store's, of this record.
        until: seconds since the epoch: token and session live, and no use is to be written down.
    """

    record: SessionRecord = field(repr=False)
    claims: TokenClaims = field(repr=False)
    version: object = field(repr=False)
    until: float


class Opening(Keeper):
    """The part of a provider that opens sessions; see SessionProvider.

    Attributes:
        shown: by what a client is known.
        opened: what was opened lately, by what had been shown.
    """

    refresh_carrier: TokenCarrier | None
    renew_seconds: float

    def __init__(self, carrier: TokenCarrier, tokens: TokenCodec) -> None:
        self.shown = shown_by(carrier)
        self.tokens = tokens

    @property
    def tokens(self) -> TokenCodec:
        """Signs and verifies tokens. What another one verified is not known any more."""
        return self._tokens

    @tokens.setter
    def tokens(self, tokens: TokenCodec) -> None:
        self._tokens = tokens
        self.opened: dict[bytes | None, Opened] = {}

    def at_hand(self, scope: Scope) -> Session | None:
        """Return the session as `open` would, if the same was shown lately; or None.

        None says nothing: ask `open`.
        """
        shown = self.shown(scope)
        opened = self.opened.get(shown)
        if opened is None:
            return None
        read_clock = self.clock.now  # and then call it: see the middleware
        claims, now = opened.claims, read_clock()
        if now >= opened.until or self.store.version(claims.key, now) is not opened.version:
            self.opened.pop(shown, None)
            return None
        return Session(opened.record, self, claims)

    async def open(self, token: str, *, renew: bool = True, scope: Scope | None = None) -> Session:
        """Return the live session of an access token, renewed if it is time to.

        Args:
            token: the text of the token.
            renew: False for a look that is no use, and extends nothing.
            scope: of the connection that brought it; who shows the same again is then known.

        Raises:
            InvalidToken: the token does not verify; the store was not asked.
            SessionEnded: the token is genuine, but its session is over.
            StoreUnavailable: the store cannot tell.
        """
        now, known = self.clock.now(), self.opened
        try:
            claims = self.tokens.decode(token, now)
        except TokenExpired:
            if self.refresh_carrier is None:  # such a token lives as long as its session may
                raise SessionEnded("expired") from None
            raise
        # Both before: what changes meanwhile has another version, and is not what was shown.
        version = self.store.version(claims.key, now)
        shown = None if version is None or scope is None else self.shown(scope)
        record = await self.store.load(
            claims.key,
            now=now,
            renew_interval=self.renew_seconds if renew else None,
            generation=claims.generation,
        )
        if record is None:
            raise await self.ended(claims.key)
        session = Session(record, self, claims)
        if record.claims != claims.data:
            session.needs_token = True
        elif shown and len(shown) <= _LONGEST:
            self._keep(known, shown, record, claims, version)
        return session

    def _keep(
        self,
        known: dict[bytes | None, Opened],
        shown: bytes,
        record: SessionRecord,
        claims: TokenClaims,
        version: object,
    ) -> None:
        if len(record.data) > _MOST_VALUES or size_of(record.data) > _MOST_DATA:
            return
        if len(known) >= _KEPT:
            known.clear()
        until = min(claims.over_at, record.expires_at, record.unwritten_until(self.renew_seconds))
        known[shown] = Opened(record, claims, version, until)

    async def living(self, keys: Iterable[SessionKey]) -> list[SessionKey]:
        """Return which of these sessions live. A look that is no use, and extends nothing."""
        load, now = self.store.load, self.clock()
        return [key for key in keys if await load(key, now=now, renew_interval=None)]

    async def ended(self, key: SessionKey) -> SessionEnded:
        """Return the error for a session that is absent, with the reason if it is remembered."""
        reason = await self.store.end_reason(key, now=self.clock())
        return SessionEnded(reason or "expired", **key._asdict())
