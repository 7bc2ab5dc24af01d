"""A request from the credential to the headers of the response, whatever kind of response it is."""

import asyncio
import gc
import logging
import weakref
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import (
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Request,
    Response,
    WebSocket,
)
from fastapi.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fastapi_memsession import (
    Credential,
    CurrentSession,
    MemoryStore,
    NotAuthenticated,
    OptionalSession,
    Session,
    SessionEnded,
    SessionError,
    SessionProvider,
    SessionStore,
    SessionUsageError,
    StoreUnavailable,
    get_optional_session,
    get_provider,
    get_session,
    login_session,
    setup_sessions,
)
from fastapi_memsession.middleware import ConnectionMiddleware
from fastapi_memsession.unbroken import _under_way
from tests.conftest import settings

CARRIERS = ["header", "cookie", "header,cookie"]


def client_of(app, **options):
    return TestClient(app, base_url="https://testserver", **options)


def credential(response) -> dict[str, str]:
    """The headers with which a client comes back after a response."""
    if "authorization" in response.headers:
        return {"Authorization": response.headers["authorization"]}
    cookie = response.headers.get("set-cookie", "")
    return {"Cookie": cookie.partition(";")[0]} if cookie else {}


class CountingStore(MemoryStore):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        self.calls = 0

    async def load(self, *args, **options):
        self.loads += 1
        self.calls += 1
        return await super().load(*args, **options)

    async def create(self, *args, **options):
        self.calls += 1
        return await super().create(*args, **options)

    async def delete(self, *args, **options):
        self.calls += 1
        return await super().delete(*args, **options)


@pytest.fixture(params=CARRIERS)
def carrier(request):
    return request.param


@pytest.fixture
def store():
    return CountingStore()


@pytest.fixture
def app(make_app, carrier, store, tmp_path):
    """An application that logs in and answers in every way there is."""
    app = make_app(carrier=carrier, store=store)
    file = tmp_path / "file.txt"
    file.write_text("file")

    class CustomError(Exception):
        pass

    @app.exception_handler(CustomError)
    async def handle(request, error):
        return PlainTextResponse("custom", 418)

    async def raise_http():
        raise HTTPException(409, "after login")

    async def raise_custom():
        raise CustomError

    async def stream():
        yield b"one"
        yield b"two"

    kinds = {
        "dict": lambda: {"a": 1},
        "none": lambda: None,
        "json": lambda: JSONResponse({"a": 1}),
        "redirect": lambda: RedirectResponse("/elsewhere"),
        "html": lambda: HTMLResponse("<p>"),
        "stream": lambda: StreamingResponse(stream()),
        "file": lambda: FileResponse(file),
        "empty": lambda: Response(status_code=204),
        "http_exception": raise_http,
        "custom_handler": raise_custom,
        "own_headers": lambda: Response(headers={"Cache-Control": "public", "Vary": "Accept"}),
    }

    @app.post("/login/{kind}")
    async def login(request: Request, kind: str):
        await login_session(request, "anna", claims={"role": "admin"}, data={"n": 1})
        answer = kinds[kind]()
        return await answer if asyncio.iscoroutine(answer) else answer

    async def login_first(request: Request):
        await login_session(request, "anna")

    @app.post("/invalid/{number}", dependencies=[Depends(login_first)])
    async def invalid(number: int):
        return number

    @app.get("/profile")
    async def profile(session: CurrentSession):
        return {"user": session.user_id, "data": await session.all()}

    @app.get("/optional")
    async def optional(session: OptionalSession):
        return session and session.user_id

    @app.post("/logout")
    async def logout(session: Session = Depends(get_session)):
        await session.destroy()

    @app.post("/fail")
    async def fail(request: Request):
        await login_session(request, "bert")
        raise ZeroDivisionError

    @app.get("/untouched")
    async def untouched():
        return "untouched"

    return app


KINDS = [
    "dict", "none", "json", "redirect", "html", "stream", "file", "empty", "http_exception",
    "custom_handler", "own_headers",
]  # fmt: skip


