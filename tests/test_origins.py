"""The cross-origin rule: a page of another site cannot act for a user of ours."""

import asyncio

import pytest
from fastapi import Request, WebSocket
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fastapi_memsession import (
    CookieCarrier,
    CrossOriginRefused,
    CurrentSession,
    OptionalSession,
    login_session,
    logout_session,
    renew_session,
)
from fastapi_memsession.origins import refuse_cross_origin
from tests.applications import client_of

HOST = "https://app.example"
TRUSTED = "https://spa.example"

# Given to sockets as copies: a test client adds its own headers to what it is given.
REFUSED = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "junk"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "cross-site", "Origin": HOST},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "app.example"},
    {"Origin": "https://app.example.evil.example"},
    {"Origin": "https://app.example:8443"},
    {"Origin": "https://[app.example"},
    {"Origin": TRUSTED + ".evil.example"},
]
ACCEPTED = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": HOST},
    {"Origin": HOST},
    {"Origin": TRUSTED},
    {"Sec-Fetch-Site": "cross-site", "Origin": TRUSTED},
    {"Sec-Fetch-Site": "same-site", "Origin": TRUSTED},
]


def make_client(make_app, carrier, **more):
    app = make_app(carrier=carrier, cookie_secure=True, trusted_origins=[TRUSTED], **more)

    @app.api_route("/login", methods=["GET", "POST"])
    async def login(request: Request):
        await login_session(request, "anna")

    @app.post("/logout")
    async def logout(request: Request):
        return await logout_session(request)

    @app.post("/refresh")
    async def refresh(request: Request):
        await renew_session(request)

    @app.api_route("/n", methods=["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
    async def n(session: CurrentSession):
        return await session.incr("n")

    @app.post("/optional")
    async def optional(session: OptionalSession):
        return session is not None

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, session: CurrentSession):
        await websocket.accept()
        await websocket.close()

    return TestClient(app, base_url=HOST)


@pytest.fixture
def client(make_app):
    """A browser that is logged in by cookie."""
    client = make_client(make_app, "cookie")
    client.post("/login")
    return client


@pytest.mark.parametrize("headers", REFUSED)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_an_unsafe_request_of_another_origin_is_refused(client, method, headers):
    """Nothing changes; the answer says who was refused, and which setting allows it."""
    response = client.request(method, "/n", headers=headers)
    assert response.status_code == 403
    assert (headers.get("Origin") or "an unnamed origin") in response.json()["detail"]
    assert "MEMSESSION_TRUSTED_ORIGINS" in response.json()["detail"]
    assert client.get("/n").json() == 1


@pytest.mark.parametrize("headers", ACCEPTED)
def test_our_own_pages_trusted_origins_and_programs_are_served(client, headers):
    """A client that sends neither header is no browser."""
    assert client.post("/n", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", REFUSED)
def test_a_safe_request_is_served(client, headers):
    """Following a link to us is no attack."""
    assert client.get("/n", headers=headers).status_code == 200


def test_an_optional_session_is_refused_too(client):
    """None would let the endpoint act, as if nobody were logged in."""
    headers = {"Origin": "https://evil.example"}
    assert client.post("/optional", headers=headers).status_code == 403


WITH_COOKIES = [
    {"carrier": "cookie"},
    {"carrier": "header,cookie"},
    {"carrier": "header", "refresh": True, "refresh_carrier": CookieCarrier("refresh")},
]
with_cookies = pytest.mark.parametrize(
    "carriers", WITH_COOKIES, ids=["cookie", "header,cookie", "refresh cookie"]
)


@with_cookies
@pytest.mark.parametrize("headers", REFUSED)
def test_another_origin_cannot_log_a_browser_in(make_app, carriers, headers):
    """Not into an account of the attacker's: no session is begun, no cookie set."""
    client = make_client(make_app, **carriers)
    response = client.post("/login", headers=headers)
    assert response.status_code == 403
    assert "set-cookie" not in response.headers
    assert asyncio.run(client.app.state.sessions.count()) == 0


@pytest.mark.parametrize("headers", REFUSED)
def test_another_origin_cannot_renew_by_a_token_of_its_own(make_app, headers):
    """It can send one in a header where CORS allows: the answer would log the browser in."""
    client = make_client(make_app, "header,cookie", refresh=True)
    sent = {"X-Refresh-Token": client.post("/login").headers["x-refresh-token"]}
    client.cookies.clear()
    response = client.post("/refresh", headers={**sent, **headers})
    assert response.status_code == 403
    assert "set-cookie" not in response.headers
    for accepted in ACCEPTED:
        assert client.post("/refresh", headers={**sent, **accepted}).status_code == 200


@with_cookies
@pytest.mark.parametrize("headers", REFUSED)
def test_another_origin_cannot_log_a_browser_out(make_app, carriers, headers):
    """Not by the answer, either: a form of another site comes without cookies, and clears them."""
    response = make_client(make_app, **carriers).post("/logout", headers=headers)
    assert response.status_code == 403
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize("headers", REFUSED)
def test_who_shows_a_token_by_header_may_log_out_from_anywhere(make_app, headers):
    """No page of another origin can make a browser send it, unless CORS allows."""
    client = make_client(make_app, "header,cookie")
    token = client.post("/login").headers["authorization"]
    shown = {"Authorization": token, **headers}
    assert client.post("/logout", headers=shown).json() is True
    assert asyncio.run(client.app.state.sessions.count()) == 0


@pytest.mark.parametrize("headers", REFUSED)
@pytest.mark.parametrize(
    "shown",
    [
        {"Authorization": "Bearer junk"},
        {"Cookie": "__Host-session_token=a; __Host-session_token=b"},
    ],
    ids=["junk", "two cookies"],
)
def test_who_shows_none_that_is_genuine_may_not(make_app, shown, headers):
    """Nor may a pair of cookies that contradict each other: they are not cleared, either."""
    client = make_client(make_app, "header,cookie")
    response = client.post("/logout", headers={**shown, **headers})
    assert response.status_code == 403
    assert "set-cookie" not in response.headers


def test_a_login_by_redirect_from_another_site_works(make_app):
    """An identity provider sends the browser back by GET."""
    client = make_client(make_app, "cookie")
    assert client.get("/login", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


@pytest.mark.parametrize("headers", REFUSED)
def test_a_socket_of_another_origin_is_refused(client, headers):
    """Its handshake is a GET, but browsers let any page open one, cookies included."""
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("wss://app.example/socket", headers=dict(headers)),
    ):
        pytest.fail("accepted")
    assert caught.value.code == 1008


@pytest.mark.parametrize("headers", ACCEPTED)
def test_a_socket_of_our_own_is_served(client, headers):
    """Accepted, and closed by the endpoint."""
    with client.websocket_connect("wss://app.example/socket", headers=dict(headers)):
        pass


@pytest.mark.parametrize("headers", REFUSED)
def test_a_header_credential_is_exempt(make_app, headers):
    """No page of another origin can make a browser send it, unless CORS allows."""
    client = make_client(make_app, "header")
    token = client.post("/login", headers=headers).headers["authorization"]
    response = client.post("/n", headers={"Authorization": token, **headers})
    assert response.status_code == 200


@pytest.mark.parametrize("junk", ["Bearer", "Bearer ", "Basic eA==", ""])
def test_a_junk_header_does_not_switch_the_check_off(make_app, junk):
    """With both carriers the cookie is what counts, and is checked."""
    client = make_client(make_app, "header,cookie")
    client.post("/login")
    evil = {"Origin": "https://evil.example", "Authorization": junk}
    assert client.post("/n", headers=evil).status_code == 403
    evil["Authorization"] = "Bearer junk"
    assert client.post("/n", headers=evil).status_code == 400


def test_an_origin_without_host_is_no_host(make_app):
    """A request without a Host header matches no broken origin."""
    scope = {"type": "http", "method": "POST", "headers": [(b"origin", b"http://[")]}
    with pytest.raises(CrossOriginRefused):
        refuse_cross_origin(HTTPConnection(scope), ())
    scope["headers"] = [(b"origin", b"")]
    refuse_cross_origin(HTTPConnection(scope), ())


def test_a_handshake_of_another_origin_logs_nobody_out(make_app):
    """Its page can offer a token of its own there, beside the cookie that comes by itself."""
    app = make_app(carrier="header,cookie")

    @app.websocket("/logout")
    async def logout(websocket: WebSocket):
        await logout_session(websocket)
        await websocket.accept()

    provider = app.state.sessions
    victims, attackers = (asyncio.run(provider.login(user)).tokens.access for user in "ab")
    headers = {"Cookie": f"session_token={victims}", "Origin": "https://evil.example"}
    with (
        pytest.raises(WebSocketDisconnect),
        TestClient(app).websocket_connect(
            "/logout", subprotocols=["memsession.bearer", attackers], headers=headers
        ),
    ):
        pytest.fail("accepted")
    for token in (victims, attackers):
        assert asyncio.run(provider.open(token))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_each_safe_method_is_served(method):
    """RFC 9110 section 9.2.1."""
    headers = [(b"origin", b"https://evil.example")]
    refuse_cross_origin(HTTPConnection({"type": "http", "method": method, "headers": headers}), ())


def test_an_opaque_origin_is_no_host():
    """A request without a Host header does not match it."""
    scope = {"type": "http", "method": "POST", "headers": [(b"origin", b"null")]}
    with pytest.raises(CrossOriginRefused):
        refuse_cross_origin(HTTPConnection(scope), ())


def test_a_header_credential_is_exempt_beside_cookies(make_app):
    """Where both carriers are on, it is the credential that came that counts."""
    app = make_app(carrier="header,cookie")

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.post("/n")
    async def n(session: CurrentSession):
        return await session.incr("n")

    client = client_of(app)
    token = client.post("/login").headers["authorization"]
    client.cookies.clear()
    headers = {"Authorization": token, "Origin": "https://evil.example"}
    assert client.post("/n", headers=headers).status_code == 200
