"""Edges of every room: bounds themselves, orders of events, and what only one line guards."""

import asyncio
import gc
import os
import sys
import threading
import traceback
import weakref

import pytest
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, field_serializer
from starlette.datastructures import MutableHeaders
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from fastapi_memsession import (
    CompositeCarrier,
    CookieCarrier,
    CredentialConflict,
    CrossOriginRefused,
    CurrentSession,
    HeaderCarrier,
    InvalidToken,
    LockTimeout,
    MemoryStore,
    OptionalSession,
    SessionDataError,
    SessionKey,
    SessionSettings,
    SessionTooLarge,
    SettingsError,
    StoreFull,
    StoreUnavailable,
    get_optional_session,
    get_provider,
    login_session,
)
from fastapi_memsession.answers import Answers
from fastapi_memsession.middleware import ConnectionMiddleware
from fastapi_memsession.origins import refuse_cross_origin
from fastapi_memsession.stores import siblings
from fastapi_memsession.stores.base import CompareAndSet, Increment, SetValue
from fastapi_memsession.stores.changes import apply_changes
from fastapi_memsession.stores.expiry import ExpiryQueue
from fastapi_memsession.stores.leases import LeaseTable
from fastapi_memsession.tokens import MAX_TOKEN_BYTES
from fastapi_memsession.unbroken import _under_way
from fastapi_memsession.values import decode_value_as, encode_value
from tests.conftest import KEY, START
from tests.test_carriers import injected
from tests.test_carriers import token as found
from tests.test_connection import CountingStore, calling, client_of, credential
from tests.test_lifespan import Lifespan, WatchedStore, fast, tasks
from tests.test_memory import create
from tests.test_memory import record as mrecord
from tests.test_settings import SAFE
from tests.test_tokens import DAY, SESSION, codec, resigned


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (LockTimeout("held by 10.0.0.1"), 503, "The session is busy; try again"),
        (SessionTooLarge("8 > 7", size=8, limit=7), 413, "The session cannot hold that much"),
        (SessionDataError("not this"), 422, "A value cannot be kept in the session"),
    ],
)
def test_each_error_has_its_own_detail(make_app, error, status, detail):
    """Of the nearest kind, in words that say what the client can do."""
    app = make_app()

    @app.get("/")
    async def fail():
        raise error

    response = client_of(app).get("/")
    assert (response.status_code, response.json()) == (status, {"detail": detail})