@pytest.mark.parametrize("path", [*(f"/login/{kind}" for kind in KINDS), "/invalid/x"])
def test_a_login_survives_every_kind_of_response(app, path):
    """The token arrives with a redirect, a stream, a file, an error and a 422 alike."""
    client = client_of(app, follow_redirects=False)
    response = client.post(path)
    client.cookies.clear()
    assert client.get("/profile", headers=credential(response)).status_code == 200
    assert response.headers["cache-control"] == "no-store"


def test_the_headers_of_the_endpoint_stay(app):
    """Vary is added to; Cache-Control must not let anyone keep what belongs to a user."""
    response = client_of(app).post("/login/own_headers")
    assert response.headers["vary"].startswith("Accept, ")
    assert response.headers["cache-control"] == "no-store"


def test_each_carrier_brings_the_token_its_way(app, carrier):
    """In cookie mode nowhere but in the cookie (ASVS 3.3)."""
    response = client_of(app).post("/login/dict")
    header, cookie = response.headers.get("authorization"), response.headers.get("set-cookie")
    assert (header is not None) == ("header" in carrier)
    assert (cookie is not None) == ("cookie" in carrier)
    assert (
        response.headers["vary"]
        == {
            "header": "Authorization",
            "cookie": "Cookie",
            "header,cookie": "Authorization, Cookie",
        }[carrier]
    )


def test_a_session_from_login_to_logout(app, carrier):
    """Logging in, looking, logging out; the token is dead then and the cookie cleared."""
    client = client_of(app)
    headers = credential(client.post("/login/dict"))
    client.cookies.clear()
    assert client.get("/profile", headers=headers).json() == {"user": "anna", "data": {"n": 1}}
    response = client.post("/logout", headers=headers)
    assert response.status_code == 200
    assert ("Max-Age=0" in response.headers.get("set-cookie", "")) == ("cookie" in carrier)
    response = client.get("/profile", headers=headers)
    told = {"detail": "The session has ended", "reason": "revoked"}
    assert (response.status_code, response.json()) == (401, told)
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token", reason="revoked"'


def test_no_credential_is_told_apart_by_no_code(app):
    """RFC 6750 section 3.1: no error code when no credential came."""
    response = client_of(app).get("/profile")
    assert (response.status_code, response.json()) == (401, {"detail": "Not authenticated"})
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["cache-control"] == "no-store"
    assert "vary" in response.headers


JUNK = ["x", "a.b.c", "null", "undefined", "x" * 5000, "a.b." + "[" * 990, "%00", "é", "'; --"]


@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_one_401(app, carrier, store, junk, caplog):
    """The same body for every cause, nothing in the log, and the store is not asked."""
    name, value = ("Cookie", f"session_token={junk}")
    if "header" in carrier:
        name, value = ("Authorization", f"Bearer {junk}")
    client = client_of(app)
    for path in ("/profile", "/optional"):
        response = client.get(path, headers={name: value.encode("latin-1")})
        if path == "/profile":
            assert (response.status_code, response.json()) == (401, {"detail": "Not authenticated"})
            assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        else:
            assert (response.status_code, response.json()) == (200, None)
    assert store.calls == 0
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_swapped_token_is_forged_and_one_past_its_deadline_is_over(app, store, clock):
    """The payload of one under the signature of another learns nothing; neither asks the store."""
    client = client_of(app)
    one, two = (credential(client.post("/login/dict")) for _ in range(2))
    client.cookies.clear()
    ((name, first),), ((_, second),) = one.items(), two.items()
    swapped = ".".join([*first.split(".")[:2], second.split(".")[2]])
    expected = {"detail": "Not authenticated"}
    calls = store.calls
    response = client.get("/profile", headers={name: swapped})
    assert (response.status_code, response.json()) == (401, expected)
    clock.advance(30 * 86_400)
    response = client.get("/profile", headers={name: second})
    told = {"detail": "The session has ended", "reason": "expired"}
    assert (response.status_code, response.json()) == (401, told)
    assert store.calls == calls


