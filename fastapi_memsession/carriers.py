"""How a token travels. Knows headers and cookies; knows neither what a token says nor any store.

A carrier works on Starlette's connection and header types, so an HTTP request and a WebSocket
handshake are one to it. Tokens are never read from a URL: addresses end up in logs and histories.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection

from fastapi_memsession.errors import CredentialConflict, SessionTooLarge

MAX_COOKIE_BYTES = 4096
"""Name and value together; a browser drops a larger cookie (RFC 6265bis section 5.6)."""

SUBPROTOCOL = "memsession.bearer"
"""What a page that opens a WebSocket offers before its token: browsers let it set no header."""


class Credential(NamedTuple):
    """A token as it came in, not yet verified.

    Attributes:
        token: the text of the token.
        ambient: a browser sends it by itself, also for a page of another origin.
        others: tokens that came in other ways, and may be those of another session.
    """

    token: str
    ambient: bool = False
    others: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Credential(ambient={self.ambient})"


_new = tuple.__new__  # makes a NamedTuple of a tuple, without the call that its own function is


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
        self._wire_name = name.lower().encode("ascii")
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
        found: str | None = None
        scope, wire_name, prefix = connection.scope, self._wire_name, self._prefix
        for name, value in scope["headers"]:
            if name == wire_name:
                text = value.decode("latin-1")
                if text.startswith(prefix):  # as nearly all do
                    token = text.removeprefix(prefix).strip(" \t")
                else:
                    token = self._token(text)
                if token and found is not None and token != found:
                    raise CredentialConflict(f"Two {self._name} headers carry different tokens.")
                found = token or found
        if scope["type"] == "websocket":
            for name, token in pairwise(scope.get("subprotocols") or ()):
                if name in self.subprotocols:
                    if found and token != found:
                        raise CredentialConflict("The handshake carries two different tokens.")
                    found = token
        return _new(Credential, (found, False, ())) if found else None

    def _token(self, value: str) -> str:
        scheme, _, token = value.strip(" \t").partition(" ")
        if scheme.lower() == self._scheme:  # RFC 9110 section 11.1: schemes ignore case
            return token.strip(" \t")
        return "" if token else scheme

    def inject(self, headers: MutableHeaders, token: str, *, max_age: int) -> None:
        """Answer with the header, readable by a page of another origin if CORS lets it in."""
        headers[self._name] = self._prefix + token
        headers.append("Access-Control-Expose-Headers", self._name)

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
        self._wire_name = name.encode("ascii")
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
        found: str | None = None
        wire_name = self._wire_name
        for header, value in connection.scope["headers"]:
            if header == b"cookie" and wire_name in value:
                for pair in value.split(b";"):
                    name, _, token = pair.partition(b"=")
                    if name.strip(b" \t") == wire_name:
                        if found is not None:
                            raise CredentialConflict(f"Two cookies are named {self._name}.")
                        found = token.strip(b" \t").decode("latin-1")
        return _new(Credential, (found, True, ())) if found else None

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
        self._carriers = carriers
        self.ambient = any(carrier.ambient for carrier in carriers)
        self.vary = tuple(name for carrier in carriers for name in carrier.vary)

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The names that stand before a token that is offered as a subprotocol."""
        known = [getattr(carrier, "subprotocols", ()) for carrier in self._carriers]
        return tuple(name for names in known for name in names)

    @property
    def security_schemes(self) -> dict[str, dict[str, str]]:
        """What OpenAPI says of those that it knows."""
        known = [getattr(carrier, "security_schemes", {}) for carrier in self._carriers]
        return {name: scheme for schemes in known for name, scheme in schemes.items()}

    def extract(self, connection: HTTPConnection) -> Credential | None:
        """Return the first credential, with the tokens of others that differ.

        In a browser the tabs share cookies, but not what each keeps for a header.
        """
        found: Credential | None = None
        for carrier in self._carriers:
            credential = carrier.extract(connection)
            if found is None:
                found = credential
            elif credential is not None and credential.token != found.token:
                found = found._replace(others=(*found.others, credential.token))
        return found

    def inject(self, headers: MutableHeaders, token: str, *, max_age: int) -> None:
        """Let every carrier put the token into the headers."""
        for carrier in self._carriers:
            carrier.inject(headers, token, max_age=max_age)

    def clear(self, headers: MutableHeaders) -> None:
        """Let every carrier make the client forget."""
        for carrier in self._carriers:
            carrier.clear(headers)