def test_an_error_of_the_provider_is_answered_as_one_of_the_session(make_app):
    """Not to be cached either, and inside of other middlewares, although no session was asked."""

    class Marking(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            response = await call_next(request)
            response.headers["X-Marked"] = "yes"
            return response

    app = FastAPI()
    app.add_middleware(Marking)
    make_app(app=app)

    @app.get("/")
    async def read(request: Request):
        await (await get_provider(request)).open("junk")

    response = client_of(app).get("/")
    assert (response.status_code, response.headers["cache-control"]) == (401, "no-store")
    assert response.headers["x-marked"] == "yes"


def test_the_answer_asks_for_the_scheme_of_the_settings(make_app):
    """A client is told the scheme that it has to use, and used it works."""
    app = make_app(header_scheme="Token")

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.get("/")
    async def read(session: CurrentSession):
        return session.user_id

    client = client_of(app)
    assert client.get("/").headers["www-authenticate"] == "Token"
    answered = client.post("/login").headers["authorization"]
    assert answered.startswith("Token ")
    assert client.get("/", headers={"Authorization": answered}).json() == "anna"
    bearer = answered.replace("Token ", "Bearer ")
    assert client.get("/", headers={"Authorization": bearer}).status_code == 401


def test_a_session_that_is_over_is_asked_for_once(make_app):
    """However many dependencies ask: a client with a dead token costs one look at the store."""
    store = CountingStore()
    app = make_app(store=store)

    @app.post("/login")
    async def login(request: Request):
        session = await login_session(request, "anna")
        await store.delete(SessionKey("anna", session.id), now=START, reason="revoked")

    @app.get("/")
    async def read(request: Request, one: OptionalSession):
        assert one is await get_optional_session(request) is None

    client = client_of(app)
    headers = credential(client.post("/login"))
    assert client.get("/", headers=headers).status_code == 200
    assert store.loads == 1


def test_every_login_of_a_failed_request_is_undone(make_app):
    """Not only the last one; the session that the client came with stays."""
    app = make_app()

    @app.post("/login")
    async def login(request: Request, fail: bool = False):
        await login_session(request, "anna")
        if fail:
            await login_session(request, "bert")
            await login_session(request, "carl")
            raise ZeroDivisionError

    client = client_of(app, raise_server_exceptions=False)
    headers = credential(client.post("/login"))
    assert client.post("/login?fail=1", headers=headers).status_code == 500
    assert asyncio.run(app.state.sessions.count()) == 1


def test_every_session_that_logins_of_one_request_replace_is_ended(make_app):
    """The one that the client came with, and those that never left the request."""
    app = make_app()

    @app.post("/login")
    async def login(request: Request):
        for user in ("anna", "bert", "carl"):
            await login_session(request, user)

    client = client_of(app)
    headers = credential(client.post("/login"))
    assert asyncio.run(app.state.sessions.count()) == 1
    client.post("/login", headers=headers)
    assert asyncio.run(app.state.sessions.count()) == 1


async def test_a_login_whose_response_cannot_be_sent_is_undone(make_app):
    """The start of the response failed, so nobody has the token."""
    app = make_app()

    @app.post("/")
    async def login(request: Request):
        await login_session(request, "anna")

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        raise OSError("the client is gone")

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    with pytest.raises(OSError, match="gone"):
        await app(scope, receive, send)
    assert await app.state.sessions.count() == 0


async def test_a_response_without_headers_gets_ours(make_app):
    """ASGI lets an application leave them out."""
    sent = []

    async def app(scope, receive, send):
        await login_session(Request(scope), "anna")
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        sent.append(message)

    provider = make_app().state.sessions
    middleware = ConnectionMiddleware(app, provider=provider, answers=Answers("Bearer"))
    await middleware({"type": "http", "method": "GET", "headers": []}, None, send)
    assert "authorization" in MutableHeaders(raw=sent[0]["headers"])


def test_a_vary_of_the_endpoint_is_kept_whatever_its_form(make_app):
    """In two headers, and in any case of letters."""
    app = make_app()

    @app.get("/two")
    async def two(session: OptionalSession):
        response = Response(headers={"Vary": "Accept"})
        response.headers.append("Vary", "Origin")
        return response

    @app.get("/upper")
    async def upper(session: OptionalSession):
        return Response(headers={"Vary": "AUTHORIZATION"})

    client = client_of(app)
    assert client.get("/two").headers["vary"] == "Accept, Origin, Authorization"
    assert client.get("/upper").headers["vary"] == "AUTHORIZATION"


def test_a_login_that_is_destroyed_in_the_same_request_brings_no_token(make_app):
    """The cookie is cleared and not set; no header carries what is dead."""
    app = make_app(carrier="header,cookie")

    @app.post("/")
    async def work(request: Request):
        session = await login_session(request, "anna")
        await session.destroy()

    response = client_of(app).post("/")
    (cookie,) = response.headers.get_list("set-cookie")
    assert "=; Max-Age=0" in cookie
    assert "authorization" not in response.headers


def test_a_login_takes_all_that_it_is_told(make_app, clock):
    """The times of login_session reach the session, and its cookie, rounded up."""
    app = make_app(carrier="cookie")
    sessions = []

    @app.post("/")
    async def login(request: Request):
        sessions.append(await login_session(request, "anna", expiration=5, max_lifetime=60.5))

    response = client_of(app).post("/")
    assert (sessions[0].expires_at, sessions[0].claims.expires_at) == (clock() + 5, clock() + 61)
    assert "Max-Age=61;" in response.headers["set-cookie"]


def test_the_users_limit_of_the_settings_holds(make_app):
    """A login past it ends the oldest session, in whatever request that was begun."""
    provider = make_app(max_sessions_per_user=2).state.sessions
    for _ in range(3):
        asyncio.run(provider.login("anna"))
    assert asyncio.run(provider.count()) == 2


def test_a_cookie_has_the_attributes_that_are_set(make_app):
    """Each setting reaches the browser, at login and at logout."""
    app = make_app(
        carrier="cookie",
        cookie_name="sid",
        cookie_path="/app",
        cookie_domain="example.com",
        cookie_secure=True,
        cookie_http_only=False,
        cookie_samesite="strict",
    )

    @app.post("/")
    async def work(request: Request, end: bool = False):
        session = await login_session(request, "anna")
        if end:
            await session.destroy()

    attributes = "Path=/app; SameSite=Strict; Domain=example.com; Secure"
    client = client_of(app)
    cookie = client.post("/").headers["set-cookie"]
    assert cookie.startswith("sid=ey")
    assert cookie.endswith(f"; Max-Age=2592000; {attributes}")
    assert client.post("/?end=1").headers["set-cookie"] == f"sid=; Max-Age=0; {attributes}"


def test_a_secure_cookie_is_host_bound_on_the_wire(make_app):
    """Under the name that only this host can have set."""
    app = make_app(carrier="cookie", cookie_secure=True)

    @app.post("/")
    async def login(request: Request):
        await login_session(request, "anna")

    cookie = client_of(app).post("/").headers["set-cookie"]
    assert cookie.startswith("__Host-session_token=ey")
    assert cookie.endswith("; Path=/; SameSite=Lax; Secure; HttpOnly")


def test_the_header_of_the_settings_carries_the_token(make_app):
    """Its whole value, and only that header."""
    app = make_app(header_name="X-Session-Token")

    @app.post("/")
    async def login(request: Request):
        await login_session(request, "anna")

    response = client_of(app).post("/")
    assert response.headers["x-session-token"].startswith("ey")
    assert response.headers["vary"] == "X-Session-Token"
    assert "authorization" not in response.headers


OLD_KEY = "an older key of more than thirty-two bytes"


@pytest.mark.parametrize(
    ("old", "new", "valid"),
    [
        ({"jwt_key": OLD_KEY}, {"jwt_previous_keys": [OLD_KEY]}, True),
        ({"jwt_key": OLD_KEY}, {}, False),
        ({"jwt_key": KEY * 2, "jwt_algorithm": "HS512"}, {"jwt_key": KEY * 2}, False),
        ({"issuer": "other"}, {}, False),
        ({"audience": "other"}, {}, False),
        ({}, {"max_lifetime": 60, "expiration": 60}, False),
        ({}, {}, True),
    ],
)
def test_settings_decide_whose_tokens_are_valid(make_app, old, new, valid):
    """Keys, algorithm, issuer, audience and lifetime of the application that reads."""
    issuing, reading = (make_app(**values).state.sessions for values in (old, new))
    login = asyncio.run(issuing.login("anna"))
    token = login.headers["authorization"].removeprefix("Bearer ")
    assert (reading.tokens.read(token) is not None) == valid


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_each_algorithm_works_without_a_key(make_app, algorithm):
    """The random key is as long as the algorithm needs."""
    provider = make_app(jwt_key=None, jwt_algorithm=algorithm).state.sessions
    assert asyncio.run(provider.login("anna"))


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
    assert caught.value.reason.startswith(f"A cross-origin request from {start}")
    assert 122 <= len(caught.value.reason.encode()) <= 123


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

    with TestClient(app).websocket_connect("/") as socket:
        assert [name for name, _ in socket.extra_headers] == [b"set-cookie"]


def test_authorization_has_a_scheme_however_it_is_written():
    """Names of headers ignore case (RFC 9110 section 5.1)."""
    carrier = HeaderCarrier("authorization")
    assert found(carrier, ("Authorization", "Bearer a.b.c")) == "a.b.c"
    assert injected(carrier)["Authorization"] == "Bearer a.b.c"


@pytest.mark.parametrize("odd", ["\x0b", "\x1c", "\xa0", "\x85"])
def test_only_blanks_are_stripped_after_the_scheme(odd):
    """What HTTP calls white space (RFC 9110 section 5.6.3); the rest makes another token."""
    assert found(HeaderCarrier(), ("Authorization", f"Bearer {odd}a.b.c")) == f"{odd}a.b.c"


def test_each_of_two_headers_is_exposed():
    """A page of another origin can read both."""
    headers = injected(CompositeCarrier(HeaderCarrier(), HeaderCarrier("X-Token")))
    assert headers.getlist("access-control-expose-headers") == ["Authorization", "X-Token"]


def test_an_empty_cookie_before_ours_is_refused():
    """Two cookies of one name, in whichever order."""
    with pytest.raises(CredentialConflict, match="Two cookies"):
        found(CookieCarrier(), ("Cookie", "session_token=; session_token=a.b.c"))


def test_a_cookie_is_read_from_the_cookie_header_only():
    """What another header says of it is no cookie."""
    assert found(CookieCarrier(), ("X-Note", "session_token=a.b.c")) is None


@pytest.mark.parametrize(
    "values",
    [
        {"expiration": 60, "max_lifetime": 60},
        {"renew_interval": 0},
        {**SAFE, "jwt_key": "abcdefgh" * 4},
        {"_env_file": None},
    ],
)
def test_what_only_just_works_is_accepted(values):
    """The bounds themselves are inside; Pydantic's own arguments are no settings."""
    assert SessionSettings(**values)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({**SAFE, "carrier": "header,cookie", "cookie_secure": False}, "COOKIE_SECURE is false"),
        ({**SAFE, "carrier": "header,cookie", "cookie_http_only": False}, "COOKIE_HTTP_ONLY"),
        ({"max_data_bytes": 0}, "max_data_bytes"),
        ({**SAFE, "jwt_key": "abcdefg" * 5}, "JWT_KEY repeats"),
    ],
)
def test_what_is_just_beyond_is_refused(values, told):
    """With the setting's name and what it must be."""
    with pytest.raises(SettingsError, match=told):
        SessionSettings(**values)