def test_an_untouched_request_is_left_alone(app):
    """No header is added where no session was asked for."""
    response = client_of(app).get("/untouched")
    assert not {"vary", "cache-control", "set-cookie", "authorization"} & set(response.headers)


def test_an_unhandled_error_undoes_the_login(app, store):
    """The client never got the token, so the session must not live; the one it had stays."""
    client = client_of(app, raise_server_exceptions=False)
    headers = credential(client.post("/login/dict"))
    client.cookies.clear()
    response = client.post("/fail", headers=headers)
    assert response.status_code == 500
    assert not {"authorization", "set-cookie"} & set(response.headers)
    assert client.get("/profile", headers=headers).json()["user"] == "anna"
    assert asyncio.run(app.state.sessions.count()) == 1


def test_a_login_ends_the_session_it_came_with(app, carrier):
    """With the response, and only that one (ASVS 7.2.4)."""
    client = client_of(app)
    first, other = (credential(client.post("/login/dict")) for _ in range(2))
    client.cookies.clear()
    other = credential(client.post("/login/dict"))
    client.cookies.clear()
    second = credential(client.post("/login/dict", headers=first))
    client.cookies.clear()
    assert client.get("/profile", headers=first).status_code == 401
    assert client.get("/profile", headers=second).status_code == 200
    assert client.get("/profile", headers=other).status_code == 200


def test_a_login_ignores_a_credential_that_is_none(app):
    """A client with an old or broken token can log in again."""
    client = client_of(app)
    for headers in (
        {"Authorization": "Bearer junk"},
        {"Cookie": "session_token=junk"},
        {"Cookie": "session_token=a; session_token=b", "Authorization": "Bearer c"},
    ):
        assert client.post("/login/dict", headers=headers).status_code == 200
        client.cookies.clear()


def test_a_conflict_is_400(make_app):
    """Header and cookie that disagree, or two cookies of one name; told which."""
    app = make_app(carrier="header,cookie")

    @app.get("/")
    async def read(session: OptionalSession):
        return "read"

    client = client_of(app)
    disagree = {"Authorization": "Bearer a", "Cookie": "session_token=b"}
    response = client.get("/", headers=disagree)
    assert response.status_code == 400
    assert response.json() == {"detail": "The request carries two different session tokens."}
    response = client.get("/", headers={"Cookie": "session_token=a; session_token=a"})
    assert response.json() == {"detail": "Two cookies are named session_token."}
    assert response.headers["cache-control"] == "no-store"


def test_one_load_for_any_number_of_dependencies(make_app, store):
    """Shared by get_session, get_optional_session, uncached ones and direct calls."""
    app = make_app(store=store)
    seen = []

    async def audit(session: CurrentSession):
        seen.append(session)

    async def uncached(session: Session = Depends(get_session, use_cache=False)):
        seen.append(session)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.get("/", dependencies=[Depends(audit), Depends(uncached)])
    async def read(request: Request, one: CurrentSession, two: OptionalSession):
        seen.extend([one, two, await get_session(request), await get_optional_session(request)])

    client = client_of(app)
    headers = credential(client.post("/login"))
    store.loads = 0
    assert client.get("/", headers=headers).status_code == 200
    assert store.loads == 1
    assert len(seen) == 6
    assert len({id(session) for session in seen}) == 1


def test_within_the_request_the_new_session_counts(make_app):
    """After a login get_session gives it; after destroy there is none; a later login is one."""
    app = make_app(carrier="cookie")

    @app.post("/")
    async def work(request: Request):
        assert await get_optional_session(request) is None
        first = await login_session(request, "anna")
        assert await get_session(request) is first
        await first.destroy()
        assert await get_optional_session(request) is None
        with pytest.raises(SessionEnded):
            await get_session(request)
        second = await login_session(request, "bert")
        third = await login_session(request, "carl")
        await second.set("still", "alive")
        return third.id

    client = client_of(app)
    assert client.post("/").status_code == 200
    assert asyncio.run(app.state.sessions.count()) == 1


