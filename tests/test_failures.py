"""What goes wrong, in a request or in the store: the answer says so, and nothing is half done."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from fastapi_memsession import (
    CurrentSession,
    NotAuthenticated,
    OptionalSession,
    SessionError,
    StoreUnavailable,
    get_optional_session,
    get_session,
    login_session,
)
from fastapi_memsession.unbroken import _under_way
from tests.applications import CountingStore, add_login, calling, client_of, credential


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
    add_login(app)
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