def test_no_key_is_told_when_it_is_refused():
    """Neither a short one nor a guessable one."""
    for key in ("k3y-that-is-short", "s3cr3t" * 9):
        with pytest.raises(SettingsError, match="JWT_KEY") as caught:
            SessionSettings(env="production", provider="memory", jwt_key=key)
        assert key[:6] not in str(caught.value)


def test_settings_cannot_be_changed():
    """What was checked stays as it was checked."""
    made = SessionSettings(**SAFE)
    with pytest.raises(ValueError, match="frozen"):
        made.cookie_secure = False


def test_lists_are_read_as_people_write_them(monkeypatch):
    """A comma at the end, a blank before a JSON list."""
    monkeypatch.setenv("MEMSESSION_TRUSTED_ORIGINS", "https://a.example, ")
    assert SessionSettings().trusted_origins == ("https://a.example",)
    monkeypatch.setenv("MEMSESSION_TRUSTED_ORIGINS", ' ["https://a.example"]')
    assert SessionSettings().trusted_origins == ("https://a.example",)


@pytest.mark.parametrize("env", ["development", "test"])
def test_a_cookie_goes_over_plain_http_outside_of_production(env):
    """Or nobody could log in on localhost."""
    assert not SessionSettings(env=env).secure_cookie


async def test_a_sweep_ends_before_the_store_is_closed(make_app):
    """A closed store is not asked any more."""

    class Slow(WatchedStore):
        async def sweep(self, **options):
            self.swept.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.events.append("swept")

    store = Slow()
    async with Lifespan(fast(make_app, store)):
        await asyncio.wait_for(store.swept.wait(), 5)
    assert store.events == ["open", "swept", "aclose"]