def test_destroying_the_old_session_does_not_take_the_new_token_away(make_app):
    """An endpoint that ends the session it came with, after logging in anew."""
    app = make_app(carrier="cookie")

    @app.post("/")
    async def work(request: Request, old: OptionalSession):
        await login_session(request, "anna")
        if old:
            await old.destroy()

    client = client_of(app)
    client.post("/")
    response = client.post("/")
    assert "Max-Age=2592000" in response.headers["set-cookie"]
    assert "Max-Age=0" not in response.headers["set-cookie"]


def test_after_the_response_started_a_login_is_refused(make_app):
    """Before the store is touched: no header could bring the token any more."""
    app = make_app()
    caught = []

    async def late(request):
        try:
            await login_session(request, "anna")
        except SessionUsageError as error:
            caught.append(str(error))

    @app.post("/background")
    async def background(request: Request, tasks: BackgroundTasks):
        tasks.add_task(late, request)

    @app.post("/stream")
    async def stream(request: Request):
        async def body():
            yield b"x"
            await late(request)

        return StreamingResponse(body())

    client = client_of(app)
    client.post("/background")
    client.post("/stream")
    assert len(caught) == 2
    assert all("before returning the response" in message for message in caught)
    assert asyncio.run(app.state.sessions.count()) == 0


def test_a_session_can_be_used_and_destroyed_after_the_response_started(make_app):
    """Writes from a background task are stored; a late destroy still ends the session."""
    app = make_app()

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.post("/work")
    async def work(session: CurrentSession):
        async def later():
            await session.set("worked", True)

        return JSONResponse({}, background=BackgroundTask(later))

    @app.post("/end")
    async def end(session: CurrentSession):
        return JSONResponse(await session.all(), background=BackgroundTask(session.destroy))

    client = client_of(app)
    headers = credential(client.post("/login"))
    client.post("/work", headers=headers)
    assert client.post("/end", headers=headers).json() == {"worked": True}
    assert client.post("/end", headers=headers).status_code == 401


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


def test_a_failed_login_costs_no_session_where_only_one_may_be(make_app):
    """The limit ends the session with the response, as any replaced one."""
    app = make_app(max_sessions_per_user=1, max_sessions=1)

    @app.post("/login")
    async def login(request: Request, fail: bool = False):
        await login_session(request, "anna")
        if fail:
            raise ZeroDivisionError

    @app.get("/profile")
    async def profile(session: CurrentSession):
        return session.user_id

    client = client_of(app, raise_server_exceptions=False)
    first = credential(client.post("/login"))
    assert client.post("/login?fail=1", headers=first).status_code == 500
    assert client.get("/profile", headers=first).status_code == 200
    second = credential(client.post("/login", headers=first))
    assert client.get("/profile", headers=first).status_code == 401
    assert client.get("/profile", headers=second).status_code == 200


