"""What waits for a response, and what it brings."""

import asyncio

import pytest
from fastapi import Request, Response
from starlette.datastructures import MutableHeaders

from fastapi_memsession import (
    OptionalSession,
    SessionKey,
    get_optional_session,
    get_session,
    login_session,
)
from fastapi_memsession.answers import Answers
from fastapi_memsession.middleware import ConnectionMiddleware
from tests.applications import CountingStore, calling, client_of, credential
from tests.conftest import START


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


@pytest.mark.parametrize("renamed", [False, True])
async def test_a_login_whose_response_cannot_be_sent_is_undone(make_app, renamed):
    """The start of the response failed, so nobody has the token; under whichever id it is."""
    app = make_app()

    @app.post("/")
    async def login(request: Request):
        session = await login_session(request, "anna")
        if renamed:
            await session.regenerate()

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


@pytest.mark.parametrize("theirs", [b"x-one", b"cache-control"])
async def test_headers_that_can_be_read_once_are_all_sent(make_app, theirs):
    """ASGI asks for no list, and so whatever of ours is there already."""
    app = make_app()

    async def inner(scope, receive, send):
        session = await get_session(Request(scope))
        headers = ((name, session.user_id.encode()) for name in (theirs, b"x-two"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    app.mount("/", inner)
    login = await app.state.sessions.login("anna")
    async with calling(app) as client:
        response = await client.get("/", headers=dict(login.headers))
    assert {theirs.decode(), "x-two", "cache-control", "vary"} == set(response.headers)
    assert response.headers["x-two"] == "anna"


async def test_a_login_beside_the_start_of_a_response_is_what_it_brings(make_app):
    """Another task was faster: it is the session of its user that the client has from then on."""
    app = make_app()

    async def inner(scope, receive, send):
        request, come = Request(scope), asyncio.Event()
        await (await get_session(request)).regenerate()

        async def log_in():
            await come.wait()
            await login_session(request, "bert")

        task = asyncio.create_task(log_in())
        await asyncio.sleep(0)
        come.set()  # it runs before whatever sending the response begins
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        await task

    app.mount("/", inner)
    provider = app.state.sessions
    login = await provider.login("anna")
    async with calling(app) as client:
        response = await client.get("/", headers=dict(login.headers))
    token = response.headers["authorization"].removeprefix("Bearer ")
    assert (await provider.open(token)).user_id == "bert"
    assert await provider.count() == 1


def test_a_response_that_is_sent_again_and_again_stays_as_it_is(make_app):
    """What is added for who has a session is on no other answer."""
    app, kept = make_app(), Response("the same for all")

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.get("/")
    async def read(session: OptionalSession):
        return kept

    @app.get("/about")
    async def about():
        return kept

    client = client_of(app)
    headers = credential(client.post("/login"))
    for _ in range(2):
        for shown in (headers, {}):
            assert client.get("/", headers=shown).headers.get_list("cache-control") == ["no-store"]
        assert "cache-control" not in client.get("/about", headers=headers).headers


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
