"""Middlewares, mounted and other applications beside ours: whose session, and who answers."""

import asyncio

import pytest
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.websockets import WebSocketDisconnect

from fastapi_memsession import (
    CurrentSession,
    NotAuthenticated,
    SessionEnded,
    SessionProvider,
    SessionUsageError,
    get_optional_session,
    get_provider,
    get_session,
    login_session,
)
from fastapi_memsession.middleware import ConnectionMiddleware
from tests.applications import add_login, client_of, credential


def test_without_setup_the_error_says_what_to_do():
    """Not an AttributeError somewhere inside."""
    app = FastAPI()

    @app.get("/")
    async def read(session: CurrentSession):
        return "read"

    with pytest.raises(SessionUsageError, match=r"setup_sessions\(app\) was not called"):
        client_of(app).get("/")


def test_a_middleware_outside_is_told_to_move(make_app):
    """Inside it works; added after setup_sessions it runs before, and has no state."""

    class Asking(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            await get_optional_session(request)
            return await call_next(request)

    inside = FastAPI()
    inside.add_middleware(Asking)
    make_app(app=inside)
    assert client_of(inside).get("/docs").status_code == 200

    outside = make_app()
    outside.add_middleware(Asking)
    with pytest.raises(SessionUsageError, match="after adding those"):
        client_of(outside).get("/docs")


def test_headers_pass_middlewares_on_both_sides(make_app):
    """A login inside BaseHTTPMiddleware reaches the client; also one done by a middleware."""

    class Plain(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            if request.url.path == "/by-middleware":
                await login_session(request, "anna")
            return await call_next(request)

    app = FastAPI()
    app.add_middleware(Plain)
    make_app(app=app)
    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    client = client_of(app)
    assert "authorization" in client.post("/login").headers
    assert "authorization" in client.get("/by-middleware").headers


async def pass_on(request, call_next):
    return await call_next(request)


def test_a_login_stands_if_a_middleware_rescues_the_response(make_app):
    """What the client is told in the end decides: here the token does go out."""
    app = FastAPI()

    @app.middleware("http")
    async def rescue(request, call_next):
        try:
            return await call_next(request)
        except ZeroDivisionError:
            return PlainTextResponse("rescued", 500)

    make_app(app=app)

    @app.post("/")
    async def fail(request: Request):
        await login_session(request, "anna")
        raise ZeroDivisionError

    response = client_of(app).post("/")
    assert (response.status_code, response.text) == (500, "rescued")
    assert "authorization" in response.headers
    assert asyncio.run(app.state.sessions.count()) == 1


def test_mounted_applications_share_the_sessions(make_app):
    """Errors are answered there too, although the sub-application was never set up."""
    inner = FastAPI()

    @inner.get("/profile")
    async def profile(session: CurrentSession, provider: SessionProvider = Depends(get_provider)):
        await session.set("seen", True)
        assert provider is app.state.sessions
        return session.user_id

    @inner.get("/too-large")
    async def too_large(session: CurrentSession):
        await session.set("large", "x" * 100_000)

    app = make_app()
    app.mount("/inner", inner)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    client = client_of(app)
    response = client.get("/inner/profile")
    assert (response.status_code, response.json()) == (401, {"detail": "Not authenticated"})
    headers = credential(client.post("/login"))
    assert client.get("/inner/profile", headers=headers).json() == "anna"
    assert client.get("/inner/too-large", headers=headers).status_code == 413


def test_a_mounted_application_answers_a_client_that_is_known_already(make_app):
    """Its first request there is one whose session needs no opening any more."""
    inner, app = FastAPI(), make_app()
    app.mount("/inner", inner)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.get("/user")
    @inner.get("/user")
    async def user(session: CurrentSession, large: bool = False):
        if large:
            await session.set("large", "x" * 100_000)
        return session.user_id

    client = client_of(app)
    headers = credential(client.post("/login"))
    assert client.get("/user", headers=headers).json() == "anna"
    assert client.get("/inner/user?large=1", headers=headers).status_code == 413
    assert client.get("/inner/user", headers=headers).json() == "anna"


def test_a_mounted_application_answers_whatever_ran_before_it(make_app):
    """A middleware that asked for the session first, and a handler of its own for some errors."""
    inner, app = FastAPI(), FastAPI()

    @inner.exception_handler(NotAuthenticated)
    async def mine(request, error):
        return PlainTextResponse("mine", 401)

    @inner.get("/")
    async def read(session: CurrentSession):
        return "read"

    class Asking:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == "http" and b"asked" in dict(scope["headers"]):
                await get_optional_session(Request(scope))
            await self.app(scope, receive, send)

    app.add_middleware(Asking)
    make_app(app=app)
    app.mount("/inner", inner)
    client = client_of(app)
    for headers in ({}, {"asked": "1"}):
        assert client.get("/inner/", headers=headers).text == "mine"
    two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    assert client.get("/inner/", headers=two).status_code == 400


def test_a_middlewares_session_errors_are_answered(make_app):
    """Nothing further inside could: bad input is no 500 there either."""

    class Asking(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            if "late" in request.query_params:
                response = await call_next(request)
                await response(request.scope, request.receive, request._send)
            session = await get_session(request)
            request.state.user = session.user_id
            return await call_next(request)

    class AskingSockets:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == "websocket":
                await get_session(WebSocket(scope, receive, send))
            await self.app(scope, receive, send)

    app = FastAPI()
    app.add_middleware(Asking)
    app.add_middleware(AskingSockets)
    make_app(app=app)
    client = client_of(app)
    response = client.get("/docs")
    assert (response.status_code, response.json()) == (401, {"detail": "Not authenticated"})
    assert response.headers["vary"] == "Authorization"
    two = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
    assert client.get("/docs", headers=two).status_code == 400
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/socket"):
        pytest.fail("accepted")


async def test_an_error_after_the_start_of_the_response_is_not_answered_again(make_app):
    """It goes to the server's log; two responses would break the connection."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise SessionEnded

    async def send(message):
        sent.append(message["type"])

    middleware = ConnectionMiddleware(app, provider=make_app().state.sessions, answers=None)
    with pytest.raises(SessionEnded):
        await middleware({"type": "http", "headers": []}, None, send)
    assert sent == ["http.response.start"]


def test_state_of_the_users_own_is_left_alone(make_app):
    """Something else at app.state.sessions is no second set-up."""
    app = FastAPI()
    app.state.sessions = "mine"
    with pytest.raises(SessionUsageError, match=r"app\.state\.sessions"):
        make_app(app=app)


def test_a_mounted_application_with_its_own_setup_wins_inside(make_app):
    """Other keys, other cookie, other users; the outer one is itself again afterwards."""
    inner, outer = make_app(carrier="cookie", cookie_name="inner", issuer="inner"), FastAPI()
    seen = []

    @outer.middleware("http")
    async def look(request, call_next):
        before = (await get_provider(request)).settings.issuer
        response = await call_next(request)
        seen.append((before, (await get_provider(request)).settings.issuer))
        return response

    make_app(app=outer, carrier="cookie", cookie_name="outer", issuer="outer")
    outer.mount("/inner", inner)
    for app in (inner, outer):

        @app.post("/login")
        async def login(request: Request):
            await login_session(request, (await get_provider(request)).settings.issuer)

        @app.get("/profile")
        async def profile(session: CurrentSession):
            return session.user_id

    client = client_of(outer)
    client.post("/inner/login")
    assert client.get("/inner/profile").json() == "inner"
    assert client.get("/profile").status_code == 401
    client.post("/login")
    assert client.get("/profile").json() == "outer"
    assert client.get("/inner/profile").json() == "inner"
    assert set(seen) == {("outer", "outer")}


def test_two_applications_in_one_process_know_nothing_of_each_other(make_app):
    """A token of one is junk to the other."""
    apps = [make_app(issuer=name) for name in ("one", "two")]
    for app in apps:
        add_login(app)

    one, two = (client_of(app) for app in apps)
    headers = credential(one.post("/login"))
    assert one.get("/profile", headers=headers).status_code == 200
    assert two.get("/profile", headers=headers).json() == {"detail": "Not authenticated"}


async def test_other_protocols_pass(make_app):
    """What is neither HTTP nor WebSocket is none of our business."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    provider = make_app().state.sessions
    middleware = ConnectionMiddleware(app, provider=provider, answers=None)
    await middleware({"type": "other"}, None, None)
    assert seen == ["other"]