async def test_the_store_is_closed_before_the_server_hears_of_the_end(make_app):
    """It may end the process at once."""
    store = WatchedStore()
    lifespan = Lifespan(fast(make_app, store))

    class Outbox(asyncio.Queue):
        async def put(self, message):
            store.events.append(message["type"])
            await super().put(message)

    lifespan.outbox = Outbox()
    async with lifespan:
        pass
    assert store.events == [
        "open", "lifespan.startup.complete", "aclose", "lifespan.shutdown.complete"
    ]  # fmt: skip


async def test_whatever_keeps_a_store_from_opening_stops_the_start(make_app):
    """Also an error that is none of ours."""

    class Broken(WatchedStore):
        async def open(self):
            raise OSError("no such host")

    async with Lifespan(fast(make_app, Broken())) as lifespan:
        assert lifespan.started == {"type": "lifespan.startup.failed", "message": "no such host"}
    assert isinstance(lifespan.error, OSError)


async def test_an_application_that_dies_without_a_word_stops_us_too(make_app):
    """Even one that tells the server nothing."""
    store = WatchedStore()

    async def app(scope, receive, send):
        await receive()
        raise ZeroDivisionError

    async def receive():
        return {"type": "lifespan.startup"}

    provider = make_app(store=store).state.sessions
    middleware = ConnectionMiddleware(app, provider=provider, answers=None)
    with pytest.raises(ZeroDivisionError):
        await middleware({"type": "lifespan"}, receive, None)
    assert store.events == ["open", "aclose"]
    assert not tasks()


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


