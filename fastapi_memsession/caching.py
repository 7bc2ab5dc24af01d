"""What a response says to caches: none may keep what had to do with a session.

Nor give it to a client with another credential. What the endpoint says of the kind is joined.
"""

from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.types import Message

from fastapi_memsession.issuer import TokenIssuer

SAID = frozenset({b"cache-control", b"vary"})
"""The headers that say it."""


def add_headers(
    message: Message, added: Iterable[tuple[bytes, bytes]], issuer: TokenIssuer
) -> None:
    """Add headers to the start of a response, and what is said to caches."""
    headers = [*message.get("headers", ()), *added]
    message["headers"] = headers
    if message["type"] == "websocket.accept":
        return
    for name, _ in headers:
        if name in SAID:
            join(headers, issuer)
            break
    else:
        headers += issuer.private


def join(headers: list[tuple[bytes, bytes]], issuer: TokenIssuer) -> None:
    """Say what `private` says where the endpoint has said something of the kind."""
    known = MutableHeaders(raw=headers)
    varies = ", ".join(known.getlist("vary"))
    names = {name.strip().lower() for name in varies.split(",")}
    more = [name for name in issuer.vary if name.lower() not in names]
    if more and "*" not in names:
        known["Vary"] = ", ".join([varies, *more] if varies else more)
    known["Cache-Control"] = "no-store"