class SlowStore(CountingStore):
    """Lets others run within each call, as one behind a network does."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.created = asyncio.Event()
        self.lose_the_reply = False

    async def create(self, *args, **options):
        ended = await super().create(*args, **options)
        self.created.set()
        if self.lose_the_reply:
            raise StoreUnavailable("no reply")
        await self.gate.wait()
        return ended

    async def load(self, *args, **options):
        record = await super().load(*args, **options)
        await asyncio.sleep(0)
        return record

    async def delete(self, *args, **options):
        await asyncio.sleep(0)
        return await super().delete(*args, **options)


@asynccontextmanager
async def calling(app):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as client:
        yield client


async def test_a_login_that_is_cancelled_while_it_is_stored_is_undone(make_app):
    """Nobody will ever have its token; a second cancellation changes nothing."""
    store = SlowStore()
    app = make_app(store=store)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    async with calling(app) as client:
        task = asyncio.create_task(client.post("/login"))
        await store.created.wait()
        assert await app.state.sessions.count() == 1
        task.cancel()
        await asyncio.wait({task}, timeout=0)
        task.cancel()
        await asyncio.wait({task})
        while _under_way:
            await asyncio.wait(set(_under_way))
    assert await app.state.sessions.count() == 0


async def test_a_login_whose_reply_is_lost_leaves_no_session(make_app):
    """It may have been stored: it is ended, and the client told to try again."""
    store = SlowStore()
    store.lose_the_reply = True
    app = make_app(store=store)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    async with calling(app) as client:
        response = await client.post("/login")
    assert response.status_code == 503
    assert "authorization" not in response.headers
    assert await app.state.sessions.count() == 0


async def test_two_tasks_of_one_request_share_one_session(make_app):
    """Also if both ask before either has it; and a login beside them wins."""
    store = SlowStore()
    store.gate.set()
    app = make_app(store=store)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.post("/twice")
    async def twice(request: Request):
        one, two = await asyncio.gather(get_session(request), get_optional_session(request))
        return one is two

    @app.post("/beside")
    async def beside(request: Request):
        new, _ = await asyncio.gather(login_session(request, "bert"), get_optional_session(request))
        return await get_session(request) is new

    async with calling(app) as client:
        headers = credential(await client.post("/login"))
        assert (await client.post("/twice", headers=headers)).json() is True
        assert (await client.post("/beside", headers=headers)).json() is True


def test_what_is_no_store_or_carrier_is_told(make_app):
    """At set-up, not at the first request."""
    with pytest.raises(SessionUsageError, match="A dict is no SessionStore"):
        make_app(store={})
    with pytest.raises(SessionUsageError, match="A str is no TokenCarrier"):
        make_app(carrier_object="cookie")

    class Unfinished(SessionStore):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()


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

        @app.post("/login")
        async def login(request: Request):
            await login_session(request, "anna")

        @app.get("/profile")
        async def profile(session: CurrentSession):
            return session.user_id

    one, two = (client_of(app) for app in apps)
    headers = credential(one.post("/login"))
    assert one.get("/profile", headers=headers).status_code == 200
    assert two.get("/profile", headers=headers).json() == {"detail": "Not authenticated"}


def test_dependency_overrides_work(make_app):
    """As for any other dependency, in users' own tests."""
    app = make_app()

    @app.get("/")
    async def read(session: CurrentSession):
        return session

    app.dependency_overrides[get_session] = lambda: "overridden"
    assert client_of(app).get("/").json() == "overridden"


