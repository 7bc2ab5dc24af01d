"""WebSockets: the same dependency, the same login, refused before they are accepted."""

import asyncio
import traceback

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from fastapi_memsession import (
    CompositeCarrier,
    CookieCarrier,
    CurrentSession,
    HeaderCarrier,
    MemoryStore,
    NotAuthenticated,
    OptionalSession,
    SessionUsageError,
    StoreUnavailable,
    get_session,
    login_session,
    renew_session,
)


@pytest.fixture
def app(make_app, carrier) -> FastAPI:
    app = make_app(carrier=carrier)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.get("/n")
    async def n(session: CurrentSession):
        return await session.get("n")

    @app.post("/logout")
    async def logout(session: CurrentSession):
        await session.destroy()

    @app.websocket("/count")
    async def count(websocket: WebSocket, session: CurrentSession):
        await websocket.accept()
        async for _ in websocket.iter_text():
            await websocket.send_json(await session.incr("n"))

    @app.websocket("/login/{when}")
    async def login_by_socket(websocket: WebSocket, when: str):
        if when == "late":
            await websocket.accept()
        await login_session(websocket, "bert")
        if when == "early":
            await websocket.accept()
        await websocket.close()

    return app


@pytest.fixture
def client(app):
    return TestClient(app, base_url="https://testserver")


@pytest.fixture
def headers(client):
    """The credential of a fresh login, in a client without cookies of its own."""
    response = client.post("/login")
    client.cookies.clear()
    if "authorization" in response.headers:
        return {"Authorization": response.headers["authorization"]}
    return {"Cookie": response.headers["set-cookie"].partition(";")[0]}


def test_a_socket_has_the_session_of_its_handshake(client, headers):
    """Reads and writes go on while it is open; a request beside it sees them."""
    with client.websocket_connect("/count", headers=headers) as socket:
        for expected in (1, 2, 3):
            socket.send_text("")
            assert socket.receive_json() == expected
            assert client.get("/n", headers=headers).json() == expected


@pytest.mark.parametrize("junk", [{}, {"Authorization": "Bearer x"}, {"Cookie": "session_token=x"}])
def test_without_a_session_a_socket_is_refused(client, junk, caplog):
    """Before it is accepted, as a policy violation: HTTP 403 to clients. The log says why."""
    caplog.set_level("INFO")
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("/count", headers=junk),
    ):
        pytest.fail("accepted")
    assert caught.value.code == 1008
    assert caught.value.reason == "Not authenticated"
    assert "A WebSocket was closed: Not authenticated." in caplog.text


def test_a_session_that_ends_ends_the_socket_at_its_next_use(client, headers):
    """With a reason; nothing is written any more."""
    with client.websocket_connect("/count", headers=headers) as socket:
        client.post("/logout", headers=headers)
        socket.send_text("")
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_json()
    assert caught.value.code == 1008
    assert caught.value.reason == "The session has ended: revoked"


def test_a_login_by_socket_brings_the_token_with_accept(client, carrier):
    """In the headers of the handshake's answer."""
    with client.websocket_connect("/login/early") as socket:
        answered = dict(socket.extra_headers or [])
    assert (b"authorization" in answered) == ("header" in carrier)
    assert (b"set-cookie" in answered) == ("cookie" in carrier)


def test_a_login_on_an_accepted_socket_is_refused(app, client):
    """No header can bring the token any more: told before the store is touched."""
    with (
        pytest.raises(SessionUsageError, match=r"before websocket\.accept"),
        client.websocket_connect("/login/late") as socket,
    ):
        socket.receive_text()
    assert asyncio.run(app.state.sessions.count()) == 0


def test_a_login_on_a_refused_socket_is_undone(app, client):
    """The client never got the token."""
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/login/never"):
        pytest.fail("accepted")
    assert asyncio.run(app.state.sessions.count()) == 0


def test_an_unreachable_store_asks_to_come_back(make_app):
    """Close code 1013, and no detail of the store in the reason."""

    class Unreachable(MemoryStore):
        async def load(self, *args, **options):
            raise StoreUnavailable("Redis at 10.0.0.1 does not answer.")

    app = make_app(store=Unreachable())

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.websocket("/")
    async def socket(websocket: WebSocket, session: CurrentSession):
        pytest.fail("opened")

    client = TestClient(app)
    headers = {"Authorization": client.post("/login").headers["authorization"]}
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("/", headers=headers),
    ):
        pytest.fail("accepted")
    assert (caught.value.code, "10.0.0.1" in caught.value.reason) == (1013, False)


