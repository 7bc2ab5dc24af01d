"""The cross-origin rule for credentials that a browser sends by itself. Knows only headers.

A page of another site can make a browser send a request with our cookie. Browsers say so, in
headers that no script can set: `Sec-Fetch-Site`, and `Origin` where that is missing. A client that
sends neither is no browser. (The rule of Go's net/http CrossOriginProtection.)
"""

from collections.abc import Container
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from fastapi_memsession.errors import CrossOriginRefused

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1


def refuse_cross_origin(connection: HTTPConnection, trusted: Container[str]) -> None:
    """Raise CrossOriginRefused if another origin's page sent this request and it can do harm.

    A WebSocket handshake can: browsers let any page open one to anywhere, with cookies.

    Args:
        connection: the request or WebSocket handshake.
        trusted: origins, such as `https://app.example.com`, that may.
    """
    if connection.scope.get("method") in SAFE_METHODS:
        return
    headers = connection.headers
    origin = headers.get("origin", "")
    site = headers.get("sec-fetch-site")
    if site in {"same-origin", "none"} or origin in trusted:
        return
    if site is None and (not origin or _host(origin) == headers.get("host", "")):
        return
    raise CrossOriginRefused(origin)


def _host(origin: str) -> str | None:
    """Return host and port of an origin; None, which no request has, if there is none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