async def test_claims_are_what_they_were_at_login(provider):
    """Neither the caller's dict nor what an endpoint does to its copy changes them."""
    given = {"role": "user"}
    login = await provider.login("anna", claims=given)
    given["role"] = "admin"
    login.session.claims.data["role"] = "admin"
    await login.session.reload()
    assert login.session.claims.data == {"role": "user"}
    login.session.claims.data["role"] = "admin"
    await login.session.reload()
    assert login.session.claims.data == {"role": "user"}


async def test_a_login_and_its_token_tell_the_same_times(provider, clock):
    """Also in the middle of a second."""
    clock.advance(0.7)
    login = await provider.login("anna")
    token = login.headers["authorization"].removeprefix("Bearer ")
    assert (await provider.open(token)).claims == login.session.claims


async def test_a_login_may_live_as_long_as_any(provider):
    """The bound itself is inside."""
    login = await provider.login("anna", expiration=30 * DAY, max_lifetime=30 * DAY)
    assert login.session.expires_at == START + 30 * DAY


async def test_no_secret_in_the_repr_of_a_login_or_a_record(provider):
    """Neither token nor id, claims or data: reprs end up in logs."""
    login = await provider.login("anna", claims={"plan": "gold"}, data={"secret": "s3cret"})
    await login.session.reload()
    token = login.headers["authorization"].removeprefix("Bearer ")
    for told in (repr(login), repr(login.session.record), repr(login.session)):
        for secret in (token, login.session.id, "gold", "s3cret"):
            assert secret not in told


async def test_a_destroy_that_fails_can_be_repeated(make_app):
    """The session lives on and says so: nobody is told that he is logged out."""

    class Failing(MemoryStore):
        failures = 1

        async def delete(self, *args, **options):
            if self.failures:
                self.failures -= 1
                raise StoreUnavailable("no answer")
            return await super().delete(*args, **options)

    provider = make_app(store=Failing()).state.sessions
    session = (await provider.login("anna")).session
    with pytest.raises(StoreUnavailable):
        await session.destroy()
    assert not session.destroyed
    assert await provider.count() == 1
    await session.destroy()
    assert session.destroyed
    assert await provider.count() == 0


