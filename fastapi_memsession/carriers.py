"""How a token travels. Knows headers and cookies; knows neither what a token says nor any store.

A carrier works on Starlette's connection and header types, so an HTTP request and a WebSocket
handshake are one to it. Tokens are never read from a URL: addresses end up in logs and histories.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol, runtime_checkable

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection

from fastapi_memsession.errors import CredentialConflict, SessionTooLarge

MAX_COOKIE_BYTES = 4096
"""Name and value together; a browser drops a larger cookie (RFC 6265bis section 5.6)."""

SUBPROTOCOL = "memsession.bearer"
"""What a page that opens a WebSocket offers before its token: browsers let it set no header."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A token as it came in, not yet verified.

    Attributes:
        token: the text of the token.
        ambient: a browser sends it by itself, also for a page of another origin.
        others: tokens that came in other ways, and may be those of another session.
    """

    token: str = field(repr=False)
    ambient: bool = False
    others: tuple[str, ...] = field(default=(), repr=False)


@runtime_checkable
class TokenCarrier(Protocol):
    """What `setup_sessions(app, carrier=...)` takes: any object with these five members.

    With a sixth, `security_schemes`, the API's description tells how its token travels: a dict
    of OpenAPI security schemes by name, any of which is enough. With a seventh, `subprotocols`,
    those names are chosen when a WebSocket that offered one is accepted with no other.
    """

    @property
    def ambient(self) -> bool:
        """Whether it can make a browser send the token by itself, as a cookie does."""
        ...

    @property
    def vary(self) -> Sequence[str]:
        """The request headers that it reads, for the response's `Vary`."""
        ...

    def extract(self, connection: HTTPConnection) -> Credential | None:
        """Return the credential that came, or None if none did.

        Raises:
            CredentialConflict: several came and they differ.
        """
        ...

    def inject(self, headers: MutableHeaders, token: str, *, max_age: int) -> None:
        """Put the token into response headers; it is good for `max_age` seconds.

        Called before the session is stored, so an error here leaves no session behind.

        Raises:
            SessionTooLarge: the token does not fit.
        """
        ...

    def clear(self, headers: MutableHeaders) -> None:
        """Make the client forget the token, where response headers can do that."""
        ...


class HeaderCarrier:
    """The token in a request header, and after a login in the response header of the same name.

    A page, which can set no header when it opens a WebSocket, offers the token as a subprotocol
    after the name of ours: `new WebSocket(url, ["memsession.bearer", token])`.

    Args:
        name: `Authorization`, or any other name; another name goes without a scheme.
        scheme: what stands before the token in `Authorization`; a bare token is accepted too.
        subprotocol: the name that stands before it there; None if it is not looked for.
    """

    ambient = False

    def __init__(
        self,
        name: str = "Authorization",
        scheme: str = "Bearer",
        *,
        subprotocol: str | None = SUBPROTOCOL,
    ) -> None:
        self.vary = (name,)
        self.subprotocols = () if subprotocol is None else (subprotocol,)
        self._name = name
        self.wire_name = name.lower().encode("ascii")
        self._exposed = (b"access-control-expose-headers", name.encode("ascii"))
        self._scheme = scheme.lower()
        self._prefix = f"{scheme} " if name.lower() == "authorization" else ""

    @property
    def security_schemes(self) -> dict[str, dict[str, str]]:
        """How OpenAPI describes it; another scheme than Bearer as a header like any other."""
        told = {"description": f"The token from the header `{self._name}` of a login's answer."}
        if self._prefix and self._scheme == "bearer":
            return {"SessionHeader": {"type": "http", "scheme": "bearer", **told}}
        return {"SessionHeader": {"type": "apiKey", "in": "header", "name": self._name, **told}}

    def extract(self, connection: HTTPConnection) -> Credential | None:
        """Return the token of the header; None without it, or if another scheme is used there."""
        found: Credential | None = None
        scope = connection.scope
        for name, value in scope["headers"]:
            if name == self.wire_name:
                read = self._read(value)
                if read and found and read != found:
                    raise CredentialConflict(f"Two {self._name} headers carry different tokens.")
                found = read or found
        if scope["type"] == "websocket":
            for name, token in pairwise(scope.get("subprotocols") or ()):
                if token and name in self.subprotocols:
                    if found and token != found.token:
                        raise CredentialConflict("The handshake carries two different tokens.")
                    found = Credential(token)
        return found

    def _read(self, value: bytes) -> Credential | None:
        text = value.decode("latin-1").strip(" \t")
        if self._prefix:
            scheme, _, token = text.partition(" ")
            if scheme.lower() == self._scheme:  # RFC 9110 section 11.1: schemes ignore case
                text = token.strip(" \t")
            elif token:
                return None
        return Credential(text) if text else None

    def inject(self, headers: MutableHeaders, token: str, *, max_age: int) -> None:
        """Answer with the header, readable by a page of another origin if CORS lets it in."""
        raw = headers.raw
        if raw:  # there might be one
            headers[self._name] = self._prefix + token
        else:
            raw.append((self.wire_name, (self._prefix + token).encode("latin-1")))
        raw.append(self._exposed)

    def clear(self, headers: MutableHeaders) -> None:
        """Do nothing: no header can make a client forget another header."""


