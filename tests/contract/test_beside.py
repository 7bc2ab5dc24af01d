"""Requests of one client beside each other, and what outlives its request: on every store.

The client must end up with tokens that are good, and no session may be left that nobody has.
"""

import asyncio
from contextlib import suppress

import pytest
from fastapi import Request

from fastapi_memsession import (
    CurrentSession,
    SessionUsageError,
    login_session,
    login_session_sync,
    logout_session,
    renew_session,
)
from tests.applications import add_login, calling, credential


@pytest.fixture(params=["header", "cookie"])
def carrier(request):
    return request.param


@pytest.fixture
def make(make_app, store, carrier):
    """Make an application that waits where it is told to, until `go` is set."""

    def make(**values):
        app = make_app(store=store, carrier=carrier, **values)
        app.state.come, app.state.go = asyncio.Event(), asyncio.Event()
        add_login(app)

        async def wait():
            app.state.come.set()
            await app.state.go.wait()

        @app.post("/login/slowly")
        async def login_slowly(request: Request):
            await login_session(request, "anna")
            await wait()

        @app.post("/confirm")
        async def confirm(session: CurrentSession):
            await session.confirm()

        @app.get("/slow")
        async def slow(session: CurrentSession):
            await wait()

        @app.post("/claims")
        async def claims(session: CurrentSession):
            await session.update_claims(role="viewer")
            await wait()

        @app.post("/renew")
        async def renew(request: Request):
            await renew_session(request)
            await wait()

        return app

    return make


async def both(app, slow, quick):
    """Let a quick request be answered while a slow one is under way; return both responses."""
    async with calling(app) as client:
        task = asyncio.create_task(client.request(*slow[:2], headers=slow[2]))
        await app.state.come.wait()
        answered = await client.request(*quick[:2], headers=quick[2])
        app.state.go.set()
        return await task, answered


async def profile(app, headers):
    async with calling(app) as client:
        return (await client.get("/profile", headers=headers)).json()


@pytest.mark.parametrize("quick", ["/confirm", "/login"])
@pytest.mark.parametrize("slow", [("GET", "/slow"), ("POST", "/claims"), ("POST", "/renew")])
async def test_a_late_response_brings_no_token_of_a_session_that_moved_on(make, slow, quick):
    """The client has better ones by then, and keeps them."""
    app = make(refresh=True)
    login = await app.state.sessions.login("anna")
    if slow[1] == "/slow":  # so that its response has claims to tell
        await app.state.sessions.update_claims("anna", role="editor")
    had = dict(login.headers)
    if "set-cookie" in had:
        pairs = [each.partition(";")[0] for each in login.headers.getlist("set-cookie")]
        had = {"cookie": "; ".join(pairs)}
    late, first = await both(app, (*slow, had), ("POST", quick, had))
    assert (late.status_code, first.status_code) == (200, 200)
    assert not late.headers.keys() & {"authorization", "set-cookie", "x-refresh-token"}
    assert await profile(app, credential(first)) == "anna"


async def test_a_late_login_that_was_evicted_brings_no_token(make):
    """Of a login that is sent twice, one session is left: that of the token that is there."""
    app = make(max_sessions_per_user=1)
    late, first = await both(app, ("POST", "/login/slowly", {}), ("POST", "/login", {}))
    assert credential(late) == {}
    assert await profile(app, credential(first)) == "anna"


@pytest.mark.parametrize(
    ("carrier", "values", "path"),
    [
        ("header,cookie", {}, "/login"),
        ("cookie", {"refresh": True}, "/login"),
        ("cookie", {"refresh": True}, "/login/again"),
    ],
)
async def test_a_login_ends_every_session_that_it_came_with(make_app, store, carrier, values, path):
    """Also one whose token came beside that of the session that the endpoint has opened."""
    app = make_app(store=store, carrier=carrier, **values)
    add_login(app)

    @app.post("/login/again")
    async def login(request: Request, _session: CurrentSession):
        await login_session(request, "anna")

    provider = app.state.sessions
    one, other = await provider.login("bert"), await provider.login("carl")
    if values:
        tokens = f"session_token={one.tokens.access}; refresh_token={other.tokens.refresh}"
        headers = {"Cookie": tokens}
    else:
        cookie = other.headers["set-cookie"].partition(";")[0]
        headers = {"Authorization": f"Bearer {one.tokens.access}", "Cookie": cookie}
    async with calling(app) as client:
        response = await client.post(path, headers=headers)
    assert response.status_code == 200
    assert [len(await provider.list_sessions(user)) for user in ("anna", "bert", "carl")] == [
        1,
        0,
        0,
    ]


@pytest.mark.parametrize("first", [False, True])
async def test_a_logout_ends_the_session_that_was_opened_and_all_that_came(make_app, store, first):
    """Once each, also where the endpoint has ended its own already; and says whether one lived."""
    app, told = make_app(store=store, carrier="cookie", refresh=True), []

    @app.post("/logout")
    async def logout(request: Request, session: CurrentSession):
        if first:
            await session.destroy()
        told.append(await logout_session(request))

    provider = app.state.sessions
    one, other = await provider.login("bert"), await provider.login("carl")
    tokens = f"session_token={one.tokens.access}; refresh_token={other.tokens.refresh}"
    async with calling(app) as client:
        response = await client.post("/logout", headers={"Cookie": tokens})
    assert response.headers["set-cookie"].startswith("session_token=;")
    assert told == [True]
    assert await provider.count() == 0


async def test_a_login_in_a_thread_that_outlives_its_request_is_refused(make_app, store):
    """Somebody else has answered, and nobody would ever have its token."""
    app = make_app(store=store, max_sessions_per_user=1)
    provider, go, told = app.state.sessions, asyncio.Event(), []
    loop = asyncio.get_running_loop()

    @app.post("/login")
    def login(request: Request):
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        try:
            login_session_sync(request, "anna")
        except SessionUsageError as error:
            told.append(str(error))
            loop.call_soon_threadsafe(over.set)

    over = asyncio.Event()
    phone = await provider.login("anna")

    async def impatient(scope, receive, send):
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await app(scope, receive, send)

    with suppress(AssertionError):  # nothing answers
        async with calling(impatient) as client:
            await client.post("/login")
    go.set()
    await over.wait()
    assert "the request was over" in told[0]
    assert (await provider.open(phone.tokens.access)).user_id == "anna"
    assert await provider.count() == 1
