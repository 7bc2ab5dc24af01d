"""The start of a response, and what comes between: on every store, over a wire that tests hold.

Whatever fails, or is cancelled, the client has one session that is good, and no other is left.
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
)
from fastapi_memsession.unbroken import _under_way


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


async def away(*_arguments, **_options):
    raise StoreUnavailable("The store is away.")


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