async def test_others_run_while_the_provider_sweeps(provider, clock):
    """It works in chunks, however much has died."""
    for _ in range(2000):
        await provider.login("anna", expiration=5)
    clock.advance(5)
    sweep, turns = asyncio.create_task(provider.sweep()), 0
    while not sweep.done():
        turns += 1
        await asyncio.sleep(0)
    assert sweep.result() == 2000
    assert turns > 3


@pytest.fixture
def tokens(clock):
    return codec(clock)


@pytest.fixture
def token(tokens):
    return tokens.encode(SESSION, {"role": "admin"}, issued_at=START, expires_at=START + DAY)


def test_a_token_without_a_life_is_refused(tokens, token):
    """Not even in the minute that is granted to a clock."""
    with pytest.raises(InvalidToken):
        tokens.decode(resigned(token, iat=int(START) + 30, exp=int(START) + 30))


def test_a_token_may_have_as_many_bytes_as_it_may(tokens, token):
    """4096, and not one more, even if the signature is right."""
    for size in range(2000, 4096):
        data = {"a": "x" * size}
        try:
            longest = tokens.encode(SESSION, data, issued_at=START, expires_at=START + DAY)
        except SessionTooLarge:
            break
    assert len(longest) == MAX_TOKEN_BYTES
    assert tokens.decode(longest).key == SESSION
    longer = resigned(token, data={"a": "x" * 3000})
    assert len(longer) > MAX_TOKEN_BYTES
    with pytest.raises(InvalidToken):
        tokens.decode(longer)


def test_a_key_that_is_refused_is_not_in_the_traceback(clock):
    """Nor is what jose said about it."""
    with pytest.raises(SettingsError) as caught:
        codec(clock, b"-----BEGIN PUBLIC KEY-----\n" + b"x" * 40)
    assert "shared secret" in str(caught.value)
    assert len("".join(traceback.format_exception(caught.value)).split("Traceback")) == 2


class Shelf(BaseModel):
    names: dict[str, int]


class Talkative(BaseModel):
    card: str

    @field_serializer("card")
    def refuse(self, card):
        raise ValueError(f"cannot mask {card}")


def test_no_value_is_in_a_traceback():
    """It is logged: an error that quotes the value is not shown with ours."""
    private = {"names": {"a": "hunter2"}}
    encoded = encode_value(private)
    with pytest.raises(SessionDataError) as caught:
        decode_value_as(encoded, Shelf)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    talkative = Talkative(card="hunter2")
    with pytest.raises(SessionDataError) as caught:
        encode_value(talkative)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("there", "by"), [(b"9223372036854775808", -1), (b"-1", 2**63)])
def test_a_summand_out_of_range_is_refused(there, by):
    """Also if the sum is within."""
    with pytest.raises(SessionDataError, match="out of range"):
        apply_changes({"a": there}, [Increment("a", by)])


def test_a_comparison_sees_the_changes_before_it():
    """And if it fails, the data are as they were."""
    _, result = apply_changes({}, [SetValue("a", b"1"), CompareAndSet("a", b"1", b"2")])
    assert (result.applied, result.values) == (True, (b"1", b"2"))
    after, result = apply_changes(
        {"n": b"1"}, [SetValue("n", b"2"), CompareAndSet("n", b"1", b"3")]
    )
    assert (after, result.applied, result.values) == ({"n": b"1"}, False, (b"1", b"1"))


def test_slots_that_are_gone_are_steps_too():
    """Or a turn after a long quiet could take long."""
    queue = ExpiryQueue()
    for second in range(100):
        queue.remove(str(second), queue.put(str(second), float(second)))
    turns, finished = 0, False
    while not finished:
        _, finished = queue.take(1000, 10)
        turns += 1
    assert turns >= 10


