"""Applications called in process: scope, receive and send, and no HTTP client in the way.

What a server would do is done once, before the clock runs: the scope is made, and each call gets
a copy of its own. Knows neither this package nor any other.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Scope

# What a browser's request from a page of one's own brings along, whoever measures.
HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json"),
    (b"accept-language", b"en-GB,en;q=0.7"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
]


class Answer(NamedTuple):
    """What an application answered; names of headers are lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes:
        """Return the first header of that name, empty without one."""
        return next((value for found, value in self.headers if found.lower() == name), b"")

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


def request(
    method: str, path: str, *headers: tuple[bytes, bytes], query: bytes = b""
) -> dict[str, Any]:
    """Make the scope of a request, as uvicorn does."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50_000),
        "scheme": "http",
        "method": method,
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [*HEADERS, *headers],
        "state": {},
    }


async def receive() -> Message:
    """Give a body that is empty."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Message) -> None:
    """Take what the application sends, and do nothing with it."""


async def call(app: ASGIApp, scope: Scope, body: bytes = b"") -> Answer:
    """Let the application answer one request, and return what it says."""
    messages: list[Message] = []

    async def collect(message: Message) -> None:
        messages.append(message)

    async def give() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    await app(dict(scope), give, collect)
    start, *rest = messages
    sent = b"".join(message.get("body", b"") for message in rest)
    return Answer(start["status"], list(start["headers"]), sent)


async def call_often(app: ASGIApp, scope: Scope, times: int) -> None:
    """Let the application answer a request many times over."""
    for _ in range(times):
        await app(dict(scope), receive, send)


async def call_in_turn(app: ASGIApp, scopes: Iterator[Scope], times: int) -> None:
    """Let the application answer as many of an endless series of requests."""
    for scope in islice(scopes, times):
        await app(dict(scope), receive, send)


def cookies(answer: Answer) -> Sequence[tuple[bytes, bytes]]:
    """Return the request header that sends back the cookies of an answer."""
    set_ = [value.partition(b";")[0] for name, value in answer.headers if name == b"set-cookie"]
    return [(b"cookie", b"; ".join(set_))] if set_ else []
