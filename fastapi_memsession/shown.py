"""Knows a returning client by the bytes of its credential, before a carrier reads its token.

A client sends the same credential with each request, letter by letter. Known here is where the
carriers of this package look; one of your own, or a subclass, may look anywhere, and is asked.
"""

from collections.abc import Callable, Sequence

from starlette.types import Scope

from fastapi_memsession.carriers import (
    CompositeCarrier,
    CookieCarrier,
    HeaderCarrier,
    TokenCarrier,
)

Shown = Callable[[Scope], bytes | None]
"""Returns what a client shows, empty if that is nothing; None if only the carrier can tell.

The same bytes bring the same credential.
"""


def shown_by(carrier: TokenCarrier) -> Shown:
    """Return what tells by what the clients of a carrier are known."""
    if "extract" not in getattr(carrier, "__dict__", ()):
        if type(carrier) is HeaderCarrier:
            return _header(carrier.wire_name)
        if type(carrier) is CookieCarrier:
            return _cookie(carrier.wire_name)
        if type(carrier) is CompositeCarrier:
            return _either([shown_by(each) for each in carrier.carriers])
    return lambda _scope: None


def _header(wire_name: bytes) -> Shown:
    def shown(scope: Scope) -> bytes | None:
        found = b""
        for name, value in scope["headers"]:
            if name == wire_name:
                if found:  # the carrier compares them
                    return None
                found = value
        return found if scope["type"] == "http" else None  # or there are subprotocols as well

    return shown


def _cookie(wire_name: bytes) -> Shown:
    pair = wire_name + b"="

    def shown(scope: Scope) -> bytes | None:
        found = b""
        for name, value in scope["headers"]:
            if name == b"cookie":
                if found:
                    return None
                found = value
        if not found or (found.startswith(pair) and found.find(b";") < 0):  # ours, and no other
            return found
        # Other cookies change; and anything but our name once, as browsers write it, is read.
        times, start = found.count(wire_name), found.find(pair)
        if times != 1 or start < 0 or (start and found[start - 2 : start] != b"; "):
            return None if times else b""
        end = found.find(b";", start)
        return found[start:] if end < 0 else found[start:end]

    return shown


def _either(parts: Sequence[Shown]) -> Shown:
    def shown(scope: Scope) -> bytes | None:
        found = b""
        for number, part in enumerate(parts):
            one = part(scope)
            if one is None or (one and found):
                return None
            if one:
                found = b"%d:%b" % (number, one)
        return found

    return shown
