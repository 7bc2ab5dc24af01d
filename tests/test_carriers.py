"""Carriers: a token comes out as it went in; what is ambiguous is refused."""

import tracemalloc

import pytest
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection

from fastapi_memsession import (
    CompositeCarrier,
    CookieCarrier,
    Credential,
    CredentialConflict,
    HeaderCarrier,
    SessionTooLarge,
    TokenCarrier,
)

BOTH = CompositeCarrier(HeaderCarrier(), CookieCarrier())


def connection(*headers: tuple[str, str]) -> HTTPConnection:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return HTTPConnection({"type": "http", "headers": raw})


def token(carrier, *headers):
    credential = carrier.extract(connection(*headers))
    return credential and credential.token


def injected(carrier, max_age=60):
    headers = MutableHeaders()
    carrier.inject(headers, "a.b.c", max_age=max_age)
    return headers


@pytest.mark.parametrize("carrier", [HeaderCarrier(), CookieCarrier(), BOTH])
def test_each_is_a_carrier(carrier):
    """And finds nothing where nothing is."""
    assert isinstance(carrier, TokenCarrier)
    assert carrier.extract(connection()) is None


@pytest.mark.parametrize(
    "value",
    ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c ", "a.b.c", " a.b.c "],
)
def test_a_bearer_or_bare_token_is_found(value):
    """Schemes ignore case (RFC 9110 section 11.1)."""
    assert token(HeaderCarrier(), ("Authorization", value)) == "a.b.c"


