"""Claims to JWT and back. Knows no store and no HTTP.

jose alone accepts what it should not and raises what it should not, so a token reaches it only
after its shape and its header are known to be ours, and what comes back is checked field by field.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from jose import jws
from pydantic_core import to_json

from fastapi_memsession.base64url import base64url
from fastapi_memsession.errors import (
    InvalidToken,
    SessionDataError,
    SessionTooLarge,
    TokenExpired,
)
from fastapi_memsession.keys import SigningKey
from fastapi_memsession.records import SessionKey, SessionRecord

MAX_TOKEN_BYTES = 4096
"""A longer token is refused unread, and never issued."""

ACCESS, REFRESH = "access+jwt", "refresh+jwt"
"""`typ` of the two kinds of token (explicit typing, RFC 8725 section 3.11)."""

_CLOCK_SKEW = 60  # seconds by which another worker's clock may be ahead of ours
_REMEMBERED = 4096  # access tokens that were verified lately
_CLAIMS = frozenset({"iss", "aud", "sub", "sid", "gen", "iat", "exp"})
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{43}")

# Base64url has spare bits at its end: only one spelling of a signature is accepted.
_SIGNATURE = {
    "HS256": r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]",
    "HS384": r"[A-Za-z0-9_-]{64}",
    "HS512": r"[A-Za-z0-9_-]{85}[AQgw]",
}


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a verified token says; `data` are the session's claims, none in a refresh token."""

    key: SessionKey = field(repr=False)
    generation: int
    data: Mapping[str, str] = field(repr=False)
    issued_at: int
    expires_at: int
    over_at: float
    """`expires_at` once more: to compare a clock's time with an int takes three times as long."""


class Kind:
    """One kind of token: its claims, its life, and by header segment the key that verifies it."""

    __slots__ = ("begin", "claims", "keys", "longest_life", "typ")

    def __init__(self, typ: str, claims: frozenset[str], longest_life: float) -> None:
        self.typ = typ
        self.claims = claims
        self.longest_life = math.ceil(longest_life) + 1  # both ends of a life are rounded outwards
        self.begin = b""  # of each token that is signed from now on: its header, and a point
        self.keys: dict[str, SigningKey] = {}