class CookieCarrier:
    """The token in a cookie; nowhere else, so that no script of the page can read it.

    Args:
        name: as browsers see it, with its prefix.
        path: where the browser sends it.
        domain: None for this host only.
        secure: over HTTPS only.
        http_only: hidden from scripts.
        samesite: `lax`, `strict` or `none`.
    """

    ambient = True
    vary = ("Cookie",)

    def __init__(
        self,
        name: str = "session_token",
        *,
        path: str = "/",
        domain: str | None = None,
        secure: bool = False,
        http_only: bool = True,
        samesite: str = "lax",
    ) -> None:
        self._name = name
        self.wire_name = name.encode("ascii")
        attributes = [f"Path={path}", f"SameSite={samesite.capitalize()}"]
        if domain is not None:
            attributes.append(f"Domain={domain}")
        if secure:
            attributes.append("Secure")
        if http_only:
            attributes.append("HttpOnly")
        self._attributes = "; ".join(attributes)

    @property
    def security_schemes(self) -> dict[str, dict[str, str]]:
        """How OpenAPI describes it."""
        told = {"description": "A login sets it. In a browser there is nothing to fill in."}
        return {"SessionCookie": {"type": "apiKey", "in": "cookie", "name": self._name, **told}}

    def extract(self, connection: HTTPConnection) -> Credential | None:
        """Return the cookie's value; None without it, or if it is empty.

        Reads the raw header: a parsed one shows one of two cookies of the same name, and which
        one a sibling domain or another path planted nobody can tell.
        """
        found: Credential | None = None
        for name, value in connection.scope["headers"]:
            if name == b"cookie":
                read = self._read(value)
                if read and found:
                    raise self._conflict()
                found = read or found
        return found if found and found.token else None

    def _read(self, value: bytes) -> Credential | None:
        found: Credential | None = None
        for pair in value.split(b";"):
            name, _, token = pair.partition(b"=")
            if name.strip(b" \t") == self.wire_name:
                if found:
                    raise self._conflict()
                found = Credential(token.strip(b" \t").decode("latin-1"), ambient=True)
        return found

    def _conflict(self) -> CredentialConflict:
        return CredentialConflict(f"Two cookies are named {self._name}.")

    def inject(self, headers: MutableHeaders, token: str, *, max_age: int) -> None:
        """Set the cookie, unless a browser would drop it for its size."""
        size = len(self._name) + len(token)
        if size > MAX_COOKIE_BYTES:
            raise SessionTooLarge(
                f"User id and claims make a cookie of {size} bytes, browsers keep "
                f"{MAX_COOKIE_BYTES}. Keep claims small and put the rest into the session's data.",
                size=size,
                limit=MAX_COOKIE_BYTES,
            )
        self._set(headers, token, max_age)

    def clear(self, headers: MutableHeaders) -> None:
        """Expire the cookie."""
        self._set(headers, "", 0)

    def _set(self, headers: MutableHeaders, value: str, max_age: int) -> None:
        headers.append("Set-Cookie", f"{self._name}={value}; Max-Age={max_age}; {self._attributes}")


class CompositeCarrier:
    """Several carriers at once: each gets the token, and any of them may bring it.

    Args:
        carriers: in the order in which they are asked.
    """

    def __init__(self, *carriers: TokenCarrier) -> None:
        self.carriers = carriers
        self.ambient = any(carrier.ambient for carrier in carriers)
        self.vary = tuple(name for carrier in carriers for name in carrier.vary)

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The names that stand before a token that is offered as a subprotocol."""
        known = [getattr(carrier, "subprotocols", ()) for carrier in self.carriers]
        return tuple(name for names in known for name in names)

    @property
    def security_schemes(self) -> dict[str, dict[str, str]]:
        """What OpenAPI says of those that it knows."""
        known = [getattr(carrier, "security_schemes", {}) for carrier in self.carriers]
        return {name: scheme for schemes in known for name, scheme in schemes.items()}

    def extract(self, connection: HTTPConnection) -> Credential | None:
        """Return the first credential, with the tokens of others that differ.

        In a browser the tabs share cookies, but not what each keeps for a header.
        """
        found: Credential | None = None
        for carrier in self.carriers:
            credential = carrier.extract(connection)
            if found is None:
                found = credential
            elif credential is not None and credential.token != found.token:
                found = replace(found, others=(*found.others, credential.token))
        return found

    def inject(self, headers: MutableHeaders, token: str, *, max_age: int) -> None:
        """Let every carrier put the token into the headers."""
        for carrier in self.carriers:
            carrier.inject(headers, token, max_age=max_age)

    def clear(self, headers: MutableHeaders) -> None:
        """Let every carrier make the client forget."""
        for carrier in self.carriers:
            carrier.clear(headers)