async def test_httpx_works_without_lifespan(app):
    """ASGITransport runs no lifespan; sessions need none."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as client:
        headers = credential(await client.post("/login/dict"))
        client.cookies.clear()
        assert (await client.get("/profile", headers=headers)).status_code == 200


class UnreachableStore(CountingStore):
    """Answers nothing."""

    async def load(self, *args, **options):
        raise StoreUnavailable("Redis at 10.0.0.1 does not answer.", retry_after=7)

    async def delete(self, *args, **options):
        raise StoreUnavailable("Redis at 10.0.0.1 does not answer.")


def test_an_unreachable_store_is_503_and_no_logout(make_app, caplog):
    """The client is told when to come back, the log where to look; no cookie is cleared."""
    app = make_app(store=UnreachableStore(), carrier="cookie")

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.post("/logout")
    async def logout(session: OptionalSession):
        return "never reached"

    client = client_of(app)
    client.post("/login")
    response = client.post("/logout")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "7"
    assert "set-cookie" not in response.headers
    assert "10.0.0.1" not in response.text
    assert "10.0.0.1" in caplog.text


def test_what_cannot_be_undone_is_logged(make_app, caplog):
    """A store that fails at the wrong moment changes neither the response nor the error."""
    app = make_app(store=UnreachableStore())

    @app.post("/login")
    async def login(request: Request, twice: bool = False):
        await login_session(request, "anna")
        if twice:
            await login_session(request, "anna")
        else:
            raise ZeroDivisionError

    client = client_of(app)
    with pytest.raises(ZeroDivisionError):
        client.post("/login")
    assert "was undone could not be ended" in caplog.text
    assert client.post("/login?twice=1").status_code == 200
    assert "was replaced could not be ended" in caplog.text


def test_a_full_store_refuses_logins_and_keeps_the_living(make_app, caplog):
    """503 with a time to come back; whoever is in stays in; the dead make room."""
    app = make_app(max_sessions=2)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.get("/profile")
    async def profile(session: CurrentSession):
        return session.user_id

    client = client_of(app)
    first = credential(client.post("/login"))
    client.post("/login")
    response = client.post("/login")
    assert (response.status_code, response.headers["retry-after"]) == (503, "60")
    assert "authorization" not in response.headers
    assert "MEMSESSION_MAX_SESSIONS" in caplog.text
    assert client.get("/profile", headers=first).status_code == 200


@pytest.mark.parametrize("large", ["user", "claim"])
def test_claims_too_big_for_the_carrier_leave_no_session(make_app, carrier, large):
    """An error at login, with the numbers; the client is told 413."""
    app = make_app(carrier=carrier)

    @app.post("/login")
    async def login(request: Request):
        if large == "user":
            await login_session(request, "x" * 10_240)
        else:
            await login_session(request, "anna", claims={"bio": "x" * 4000})

    response = client_of(app).post("/login")
    assert response.status_code == 413
    assert not {"authorization", "set-cookie"} & set(response.headers)
    assert asyncio.run(app.state.sessions.count()) == 0


@pytest.mark.parametrize("user", ["a b", "a\r\nSet-Cookie: b=c", "\0", "🦊", "ü" * 300, "'\"<>;,"])
def test_odd_user_ids_come_back_as_they_were(make_app, carrier, user):
    """And make no header of their own."""
    app = make_app(carrier=carrier)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, user, claims={"name": user})

    @app.get("/profile")
    async def profile(session: CurrentSession):
        return [session.user_id, session.claims.data["name"]]

    client = client_of(app)
    response = client.post("/login")
    client.cookies.clear()
    assert len(response.headers.get_list("set-cookie")) == ("cookie" in carrier)
    assert client.get("/profile", headers=credential(response)).json() == [user, user]


@pytest.mark.parametrize(
    "options",
    [
        {"user_id": ""},
        {"user_id": 5},
        {"user_id": None},
        {"user_id": "\ud800"},
        {"user_id": "anna", "claims": {"age": 5}},
        {"user_id": "anna", "claims": {5: "age"}},
        {"user_id": "anna", "claims": [("a", "b")]},
        {"user_id": "anna", "data": [1]},
        {"user_id": "anna", "claims": {"a": "\ud800"}},
        {"user_id": "anna", "data": {"a": object()}},
        {"user_id": "anna", "data": {5: 5}},
    ],
)
def test_a_login_with_bad_input_leaves_no_session(make_app, options, caplog):
    """The client gets 422 and no value, the log the place in the program."""
    app = make_app()

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, **options)

    assert client_of(app).post("/login").status_code == 422
    assert asyncio.run(app.state.sessions.count()) == 0
    assert "in login" in caplog.text


def test_bad_input_that_reaches_the_session_is_never_a_500(make_app):
    """What JSON clients can send and JSON cannot say."""
    app = make_app()

    @app.put("/value")
    async def put(request: Request):
        session = await login_session(request, "anna")
        await session.set("value", await request.json())

    client = client_of(app)
    for body in ['"\\ud800"', "NaN", "1e999", "[" * 500 + "]" * 500]:
        assert client.put("/value", content=body).status_code == 422
    assert client.put("/value", json="x" * 70_000).status_code == 413


@pytest.mark.parametrize("error", [SessionError, NotAuthenticated])
def test_a_users_own_handler_wins(make_app, error):
    """For all our errors or some, whether registered before the set-up or after it."""
    early, late = FastAPI(), make_app()
    for app in (early, late):

        @app.exception_handler(error)
        async def mine(request, error):
            return PlainTextResponse("mine", 401)

        @app.get("/")
        async def read(session: CurrentSession):
            return "read"

    make_app(app=early)
    assert [client_of(app).get("/").text for app in (early, late)] == ["mine", "mine"]


def test_setup_is_once_and_before_the_start(make_app):
    """Both mistakes are told."""
    app = make_app()
    with pytest.raises(SessionUsageError, match="twice"):
        setup_sessions(app, settings())
    started = FastAPI()
    client_of(started).get("/")
    with pytest.raises(SessionUsageError, match="after the application started"):
        setup_sessions(started, settings())


def test_a_carrier_of_the_users_own(make_app):
    """Any object that follows the protocol; here the token travels in a form that nobody knows."""

    class Reversed:
        ambient = False
        vary = ("X-Reversed",)

        def extract(self, connection):
            value = connection.headers.get("x-reversed")
            return Credential(value[::-1]) if value else None

        def inject(self, headers, token, *, max_age):
            headers["X-Reversed"] = token[::-1]

        def clear(self, headers):
            headers["X-Reversed"] = "none"

    app = make_app(carrier_object=Reversed())

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.post("/logout")
    async def logout(session: CurrentSession):
        await session.destroy()

    client = client_of(app)
    response = client.post("/login")
    headers = {"X-Reversed": response.headers["x-reversed"]}
    response = client.post("/logout", headers=headers)
    assert (response.status_code, response.headers["x-reversed"]) == (200, "none")
    assert response.headers["vary"] == "X-Reversed"


def test_vary_star_is_enough(make_app):
    """It says more than any name could; a name that is there is not repeated."""
    app = make_app()

    @app.get("/{vary}")
    async def read(vary: str, session: OptionalSession):
        return Response(headers={"Vary": vary})

    client = client_of(app)
    assert client.get("/*").headers["vary"] == "*"
    assert client.get("/authorization").headers["vary"] == "authorization"


async def test_a_client_that_goes_away_before_the_answer_undoes_its_login(make_app):
    """The server cancels the request: the session that nobody knows of does not live."""
    app = make_app()
    waiting = asyncio.Event()

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")
        waiting.set()
        await asyncio.Event().wait()

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as client:
        task = asyncio.create_task(client.post("/login"))
        await waiting.wait()
        assert await app.state.sessions.count() == 1
        task.cancel()
        await asyncio.wait({task})
    assert await app.state.sessions.count() == 0


async def test_other_protocols_pass(make_app):
    """What is neither HTTP nor WebSocket is none of our business."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    provider = make_app().state.sessions
    middleware = ConnectionMiddleware(app, provider=provider, answers=None)
    await middleware({"type": "other"}, None, None)
    assert seen == ["other"]


