"""TokenIssuer: which tokens a session gets, and how they reach the client. Knows no store.

Without refresh tokens an access token opens its session until the session's deadline, so sliding
needs no new one. With them it lives shortly, and a refresh token buys the next pair.
"""

import math
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders

from fastapi_memsession.carriers import TokenCarrier
from fastapi_memsession.records import SessionRecord, TokenPair
from fastapi_memsession.settings import SessionSettings
from fastapi_memsession.tokens import TokenCodec


@dataclass(slots=True)
class Issue:
    """Tokens, the headers that bring them, and what the access token says; see TokenInfo."""

    access: str = field(repr=False)
    headers: MutableHeaders = field(repr=False)
    issued_at: int
    expires_at: int
    generation: int
    refresh: str | None = field(default=None, repr=False)

    @property
    def tokens(self) -> TokenPair:
        """The tokens, for whoever sends them in another way."""
        return TokenPair(self.access, self.refresh)


class TokenIssuer:
    """Issues the tokens of sessions.

    Attributes:
        vary: the request headers in which tokens come.
        private: the response headers that say so to caches, and that nothing is to be kept.

    Args:
        settings: whether there are refresh tokens, and how long access tokens live.
        tokens: signs them.
        carrier: brings access tokens to the client.
        refresh_carrier: brings refresh tokens; None where the settings ask for none.
    """

    def __init__(
        self,
        settings: SessionSettings,
        *,
        tokens: TokenCodec,
        carrier: TokenCarrier,
        refresh_carrier: TokenCarrier | None,
    ) -> None:
        self._tokens = tokens
        self._carrier = carrier
        self._refresh_carrier = refresh_carrier
        carriers = (carrier, refresh_carrier)
        names = (name for each in carriers if each for name in each.vary)
        self.vary = tuple(dict.fromkeys(names))
        self.private = (
            (b"cache-control", b"no-store"),
            (b"vary", ", ".join(self.vary).encode("latin-1")),
        )
        self._access_life = settings.access_expiration.total_seconds()
        # Longer than that, and an access token that is handed out again might be over.
        self._grace = min(settings.refresh_grace.total_seconds(), self._access_life / 2)

    def issue(self, record: SessionRecord, *, now: float) -> Issue:
        """Issue all tokens of a session, as its record is.

        Within the grace period after a rotation the same record gives the same tokens.

        Raises:
            SessionDataError: user id or claims are not text that UTF-8 can encode.
            SessionTooLarge: a token does not fit.
        """
        if self._refresh_carrier is None:  # then none is handed out again
            return self.issue_access(record, now=now)
        # Whoever was second may have looked at the clock first, or have one that is behind.
        rotated = record.generation > 0 and abs(now - record.rotated_at) < self._grace
        issue = self.issue_access(record, now=record.rotated_at if rotated else now)
        issue.refresh = self._tokens.encode_refresh(
            record,
            generation=record.generation,
            issued_at=record.rotated_at if record.generation else record.created_at,
            expires_at=record.deadline,
        )
        max_age = math.ceil(record.deadline - now)
        self._refresh_carrier.inject(issue.headers, issue.refresh, max_age=max_age)
        return issue

    def issue_access(self, record: SessionRecord, *, now: float) -> Issue:
        """Issue an access token alone; raises as `issue` does."""
        expires_at = record.deadline
        if self._refresh_carrier is not None:
            expires_at = min(now + self._access_life, expires_at)
        token = self._tokens.encode(
            record,
            record.claims,
            generation=record.generation,
            issued_at=now,
            expires_at=expires_at,
        )
        headers = MutableHeaders()
        self._carrier.inject(headers, token, max_age=math.ceil(expires_at - now))
        issued_at, expires_at = math.floor(now), math.ceil(expires_at)
        return Issue(token, headers, issued_at, expires_at, record.generation)

    def clear(self, headers: MutableHeaders) -> None:
        """Make the client forget every token, where response headers can do that."""
        self._carrier.clear(headers)
        if self._refresh_carrier is not None:
            self._refresh_carrier.clear(headers)