async def test_a_limit_that_is_not_reached_ends_nothing(clock):
    """However near it is."""
    store = MemoryStore()
    for _ in range(5):
        made = mrecord()
        assert await store.create(made, now=START, limit_per_user=5) == []
    assert len(await store.list_user("anna", now=START)) == 5


async def test_a_full_store_makes_no_room_for_who_names_anothers_session():
    """Only a live session of that very user counts as replaced."""
    store = MemoryStore(max_sessions=1)
    made = mrecord()
    await store.create(made, now=START, limit_per_user=None)
    foreign = SessionKey("bert", made.session_id)
    with pytest.raises(StoreFull):
        await store.create(mrecord(), now=START, limit_per_user=None, replacing=foreign)


async def test_an_old_token_that_arrives_late_forgets_nothing(clock):
    """The highest generation that was seen counts: its parent stays refused."""
    store = MemoryStore()
    made = mrecord()
    await store.create(made, now=START, limit_per_user=None)
    await store.rotate(made.key, 0, now=START, grace=10)
    for generation in (1, 0):
        await store.load(made.key, now=START, renew_interval=None, generation=generation)
    assert (await store.rotate(made.key, 0, now=START + 10, grace=10)).outcome == "reused"


async def test_a_failed_comparison_is_none_of_the_limits_business(clock):
    """Nothing is written, so nothing is too large, also when the limit was lowered since."""
    store = MemoryStore()
    made = mrecord()._replace(data={"a": b"12345"})
    await store.create(made, now=START, limit_per_user=None)
    compare = [CompareAndSet("a", b"1", b"2")]
    result = await store.change(made.key, compare, now=START, max_bytes=1)
    assert not result.applied


async def test_a_cancelled_holder_lets_the_next_in(clock):
    """A request that is cancelled under the lock holds up nobody."""
    table = LeaseTable()

    async def enter():
        async with table.hold("a", timeout=5, clock=clock):
            await asyncio.Event().wait()

    holder = asyncio.create_task(enter())
    await asyncio.wait({holder}, timeout=0)
    holder.cancel()
    await asyncio.wait({holder})
    assert len(table) == 0


async def test_who_waits_enters_as_soon_as_the_holders_time_is_over():
    """Not only when its own patience ends."""
    table, clock = LeaseTable(), asyncio.get_running_loop().time
    await table._acquire("a", 0.01, clock)
    async with asyncio.timeout(5):
        assert await table._acquire("a", 60, clock)


async def test_who_waits_in_vain_waits_no_longer_than_it_said(clock):
    """However long the holder may stay."""
    table = LeaseTable()
    await table._acquire("a", 60, clock)
    async with asyncio.timeout(5):
        with pytest.raises(LockTimeout):
            await table._acquire("a", 0.01, clock)


async def test_a_waiter_in_another_thread_is_woken(clock):
    """Its loop sleeps until then, and nothing else wakes it."""
    table, waits, entered = LeaseTable(), threading.Event(), threading.Event()

    async def wait():
        waiting = asyncio.create_task(table._acquire("a", 60, clock))
        await asyncio.wait({waiting}, timeout=0)
        waits.set()
        await waiting
        entered.set()

    lease = await table._acquire("a", 60, clock)
    thread = threading.Thread(target=asyncio.run, args=(wait(),), daemon=True)
    thread.start()
    assert await asyncio.to_thread(waits.wait, 5)
    assert table._release("a", lease, clock())
    assert await asyncio.to_thread(entered.wait, 5)


async def test_an_ending_outlives_its_request(make_app):
    """Although nobody waits for it any more, and nothing else keeps its task alive."""

    class Stuck(MemoryStore):
        async def delete(self, *args, **options):
            reply = asyncio.get_running_loop().create_future()
            self.reply = weakref.ref(reply)
            asked.set()
            await reply
            return await super().delete(*args, **options)

    store, begun, asked = Stuck(), asyncio.Event(), asyncio.Event()
    app = make_app(store=store)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")
        begun.set()
        await asyncio.Event().wait()

    async with calling(app) as client:
        task = asyncio.create_task(client.post("/login"))
        await begun.wait()
        task.cancel()
        await asyncio.wait_for(asked.wait(), 5)
        task.cancel()
        await asyncio.wait({task})
    del task
    gc.collect()
    assert store.reply() is not None
    store.reply().set_result(None)
    await asyncio.wait_for(asyncio.gather(*_under_way), 5)
    assert await app.state.sessions.count() == 0