def test_an_error_after_closing_closes_nothing_twice(make_app):
    """An endpoint that closed its socket and then fails."""
    app = make_app()

    @app.websocket("/")
    async def close_early(websocket: WebSocket):
        session = await login_session(websocket, "anna")
        await websocket.accept()
        await websocket.close(4000)
        await session.destroy()
        await session.get("a")

    with TestClient(app).websocket_connect("/") as socket:
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_text()
        assert caught.value.code == 4000


def test_an_error_after_the_client_left_closes_nothing(make_app):
    """There is nobody to close for; nothing is logged as a fault."""
    app = make_app()

    @app.websocket("/")
    async def endpoint(websocket: WebSocket):
        session = await login_session(websocket, "anna")
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect):
            await websocket.receive_text()
        await session.destroy()
        await session.get("a")

    with TestClient(app).websocket_connect("/"):
        pass


def test_asking_often_on_one_socket_keeps_nothing(make_app):
    """A refusal is not an error that grows each time it is raised."""
    app = make_app()
    errors = []

    @app.websocket("/")
    async def endpoint(websocket: WebSocket):
        for _ in range(3):
            try:
                await get_session(websocket)
            except NotAuthenticated as error:
                errors.append(len(traceback.extract_tb(error.__traceback__)))
        await websocket.accept()
        await websocket.close()

    with TestClient(app).websocket_connect("/"):
        pass
    assert len(set(errors[1:])) == 1
    assert errors[0] <= errors[1] + 1


@pytest.fixture
def offering(make_app):
    """An application whose sockets choose the subprotocol that their address names."""
    app = make_app(refresh=True)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.websocket("/choose/{name}")
    async def choose(websocket: WebSocket, session: CurrentSession, name: str):
        await websocket.accept(subprotocol=None if name == "none" else name)
        await websocket.send_text(session.user_id)

    @app.websocket("/stranger")
    async def stranger(websocket: WebSocket):
        await websocket.accept()
        await websocket.close()

    @app.websocket("/renew")
    async def renew(websocket: WebSocket):
        session = await renew_session(websocket)
        await websocket.accept()
        await websocket.send_text(session.user_id)

    client = TestClient(app)
    return client, client.post("/login").headers["authorization"].removeprefix("Bearer ")


def test_an_access_token_among_the_subprotocols_is_no_refresh_token(offering):
    """It does not disagree with the one in the header for those."""
    client, _ = offering
    brought = client.post("/login").headers
    headers = {"X-Refresh-Token": brought["x-refresh-token"]}
    offered = ["memsession.bearer", brought["authorization"].removeprefix("Bearer ")]
    with client.websocket_connect("/renew", subprotocols=offered, headers=headers) as socket:
        assert socket.receive_text() == "anna"


@pytest.mark.parametrize(("name", "chosen"), [("none", "memsession.bearer"), ("chat", "chat")])
def test_a_token_among_the_subprotocols(offering, name, chosen):
    """Ours is chosen unless the application chooses another; the token never is."""
    client, token = offering
    offered = ["memsession.bearer", token, "chat"]
    with client.websocket_connect(f"/choose/{name}", subprotocols=offered) as socket:
        assert socket.receive_text() == "anna"
        assert socket.accepted_subprotocol == chosen


@pytest.mark.parametrize("carrier", [HeaderCarrier(subprotocol="mine"), "both", None])
def test_the_name_before_a_token_is_the_carriers(make_app, carrier):
    """Which may be another one, or none: then nothing is read there, nor chosen."""
    if carrier == "both":
        carrier = CompositeCarrier(CookieCarrier(), HeaderCarrier(subprotocol="mine"))
    app = make_app(carrier_object=carrier or HeaderCarrier(subprotocol=None))

    @app.websocket("/")
    async def greet(websocket: WebSocket, session: OptionalSession):
        await websocket.accept()
        await websocket.send_text(session.user_id if session else "nobody")

    client = TestClient(app)
    token = asyncio.run(app.state.sessions.login("anna")).tokens.access
    for name in ("mine", "memsession.bearer"):
        with client.websocket_connect("/", subprotocols=[name, token]) as socket:
            known = carrier is not None and name == "mine"
            assert socket.receive_text() == ("anna" if known else "nobody")
            assert socket.accepted_subprotocol == (name if known else None)


def test_nothing_is_chosen_that_was_not_offered(offering):
    """Neither for a token in a header, nor where only others are offered."""
    client, token = offering
    headers = {"Authorization": f"Bearer {token}"}
    for offered in ([], ["chat"]):
        path = "/choose/none"
        with client.websocket_connect(path, subprotocols=offered, headers=headers) as socket:
            assert socket.accepted_subprotocol is None


