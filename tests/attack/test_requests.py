"""Requests that no client would send: none is answered as a failure, none opens a session."""

import pytest

from tests.attack.conftest import both_parsers, carried_by

pytestmark = both_parsers

HOST = b"Host: app.example"


def lines(*headers: bytes, first: bytes = b"GET /profile HTTP/1.1"):
    """Return lines with a token where they say TOKEN."""
    return lambda token: [line.replace(b"TOKEN", token) for line in (first, *headers)]


# With a token that is good: nothing here brings it where it is looked for.
ODD = {
    "a space before the colon": lines(HOST, b"Authorization : Bearer TOKEN"),
    "an underscore": lines(HOST, b"Author_ization: Bearer TOKEN"),
    "a null": lines(HOST, b"Authorization: Bearer TOKEN\0", b"Cookie: session_token=TOKEN\0"),
    "bytes that are no text": lines(HOST, b"Authorization: Bearer \xff\xfeTOKEN"),
    "a cookie that is no text": lines(HOST, b"Cookie: session_token=\xc3\x28TOKEN"),
    "two schemes": lines(HOST, b"Authorization: Bearer Bearer TOKEN"),
    "another scheme": lines(HOST, b"Authorization: Basic TOKEN"),
    "a comma": lines(HOST, b"Authorization: Bearer junk, Bearer TOKEN"),
    "a long cookie": lines(HOST, b"Cookie: session_token=" + b"x" * 60_000),
    "many cookies": lines(HOST, b"Cookie: " + b"session_token=x; " * 3_000),
    "a cookie without a name": lines(HOST, b"Cookie: =TOKEN; TOKEN; ="),
    "a quoted cookie": lines(HOST, b'Cookie: session_token="TOKEN"'),
    "a cookie of another case": lines(HOST, b"Cookie: Session_Token=TOKEN"),
    "a cookie of nearly that name": lines(HOST, b"Cookie: xsession_token=TOKEN"),
    "many headers": lines(HOST, *[b"Authorization: Bearer x"] * 300),
    "an unreadable origin": lines(
        HOST, b"Origin: http://[", b"Cookie: session_token=x", b"Content-Length: 0",
        first=b"POST /refresh HTTP/1.1",
    ),
    "no host": lines(first=b"GET /profile HTTP/1.0"),
    "a token in the address": lines(HOST, first=b"GET http://TOKEN@app.example/profile HTTP/1.1"),
}  # fmt: skip


@carried_by("header", "cookie", "header,cookie")
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_request(server, odd):
    """Gets one answer at most, which is the client's fault, and nobody's session."""
    pair = server.log_in()
    statuses, came = server.raw(*ODD[odd](pair.access.encode()))
    assert len(statuses) <= 1, came
    assert all(400 <= status < 500 for status in statuses), came
    assert b"user_123" not in came
    assert server.is_alive(pair.access)