async def test_a_session_that_ends_during_a_scan_is_passed_over():
    """The scan goes on with those that live."""
    store = MemoryStore()
    records = [await create(store, mrecord()) for _ in range(3)]
    seen = []
    async for info in store.scan(now=START):
        seen.append(info.session_id)
        for made in records:
            if made.session_id != seen[0]:
                await store.delete(made.key, now=START, reason="logout")
    assert len(seen) == 1


async def test_a_dead_session_behind_very_many_used_ones_makes_room():
    """However often the search has to go on."""
    store = MemoryStore(max_sessions=1201)
    for _ in range(1200):
        made = await create(store, mrecord())
        await store.load(made.key, now=START + 60, renew_interval=0)
    await create(store, mrecord(expiration=101))
    await create(store, mrecord(START + 150), START + 150)
    assert await store.count(now=START + 150) == 1201


class TestSiblings:
    """Several workers of one server, each with sessions of its own."""

    @pytest.fixture(autouse=True)
    def _fresh_process(self, monkeypatch, tmp_path):
        monkeypatch.setattr(siblings, "_held", {})
        monkeypatch.setattr(siblings.tempfile, "gettempdir", lambda: str(tmp_path))

    def start(self, caplog):
        caplog.clear()
        asyncio.run(MemoryStore().open())
        return [record.getMessage() for record in caplog.records]

    def test_the_file_is_the_users_own(self, tmp_path, monkeypatch, caplog):
        """Nobody else may open it, whatever the umask is."""
        before = os.umask(0)
        try:
            self.start(caplog)
        finally:
            os.umask(before)
        (file,) = tmp_path.iterdir()
        assert file.stat().st_mode & 0o777 == 0o600

    def test_a_planted_link_is_not_followed(self, tmp_path, caplog):
        """The folder is everybody's: no file of this user's is made or locked elsewhere."""
        siblings._lock_path().symlink_to(tmp_path / "target")
        assert self.start(caplog) == []
        assert not (tmp_path / "target").exists()

    def test_a_sibling_leaves_no_file_open(self, caplog, monkeypatch):
        """However often it starts."""
        self.start(caplog)
        monkeypatch.setattr(siblings, "_held", {})

        def lowest_free():
            file = os.open(os.devnull, os.O_RDONLY)
            os.close(file)
            return file

        before = lowest_free()
        assert len(self.start(caplog)) == 1
        assert lowest_free() == before

    def test_a_forked_worker_is_a_sibling(self, caplog, monkeypatch):
        """It inherits what its parent holds, and holds nothing itself."""
        self.start(caplog)
        monkeypatch.setattr(siblings, "_held", dict.fromkeys([-1], *siblings._held.values()))
        assert len(self.start(caplog)) == 1

    @pytest.mark.parametrize("differs", ["parent", "user", "folder", "command"])
    def test_another_server_is_no_sibling(self, caplog, monkeypatch, tmp_path, differs):
        """Another parent, user, folder or command line makes another server."""
        self.start(caplog)
        monkeypatch.setattr(siblings, "_held", {})
        if differs == "parent":
            monkeypatch.setattr(os, "getppid", lambda: -1)
        elif differs == "user":
            monkeypatch.setattr(os, "getuid", lambda: -1)
        elif differs == "folder":
            monkeypatch.chdir(tmp_path)
        else:
            monkeypatch.setattr(sys, "argv", ["another"])
        assert self.start(caplog) == []