@pytest.mark.parametrize(
    "value", ["", " ", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Digest a b"]
)
def test_what_is_no_token_of_ours_is_none(value):
    """Another scheme belongs to somebody else."""
    assert token(HeaderCarrier(), ("Authorization", value)) is None


@pytest.mark.parametrize("odd", ["\x0b", "\x1c", "\xa0", "\x85"])
def test_only_blanks_are_stripped(odd):
    """What HTTP calls white space (RFC 9110 section 5.6.3); the rest makes another token."""
    assert token(HeaderCarrier(), ("Authorization", f"a.b.c{odd}")) == f"a.b.c{odd}"
    assert token(CookieCarrier(), ("Cookie", f"session_token=a.b.c{odd}")) == f"a.b.c{odd}"
    assert token(CookieCarrier(), ("Cookie", f"session_token{odd}=a.b.c")) is None


def test_another_scheme_can_be_set():
    """Then that one counts, on the way in and out."""
    carrier = HeaderCarrier(scheme="Token")
    assert token(carrier, ("Authorization", "token a.b.c")) == "a.b.c"
    assert token(carrier, ("Authorization", "Bearer a.b.c")) is None
    assert injected(carrier)["Authorization"] == "Token a.b.c"


def test_another_header_goes_without_scheme():
    """Its whole value is the token."""
    carrier = HeaderCarrier("X-Session-Token")
    assert token(carrier, ("X-Session-Token", " a.b.c ")) == "a.b.c"
    assert token(carrier, ("Authorization", "Bearer a.b.c")) is None
    assert injected(carrier)["X-Session-Token"] == "a.b.c"
    assert carrier.vary == ("X-Session-Token",)


def test_two_headers_must_agree():
    """Which of two tokens is meant nobody can tell."""
    once = ("Authorization", "Bearer a.b.c")
    assert token(HeaderCarrier(), once, ("Authorization", "a.b.c")) == "a.b.c"
    assert token(HeaderCarrier(), once, ("Authorization", "")) == "a.b.c"
    assert token(HeaderCarrier(), once, ("Authorization", "Basic eA==")) == "a.b.c"
    with pytest.raises(CredentialConflict, match="Two Authorization headers"):
        token(HeaderCarrier(), once, ("Authorization", "Bearer x.y.z"))


def test_the_header_is_answered_and_exposed():
    """A page of another origin can read it, if CORS lets that page in at all."""
    headers = injected(HeaderCarrier())
    assert headers.items() == [
        ("authorization", "Bearer a.b.c"),
        ("access-control-expose-headers", "Authorization"),
    ]


def test_no_header_makes_a_client_forget_a_header():
    """Clearing does nothing."""
    headers = MutableHeaders()
    HeaderCarrier().clear(headers)
    assert not headers


@pytest.mark.parametrize(
    "header",
    [
        "session_token=a.b.c",
        "other=1; session_token=a.b.c",
        "session_token=a.b.c; other=session_token",
        "session_tokens=x; xsession_token=y;session_token = a.b.c ;",
        "junk; =; ; session_token=a.b.c; =session_token",
        "\xff\xfe=\xff; session_token=a.b.c",
    ],
)
def test_the_cookie_is_found_among_others(header):
    """By its exact name, whatever else is there."""
    assert token(CookieCarrier(), ("Cookie", header)) == "a.b.c"


@pytest.mark.parametrize(
    "header", ["", "session_token", "session_token=", "Session_Token=a", "a=b"]
)
def test_no_cookie_of_ours_is_none(header):
    """Names of cookies do not ignore case; an empty one was blanked."""
    assert token(CookieCarrier(), ("Cookie", header)) is None


def test_cookies_may_come_in_several_headers():
    """HTTP/2 splits them (RFC 9113 section 8.2.3)."""
    headers = [("Cookie", "a=1"), ("Cookie", "session_token=a.b.c")]
    assert token(CookieCarrier(), *headers) == "a.b.c"


@pytest.mark.parametrize("second", ["a.b.c", "x.y.z", ""])
def test_two_cookies_of_one_name_are_refused(second):
    """A sibling domain may have planted one, also an equal or an empty one."""
    with pytest.raises(CredentialConflict, match="Two cookies"):
        token(CookieCarrier(), ("Cookie", f"session_token=a.b.c; session_token={second}"))
    with pytest.raises(CredentialConflict):
        token(CookieCarrier(), ("Cookie", "session_token=a"), ("Cookie", f"session_token={second}"))


def test_a_quoted_or_odd_cookie_is_taken_as_it_is():
    """Whatever it is, it will not verify."""
    assert token(CookieCarrier(), ("Cookie", 'session_token="a.b.c"')) == '"a.b.c"'
    assert token(CookieCarrier(), ("Cookie", "session_token=a=b\xe9")) == "a=b\xe9"


def test_a_cookie_has_the_attributes_of_the_settings():
    """Each that was asked for, and no other."""
    assert injected(CookieCarrier()).getlist("set-cookie") == [
        "session_token=a.b.c; Max-Age=60; Path=/; SameSite=Lax; HttpOnly"
    ]
    carrier = CookieCarrier(
        "s", path="/app", domain="example.com", secure=True, http_only=False, samesite="none"
    )
    assert injected(carrier).getlist("set-cookie") == [
        "s=a.b.c; Max-Age=60; Path=/app; SameSite=None; Domain=example.com; Secure"
    ]


def test_clearing_a_cookie_expires_it():
    """With the attributes that it was set with, or the browser keeps it."""
    headers = MutableHeaders()
    CookieCarrier("s", path="/app", domain="example.com", secure=True).clear(headers)
    assert headers["set-cookie"] == (
        "s=; Max-Age=0; Path=/app; SameSite=Lax; Domain=example.com; Secure; HttpOnly"
    )


def test_a_cookie_that_a_browser_would_drop_is_refused():
    """Name and value together have 4096 bytes."""
    carrier, headers = CookieCarrier("n" * 96), MutableHeaders()
    carrier.inject(headers, "x" * 4000, max_age=1)
    assert "set-cookie" in headers
    headers = MutableHeaders()
    with pytest.raises(SessionTooLarge, match="browsers keep 4096"):
        carrier.inject(headers, "x" * 4001, max_age=1)
    assert not headers


def test_both_carriers_find_either_token():
    """And both bring it."""
    assert token(BOTH, ("Authorization", "Bearer a.b.c")) == "a.b.c"
    assert token(BOTH, ("Cookie", "session_token=a.b.c")) == "a.b.c"
    assert {"authorization", "set-cookie"} < set(injected(BOTH))
    assert BOTH.vary == ("Authorization", "Cookie")
    headers = MutableHeaders()
    BOTH.clear(headers)
    assert "Max-Age=0" in headers["set-cookie"]


def test_what_the_second_carrier_brings_is_told():
    """Whether both are of one session, who can read tokens may see."""
    cookie = ("Cookie", "session_token=a.b.c")
    assert token(BOTH, cookie, ("Authorization", "Bearer a.b.c")) == "a.b.c"
    assert token(BOTH, cookie, ("Authorization", "Basic eA==")) == "a.b.c"
    both = BOTH.extract(connection(cookie, ("Authorization", "Bearer x.y.z")))
    assert both == Credential("x.y.z", ambient=False, others=("a.b.c",))
    third = CompositeCarrier(BOTH, HeaderCarrier("X-Token"))
    both = third.extract(connection(cookie, ("X-Token", "d"), ("Authorization", "Bearer x.y.z")))
    assert both.others == ("a.b.c", "d")


def test_only_cookies_are_ambient():
    """A page of another origin cannot make a browser send a header."""
    header, cookie = ("Authorization", "a.b.c"), ("Cookie", "session_token=a.b.c")
    assert not HeaderCarrier.ambient
    assert CookieCarrier.ambient
    assert BOTH.ambient
    assert BOTH.extract(connection(header)) == Credential("a.b.c", ambient=False)
    assert BOTH.extract(connection(cookie)) == Credential("a.b.c", ambient=True)
    assert BOTH.extract(connection(cookie, header)) == Credential("a.b.c", ambient=False)


def test_a_credential_does_not_show_its_token():
    """A repr ends up in logs."""
    assert "a.b.c" not in repr(Credential("a.b.c"))


def handshake(*subprotocols, headers=(), kind="websocket"):
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return HTTPConnection({"type": kind, "headers": raw, "subprotocols": list(subprotocols)})


@pytest.mark.parametrize(
    "offered",
    [
        ["memsession.bearer", "a.b.c"],
        ["chat", "memsession.bearer", "a.b.c"],
        ["memsession.bearer", "a.b.c", "chat"],
        ["memsession.bearer", "a.b.c", "memsession.bearer", "a.b.c"],
    ],
)
@pytest.mark.parametrize("carrier", [HeaderCarrier(), HeaderCarrier("X-Token"), BOTH])
def test_a_page_offers_its_token_as_a_subprotocol(carrier, offered):
    """After the name of ours. No browser sends it by itself."""
    assert carrier.extract(handshake(*offered)) == Credential("a.b.c", ambient=False)


@pytest.mark.parametrize(
    "offered", [[], ["memsession.bearer"], ["chat", "a.b.c"], ["a.b.c", "memsession.bearer"]]
)
def test_other_subprotocols_are_no_token(offered):
    """Nor is one that stands elsewhere."""
    assert HeaderCarrier().extract(handshake(*offered)) is None


def test_a_token_among_subprotocols_is_one_of_a_handshake():
    """In a request nobody looks for it; nor does a carrier that is not to, or one of cookies."""
    offered = ["memsession.bearer", "a.b.c"]
    assert HeaderCarrier().extract(handshake(*offered, kind="http")) is None
    assert HeaderCarrier(subprotocol=None).extract(handshake(*offered)) is None
    assert CookieCarrier().extract(handshake(*offered)) is None
    scope = {"type": "websocket", "headers": []}  # as some servers leave it
    assert HeaderCarrier().extract(HTTPConnection(scope)) is None


@pytest.mark.parametrize(
    ("offered", "headers"),
    [
        (["memsession.bearer", "a.b.c"], [("Authorization", "Bearer x.y.z")]),
        (["memsession.bearer", "a.b.c", "memsession.bearer", "x.y.z"], []),
    ],
)
def test_a_subprotocol_and_another_token_disagree(offered, headers):
    """Using either would be a guess; the same token twice is none."""
    with pytest.raises(CredentialConflict):
        BOTH.extract(handshake(*offered, headers=headers))
    same = [(name, value.replace("x.y.z", "a.b.c")) for name, value in headers]
    assert BOTH.extract(handshake(*offered[:2], headers=same)).token == "a.b.c"


@pytest.mark.parametrize("name", ["Authorization", "Cookie"])
def test_nobody_fills_the_memory_with_headers(name):
    """A carrier knows again what it read lately, but neither endlessly much nor large things."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(3_000):
            size = 60_000 if number % 10 == 0 else 300
            BOTH.extract(connection((name, f"session_token={number:0{size}}")))
        assert tracemalloc.get_traced_memory()[0] - before < 2_000_000
    finally:
        tracemalloc.stop()


def test_authorization_has_a_scheme_however_it_is_written():
    """Names of headers ignore case (RFC 9110 section 5.1)."""
    carrier = HeaderCarrier("authorization")
    assert token(carrier, ("Authorization", "Bearer a.b.c")) == "a.b.c"
    assert injected(carrier)["Authorization"] == "Bearer a.b.c"


@pytest.mark.parametrize("odd", ["\x0b", "\x1c", "\xa0", "\x85"])
def test_only_blanks_are_stripped_after_the_scheme(odd):
    """What HTTP calls white space (RFC 9110 section 5.6.3); the rest makes another token."""
    assert token(HeaderCarrier(), ("Authorization", f"Bearer {odd}a.b.c")) == f"{odd}a.b.c"


def test_each_of_two_headers_is_exposed():
    """A page of another origin can read both."""
    headers = injected(CompositeCarrier(HeaderCarrier(), HeaderCarrier("X-Token")))
    assert headers.getlist("access-control-expose-headers") == ["Authorization", "X-Token"]


def test_an_empty_cookie_before_ours_is_refused():
    """Two cookies of one name, in whichever order."""
    with pytest.raises(CredentialConflict, match="Two cookies"):
        token(CookieCarrier(), ("Cookie", "session_token=; session_token=a.b.c"))


def test_a_cookie_is_read_from_the_cookie_header_only():
    """What another header says of it is no cookie."""
    assert token(CookieCarrier(), ("X-Note", "session_token=a.b.c")) is None


def test_of_two_carriers_of_one_header_the_last_is_heard():
    """A client would take two headers for one with a comma in it."""
    headers = injected(CompositeCarrier(HeaderCarrier(), HeaderCarrier(scheme="Token")))
    assert headers.getlist("authorization") == ["Token a.b.c"]