def test_a_socket_without_a_session_is_opened_all_the_same(offering):
    """A browser that offers insists on a choice, whether sessions are used or not."""
    client, token = offering
    with client.websocket_connect("/stranger", subprotocols=["memsession.bearer", token]) as socket:
        assert socket.accepted_subprotocol == "memsession.bearer"


@pytest.mark.parametrize(
    ("handshake", "reason"),
    [
        (("/choose/none", "{}x", {}), "Not authenticated"),
        (("/choose/none", "{}", {"Authorization": "x.y.z"}), "The handshake carries two different"),
        (("/renew", "{}", {}), "Not authenticated"),
    ],
)
def test_a_bad_subprotocol_is_refused(offering, caplog, handshake, reason):
    """A policy violation; an access token renews nothing, and none is logged."""
    client, token = offering
    path, offered, headers = handshake
    caplog.set_level("DEBUG")
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect(
            path, subprotocols=["memsession.bearer", offered.format(token)], headers=headers
        ),
    ):
        pytest.fail("accepted")
    assert caught.value.code == 1008
    assert caught.value.reason.startswith(reason)
    assert token not in caplog.text


def test_who_sends_when_all_is_over_is_told(make_app):
    """A room that still lists a socket, whose endpoint has returned, hears that it is gone."""
    app, members = make_app(), []

    @app.websocket("/room")
    async def room(websocket: WebSocket):
        await websocket.accept()
        members.append(websocket)

    with TestClient(app).websocket_connect("/room"):
        pass
    with pytest.raises(WebSocketDisconnect):
        asyncio.run(members[0].send_text("news"))


@pytest.mark.parametrize("start", ["https://", "https://a"])
def test_a_long_reason_is_cut_between_characters(make_app, start):
    """A close frame holds 123 bytes of UTF-8; the client chose what is told."""
    app = make_app(carrier="cookie")

    @app.websocket("/")
    async def socket(websocket: WebSocket):
        await login_session(websocket, "anna")

    origin = (start + "é" * 200).encode("latin-1")
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        TestClient(app).websocket_connect("/", headers={"Origin": origin}),
    ):
        pytest.fail("accepted")
    assert caught.value.code == 1008
    assert caught.value.reason.startswith(f"A cross-origin request from '{start}")
    assert 122 <= len(caught.value.reason.encode()) <= 123


def test_no_origin_writes_a_line_of_the_log(make_app, caplog):
    """Whatever a client sends as one: control characters are escaped, here and for the client."""
    caplog.set_level("INFO")
    app = make_app(carrier="cookie")

    @app.websocket("/")
    async def socket(websocket: WebSocket, session: CurrentSession): ...

    headers = {
        "Origin": b"http://e\x85Session reused: user 'root'\x9b2J",
        "Cookie": "session_token=a",
    }
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        TestClient(app).websocket_connect("/", headers=headers),
    ):
        pytest.fail("accepted")
    told = [caught.value.reason, *(record.getMessage() for record in caplog.records)]
    assert any("\\x85Session reused" in text for text in told)
    assert all(text.isprintable() for text in told)


def test_a_handshake_that_is_answered_by_a_response_brings_our_headers(make_app):
    """A refusal with a body of its own clears the cookie as any response does."""
    app = make_app(carrier="cookie")

    @app.websocket("/")
    async def socket(websocket: WebSocket):
        session = await login_session(websocket, "anna")
        await session.destroy()
        await websocket.send_denial_response(PlainTextResponse("no", 403))

    with (
        pytest.raises(WebSocketDenialResponse) as caught,
        TestClient(app).websocket_connect("/"),
    ):
        pytest.fail("accepted")
    assert "Max-Age=0" in caught.value.headers["set-cookie"]
    assert caught.value.headers["cache-control"] == "no-store"


def test_an_accepted_socket_gets_the_token_and_nothing_else(make_app):
    """No cache keeps a handshake."""
    app = make_app(carrier="cookie")

    @app.websocket("/")
    async def logs_in(websocket: WebSocket):
        await login_session(websocket, "anna")
        await websocket.accept()
        await websocket.close()

    @app.websocket("/used")
    async def uses(websocket: WebSocket, session: CurrentSession):
        await websocket.accept()
        await websocket.close()

    with TestClient(app).websocket_connect("/") as socket:
        told = dict(socket.extra_headers)
    assert list(told) == [b"set-cookie"]
    cookie = {"Cookie": told[b"set-cookie"].decode().partition(";")[0]}
    for _ in range(2):  # known anew, and known again
        with TestClient(app).websocket_connect("/used", headers=cookie) as socket:
            assert not socket.extra_headers