class TokenCodec:
    """Signs with one key, verifies with that and with previous ones. Keys never change.

    Args:
        key: signs and verifies; at least as long as the algorithm's hash (RFC 7518 3.2).
        previous_keys: only verify.
        algorithm: HS256, HS384 or HS512; the token's header has no say in it.
        issuer: `iss` of every token, compared exactly.
        audience: `aud` of every token, compared exactly.
        access_life: seconds; an access token that would live longer is refused.
        max_lifetime: the same for a refresh token.
        clock: seconds since the epoch.

    Raises:
        SettingsError: a key is too short, or is no shared secret.
    """

    __slots__ = (
        "_access", "_algorithm", "_audience", "_clock", "_issuer", "_recall", "_refresh",
        "_shape", "_signing_key",
    )  # fmt: skip

    def __init__(
        self,
        key: bytes,
        *,
        previous_keys: Sequence[bytes] = (),
        algorithm: str = "HS256",
        issuer: str,
        audience: str,
        access_life: float,
        max_lifetime: float,
        clock: Callable[[], float],
    ) -> None:
        self._algorithm = algorithm
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._shape = re.compile(rf"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.{_SIGNATURE[algorithm]}")
        self._access = Kind(ACCESS, _CLAIMS | {"data"}, access_life)
        self._refresh = Kind(REFRESH, _CLAIMS, max_lifetime)
        for secret in (*previous_keys, key):
            self._signing_key = SigningKey(secret, algorithm)
            for kind in (self._access, self._refresh):
                names = {"typ": kind.typ, "kid": self._signing_key.kid}
                example = jws.sign(b"", self._signing_key, headers=names, algorithm=algorithm)
                header = example.partition(".")[0]
                kind.keys[header] = self._signing_key
                kind.begin = f"{header}.".encode()
        self._recall = lru_cache(_REMEMBERED)(partial(self._verified, kind=self._access))

    def encode(
        self,
        session: SessionKey | SessionRecord,
        data: Mapping[str, str],
        *,
        generation: int = 0,
        issued_at: float,
        expires_at: float,
    ) -> str:
        """Sign an access token. Times are seconds since the epoch, rounded outwards to whole ones.

        Raises:
            SessionDataError: user id or claims are not text that UTF-8 can encode.
            SessionTooLarge: the token would be longer than 4096 bytes.
        """
        return self._encode(self._access, session, generation, issued_at, expires_at, data=data)

    def encode_refresh(
        self,
        session: SessionKey | SessionRecord,
        *,
        generation: int,
        issued_at: float,
        expires_at: float,
    ) -> str:
        """Sign a refresh token; otherwise as `encode`. The same arguments give the same token."""
        return self._encode(self._refresh, session, generation, issued_at, expires_at)

    def _encode(
        self,
        kind: Kind,
        session: SessionKey | SessionRecord,
        generation: int,
        issued_at: float,
        expires_at: float,
        *,
        data: Mapping[str, str] | None = None,
    ) -> str:
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": session.user_id,
            "sid": session.session_id,
            "gen": generation,
            "iat": math.floor(issued_at),
            "exp": math.ceil(expires_at),
        }
        if data is not None:
            claims["data"] = dict(data)
        try:
            payload = to_json(claims)
        except ValueError:
            raise SessionDataError(
                "The user id or the claims hold a lone surrogate, which no token can carry."
            ) from None
        # As jws.sign() would, which encodes the same header anew each time.
        signed = kind.begin + base64url(payload)
        token = (signed + b"." + base64url(self._signing_key.sign(signed))).decode()
        if len(token) > MAX_TOKEN_BYTES:
            raise SessionTooLarge(
                f"User id and claims make a token of {len(token)} bytes, the limit is "
                f"{MAX_TOKEN_BYTES}. Keep claims small and put the rest into the session's data.",
                size=len(token),
                limit=MAX_TOKEN_BYTES,
            )
        return token

    def decode(self, token: str, now: float | None = None) -> TokenClaims:
        """Verify an access token and return what it says, at the time `now` or by the clock.

        A token that was verified before costs a look into a dictionary.

        Raises:
            TokenExpired: it is genuine, and its time is over.
            InvalidToken: for every other string there is; no other exception comes out.
        """
        claims = self._recall(token)
        if (self._clock() if now is None else now) >= claims.over_at:
            raise TokenExpired
        return claims

    def decode_refresh(self, token: str) -> TokenClaims:
        """Verify a refresh token and return what it says; otherwise as `decode`."""
        claims = self._verified(token, self._refresh)
        if self._clock() >= claims.expires_at:
            raise TokenExpired
        return claims

    def read(self, token: str) -> TokenClaims | None:
        """Return what a genuine token of either kind says, also after its time; else None."""
        for kind in (self._access, self._refresh):
            try:
                return self._verified(token, kind)
            except InvalidToken:
                continue
        return None

    def _verified(self, token: str, kind: Kind) -> TokenClaims:
        try:
            return self._verify(token, kind)
        except Exception:  # whatever a hostile token provokes, there is one answer
            raise InvalidToken from None

    def _verify(self, token: str, kind: Kind) -> TokenClaims:
        shape = self._shape.fullmatch(token) if len(token) <= MAX_TOKEN_BYTES else None
        if shape is None:
            raise InvalidToken
        # The header is looked up, not read: it selects among headers that we wrote ourselves.
        key = kind.keys[shape[1]]
        payload = jws.verify(token, key, [self._algorithm])
        claims = json.loads(payload, object_pairs_hook=_unique, parse_constant=_refuse)
        return self._checked(claims, kind)

    def _checked(self, claims: dict[str, Any], kind: Kind) -> TokenClaims:
        if type(claims) is not dict or claims.keys() != kind.claims:
            raise InvalidToken
        user_id, session_id, data = claims["sub"], claims["sid"], claims.get("data", {})
        generation = claims["gen"]
        issued_at, expires_at = claims["iat"], claims["exp"]
        if not (
            claims["iss"] == self._issuer
            and claims["aud"] == self._audience
            and type(user_id) is str
            and type(session_id) is str
            and _SESSION_ID.fullmatch(session_id)
            and type(data) is dict
            and all(type(value) is str for value in data.values())
            and type(generation) is int
            and generation >= 0
            and type(issued_at) is int
            and type(expires_at) is int
            and issued_at <= self._clock() + _CLOCK_SKEW
            and 0 < expires_at - issued_at <= kind.longest_life
        ):
            raise InvalidToken
        user_id.encode()  # a lone surrogate is text that nobody could have logged in with
        key = SessionKey(user_id, session_id)
        return TokenClaims(key, generation, data, issued_at, expires_at, float(expires_at))


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise InvalidToken
    return found


def _refuse(_constant: str) -> None:
    raise InvalidToken
