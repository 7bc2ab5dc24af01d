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
    StoreUnavailable,
    login_session,
    login_session_sync,
    logout_session,
    renew_session,
)
from fastapi_memsession.unbroken import _under_way
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


class Wire:
    """Takes a response; its start only after `go`, as a client does that reads slowly."""

    def __init__(self, *, fails: bool = False) -> None:
        self.come, self.go = asyncio.Event(), asyncio.Event()
        self.start: dict = {}
        self._fails = fails

    async def send(self, message):
        if message["type"] == "http.response.start":
            self.come.set()
            await self.go.wait()
            if self._fails:
                raise OSError("the client is gone")
            self.start = message

    @property
    def token(self) -> str | None:
        headers = dict(self.start.get("headers", ()))
        return headers.get(b"authorization", b"").decode().removeprefix("Bearer ") or None


async def serve(app, wire, path, token):
    """Serve one request whose response goes over a wire."""
    headers = [(b"authorization", f"Bearer {token}".encode())]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    await app({**scope, "headers": headers}, receive, wire.send)


def served_by(make_app, store, work, **values):
    """Make an application whose endpoint does something with the session it came with."""
    app = make_app(store=store, **values)

    @app.post("/")
    async def endpoint(request: Request, session: CurrentSession):
        await work(request, session)

    return app


async def test_no_login_comes_between_a_response_and_its_start(make_app, store):
    """A task that logs in while the start is being sent comes too late, and changes nothing."""
    tasks, wire = [], Wire()

    async def work(request, session):
        async def log_in():
            await wire.come.wait()
            await login_session(request, "bert")

        tasks.append(asyncio.create_task(log_in()))
        await session.update_claims(role="viewer")

    app = served_by(make_app, store, work)
    provider = app.state.sessions
    token = (await provider.login("anna")).tokens.access
    serving = asyncio.create_task(serve(app, wire, "/", token))
    await wire.come.wait()
    with pytest.raises(SessionUsageError, match="after the response started"):
        await tasks[0]
    wire.go.set()
    await serving
    assert await provider.list_sessions("bert") == []
    for each in (token, wire.token):
        assert (await provider.open(each)).user_id == "anna"


async def test_a_login_that_is_stored_too_late_is_undone(make_app, store, monkeypatch):
    """The response started while the store was asked: nobody would have its token."""
    wire, stored, tasks, create = Wire(), asyncio.Event(), [], store.create

    async def slow(*args, **options):
        ended = await create(*args, **options)
        stored.set()
        await wire.come.wait()
        return ended

    async def work(request, _session):
        monkeypatch.setattr(store, "create", slow)
        tasks.append(asyncio.create_task(login_session(request, "bert")))
        await stored.wait()

    app = served_by(make_app, store, work)
    provider = app.state.sessions
    token = (await provider.login("anna")).tokens.access
    wire.go.set()
    await serve(app, wire, "/", token)
    with pytest.raises(SessionUsageError, match="after the response started"):
        await tasks[0]
    assert await provider.list_sessions("bert") == []
    assert (await provider.open(token)).user_id == "anna"


async def log_in_and_regenerate(request, _session):
    await (await login_session(request, "bert")).regenerate()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_start_brings_a_new_session_or_leaves_the_old_one(make_app, store, fails):
    """A login with a new id goes on without who asked: the client has one session, never none."""
    wire, app = Wire(fails=fails), served_by(make_app, store, log_in_and_regenerate)
    provider = app.state.sessions
    old = (await provider.login("anna")).tokens.access
    serving = asyncio.create_task(serve(app, wire, "/", old))
    await wire.come.wait()
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    left = list(_under_way)
    wire.go.set()
    await asyncio.gather(*left, return_exceptions=True)
    assert await provider.count() == 1
    assert (await provider.open(old if fails else wire.token)).user_id == (
        "anna" if fails else "bert"
    )


async def test_a_login_whose_new_id_is_not_to_be_had_is_undone(make_app, store, monkeypatch):
    """The client is told that the store is away, and has the session of before."""

    async def away(*_arguments, **_options):
        raise StoreUnavailable("The store is away.")

    app = served_by(make_app, store, log_in_and_regenerate)
    provider, wire = app.state.sessions, Wire()
    wire.go.set()
    old = (await provider.login("anna")).tokens.access
    monkeypatch.setattr(type(store), "rename", away)
    await serve(app, wire, "/", old)
    assert (wire.start["status"], wire.token) == (503, None)
    assert await provider.count() == 1
    assert (await provider.open(old)).user_id == "anna"