@pytest.mark.parametrize("path", ["/login", "/n", "/untouched"])
async def test_a_request_leaves_nothing_to_the_garbage_collector(make_app, path):
    """Whatever belongs to it is gone with it, although what servers send with knows the scope."""
    app = make_app()

    @app.get("/login")
    async def login(request: Request) -> str:
        return (await login_session(request, "anna")).user_id

    @app.get("/n")
    async def n(session: OptionalSession) -> str:
        return session.user_id if session else ""

    @app.get("/untouched")
    async def untouched() -> str:
        return ""

    class Cycle:
        """What a server keeps of one request."""

        def __init__(self, headers):
            self.scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
            self.scope |= {"query_string": b"", "client": ("127.0.0.1", 50_000)}
            self.sent = []

        async def receive(self):
            return {"type": "http.request"}

        async def send(self, message):
            self.sent.append(message)

    async def serve(headers):
        cycle = Cycle(headers)
        await app(cycle.scope, cycle.receive, cycle.send)
        assert [message.get("status", 200) for message in cycle.sent] == [200, 200]
        return weakref.ref(cycle)

    token = (await app.state.sessions.login("anna")).tokens.access
    headers = [(b"authorization", f"Bearer {token}".encode())]
    await serve(headers)  # what is made at the first request stays
    gc.disable()
    try:
        assert (await serve(headers))() is None
    finally:
        gc.enable()
