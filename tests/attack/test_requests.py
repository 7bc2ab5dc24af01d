"""Requests that no client would send: none is answered as a failure, none opens a session."""

import pytest

from tests.attack.conftest import both_parsers, carried_by
from tests.attack.server import PROFILE

pytestmark = [both_parsers, carried_by("header", "cookie", "header,cookie")]

GET = b"GET /profile HTTP/1.1"
HOST = b"Host: app.example"


def lines(*template: bytes):
    """Return lines with a token where they say TOKEN."""
    return lambda token: [line.replace(b"TOKEN", token) for line in template]


# With a token that is good: nothing here brings it where it is looked for.
ODD = {
    "a space before the colon": lines(GET, HOST, b"Authorization : Bearer TOKEN"),
    "an underscore": lines(GET, HOST, b"Author_ization: Bearer TOKEN"),
    "a null in the name": lines(GET, HOST, b"Authorization\0: Bearer TOKEN"),
    "a null in the value": lines(GET, HOST, b"Authorization: Bearer TOKEN\0"),
    "a null in a cookie": lines(GET, HOST, b"Cookie: session_token=TOKEN\0"),
    "bytes that are no text": lines(GET, HOST, b"Authorization: Bearer \xff\xfeTOKEN"),
    "a cookie that is no text": lines(GET, HOST, b"Cookie: session_token=\xc3\x28TOKEN"),
    "a line feed alone": lines(GET, HOST, b"X: x\nY: Authorization: Bearer TOKEN"),
    "a carriage return alone": lines(GET, HOST, b"X: x\rAuthorization: Bearer TOKEN"),
    "a comma": lines(GET, HOST, b"Authorization: Bearer junk, Bearer TOKEN"),
    "two schemes": lines(GET, HOST, b"Authorization: Bearer Bearer TOKEN"),
    "a long cookie": lines(GET, HOST, b"Cookie: session_token=" + b"x" * 60_000),
    "a very long cookie": lines(GET, HOST, b"Cookie: session_token=" + b"x" * 200_000),
    "many cookies": lines(GET, HOST, b"Cookie: " + b"session_token=x; " * 3_000),
    "many empty cookies": lines(GET, HOST, b"Cookie: " + b";" * 30_000),
    "a cookie without a name": lines(GET, HOST, b"Cookie: =TOKEN; TOKEN; ="),
    "a quoted cookie": lines(GET, HOST, b'Cookie: session_token="TOKEN"'),
    "a cookie in another": lines(GET, HOST, b'Cookie: x="; session_token=junk; TOKEN"'),
    "a cookie of another case": lines(GET, HOST, b"Cookie: Session_Token=TOKEN"),
    "many headers": lines(GET, HOST, *[b"Authorization: Bearer x"] * 300),
    "an empty origin": lines(b"POST /logout HTTP/1.1", HOST, b"Origin:", b"Content-Length: 0"),
    "no host": lines(b"GET /profile HTTP/1.0"),
    "two hosts": lines(GET, HOST, b"Host: other.example"),
    "a token in the method": lines(b"TOKEN /profile HTTP/1.1", HOST),
    "a whole address": lines(b"GET http://TOKEN@app.example/profile HTTP/1.1", HOST),
    "an upgrade to nothing": lines(GET, HOST, b"Upgrade: websocket", b"Connection: Upgrade"),
    "a body of two lengths": lines(
        b"PUT /settings HTTP/1.1", HOST, b"Content-Length: 0", b"Content-Length: 4"
    ),
    "a body of a negative length": lines(b"PUT /settings HTTP/1.1", HOST, b"Content-Length: -1"),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_request(server, odd):
    """Gets one answer at most, which is the client's fault, and nobody's session."""
    pair = server.log_in()
    statuses, came = server.raw(*ODD[odd](pair.access.encode()))
    assert len(statuses) <= 1, came
    assert all(400 <= status < 500 for status in statuses) or odd == "an empty origin", came
    assert b"user_123" not in came
    assert server.is_alive(pair.access)


# How the length of a body can be told so that a proxy and a server disagree on where it ends.
LENGTHS = {
    "two ways": [b"Content-Length: %d", b"Transfer-Encoding: chunked"],
    "chunked, spelled otherwise": [b"Content-Length: %d", b"Transfer-Encoding: xchunked"],
    "chunked, after a tab": [b"Content-Length: %d", b"Transfer-Encoding:\tchunked"],
    "chunked, before a space": [
        b"Content-Length: %d",
        b"Transfer-Encoding : chunked",
    ],
    "two lengths": [b"Content-Length: %d", b"Content-Length: 5"],
}


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_request_in_the_body_of_another(server, lengths):
    """Is not carried out with the tokens of that (RFC 9112 section 6.1)."""
    pair = server.log_in()
    mine = [f"{name}: {value}".encode() for name, value in server.sent(pair.access)]
    body = b"0\r\n\r\nPOST /logout HTTP/1.1\r\nHost: app.example\r\nContent-Length: 0\r\n\r\n"
    told = [line.replace(b"%d", b"%d" % len(body)) for line in LENGTHS[lengths]]
    head = [b"PUT /settings HTTP/1.1", HOST, b"Content-Type: application/json", *mine, *told]
    statuses, came = server.raw(*head, body=body)
    assert all(status < 500 for status in statuses), came
    assert server.is_alive(pair.access)
    assert server.theme(pair.access) == "light"


BODIES = {
    "a deep list": b"[" * 100_000,
    "a deep object": b'{"theme":' * 20_000,
    "no text": b"\xff\xfe\x00",
    "a number without end": b'{"theme": ' + b"9" * 100_000 + b"}",
    "a lone surrogate": b'{"theme": "\\ud800"}',
    "a member that is no field": b'{"theme": "dark", "user_id": "root", ":role": "root"}',
    "two themes": b'{"theme": "light", "theme": "__proto__"}',
}


@pytest.mark.parametrize("odd", BODIES)
def test_an_odd_body(server, odd):
    """Is refused, or only what it may say is stored."""
    pair = server.log_in()
    headers = [*server.sent(pair.access), ("Content-Type", "application/json")]
    response = server.ask(("PUT", "/settings"), *headers, content=BODIES[odd], json=None)
    assert response.status_code in ({200} if odd == "a member that is no field" else {400, 422})
    profile = server.ask(PROFILE, *server.sent(pair.access)).json()
    assert profile["user_id"] == "user_123"
    assert profile["claims"] == {"role": "admin"}