async def test_a_response_brings_its_token_if_the_store_cannot_tell(make_app, store, monkeypatch):
    """Claims were changed, and the token that says so is more likely good than not."""

    async def away(*_arguments, **_options):
        raise StoreUnavailable("The store is away.")

    async def work(_request, session):
        await session.update_claims(role="viewer")
        monkeypatch.setattr(type(store), "load", away)

    app, wire = served_by(make_app, store, work), Wire()
    wire.go.set()
    token = (await app.state.sessions.login("anna")).tokens.access
    await serve(app, wire, "/", token)
    assert wire.token not in (None, token)


async def test_an_ended_session_is_looked_for_in_vain(make_app, store, monkeypatch):
    """Where the store is away just then, the client is told what it would have been told."""

    async def away(*_arguments, **_options):
        raise StoreUnavailable("The store is away.")

    async def work(_request, session):
        await session.update_claims(role="viewer")
        await app.state.sessions.revoke_user("anna")
        monkeypatch.setattr(type(store), "load", away)

    app, wire = served_by(make_app, store, work), Wire()
    wire.go.set()
    token = (await app.state.sessions.login("anna")).tokens.access
    await serve(app, wire, "/", token)
    assert wire.start["status"] == 200
    assert wire.token not in (None, token)


@pytest.mark.parametrize("verb", ["destroy", "confirm"])
async def test_what_happens_while_the_response_looks_is_told_or_refused(
    make_app, store, monkeypatch, verb
):
    """A task beside it: a logout clears the client's token, a new id is not to be had any more."""
    looking, done, load = asyncio.Event(), asyncio.Event(), store.load

    async def slow(*args, **options):
        monkeypatch.setattr(store, "load", load)
        looking.set()
        await done.wait()
        return await load(*args, **options)

    tasks = []

    async def work(_request, session):
        async def beside():
            await looking.wait()
            try:
                await getattr(session, verb)()
            finally:
                done.set()

        tasks.append(asyncio.create_task(beside()))
        await session.update_claims(role="viewer")
        monkeypatch.setattr(store, "load", slow)
        monkeypatch.setattr(store, "version", lambda *_: None)

    app, wire = served_by(make_app, store, work, carrier="header,cookie"), Wire()
    wire.go.set()
    token = (await app.state.sessions.login("anna")).tokens.access
    await serve(app, wire, "/", token)
    cookie = dict(wire.start["headers"])[b"set-cookie"]
    if verb == "confirm":
        with pytest.raises(SessionUsageError, match="no response can bring it"):
            await tasks[0]
        assert wire.token not in (None, token)
    else:
        await tasks[0]
        assert cookie.startswith(b"session_token=; Max-Age=0;")


async def test_events_of_a_new_id_come_before_it_is_undone(make_app, store):
    """Whoever counts by them knows at the end of no session that is not there."""
    app, wire = served_by(make_app, store, log_in_and_regenerate), Wire(fails=True)
    wire.go.set()
    provider, living = app.state.sessions, set()

    @provider.subscribe
    def note(event):
        {"created": living.add, "ended": living.discard}[event.kind](event.session_id)

    token = (await provider.login("anna")).tokens.access
    with suppress(OSError):
        await serve(app, wire, "/", token)
    assert living == {(await provider.open(token)).id}
    assert await provider.count() == 1


async def test_a_cancelled_request_leaves_none_of_its_logins(make_app, store):
    """Also of several, each of which takes a while to end."""
    come = asyncio.Event()

    async def work(request, _session):
        for user in ("anna", "bert", "carl"):
            await login_session(request, user)
        come.set()
        await asyncio.Event().wait()

    app = served_by(make_app, store, work)
    provider = app.state.sessions
    token = (await provider.login("dora")).tokens.access
    serving = asyncio.create_task(serve(app, Wire(), "/", token))
    await come.wait()
    serving.cancel()
    await asyncio.sleep(0)
    serving.cancel()  # and once more, while it cleans up
    with suppress(asyncio.CancelledError):
        await serving
    await asyncio.gather(*_under_way)
    assert await provider.count() == 1
    assert (await provider.open(token)).user_id == "dora"
