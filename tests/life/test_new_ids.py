"""A new id for a session: with the response, or not at all."""

import asyncio

import pytest
from fastapi import Request, WebSocket, WebSocketDisconnect

from fastapi_memsession import (
    CurrentSession,
    MemoryStore,
    SessionUsageError,
    StoreUnavailable,
    renew_session,
)
from fastapi_memsession.records import new_session_id
from tests.life.client import Tokens, cookies_of

PATIENCE = 20  # seconds


def test_a_session_keeps_what_it_holds_under_its_new_id(client):
    """Also what was written in the same request, before and after."""
    tokens = client.log_in()
    client.ask("POST", "/count", tokens)
    response = client.ask("POST", "/regenerate", tokens)
    renewed = client.tokens(response)
    (device,) = client.ask("GET", "/sessions", renewed).json()
    assert device["current"]
    assert device["id"] != response.json()
    assert client.profile(renewed)["data"] == {"n": 1, "before": 1, "after": 1}
    assert client.is_told("GET", "/profile", tokens) == (401, "replaced")
    assert client.is_told("POST", "/refresh", tokens) == (401, "replaced")
    assert client.profile(client.renew(renewed))


def test_without_a_response_the_old_id_stays(client, provider):
    """And the new one never was."""
    tokens = client.log_in()
    response = client.ask("POST", "/regenerate?then=fail", tokens)
    assert response.status_code == 500
    assert client.tokens(response) == Tokens()
    assert client.profile(tokens)["data"] == {"n": 0, "before": 1, "after": 1}
    assert len(client.ask("GET", "/sessions", tokens).json()) == 1


def test_destroying_it_afterwards_ends_it(client):
    """Under either id, and the cookies are cleared."""
    tokens = client.log_in()
    response = client.ask("POST", "/regenerate?then=destroy", tokens)
    assert set(cookies_of(response).values()) <= {""}
    assert client.is_told("GET", "/profile", tokens) == (401, "revoked")


@pytest.mark.parametrize("verb", ["regenerate", "confirm"])
def test_once_the_response_has_started_it_is_too_late(client, verb):
    """No header can bring the token any more, so nothing is changed."""
    tokens = client.log_in()
    assert client.ask("POST", f"/late/{verb}", tokens).text == "started,SessionUsageError"
    assert client.profile(tokens)


async def test_without_a_response_to_come_it_is_a_mistake(make_client):
    """A session that the provider opened has nobody to tell."""
    provider = make_client().app.state.sessions
    login = await provider.login("anna")
    session = await provider.open(login.tokens.access)
    with pytest.raises(SessionUsageError, match="no response can bring it"):
        await session.regenerate()


def test_a_store_that_fails_at_the_last_moment_is_a_503(make_client):
    """Instead of a response that claims success; the session is as it was."""

    class Failing(MemoryStore):
        async def rename(self, *_, **__):
            raise StoreUnavailable("gone for a moment")

    client = make_client(store=Failing())
    tokens = client.log_in()
    response = client.ask("POST", "/regenerate", tokens)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert "try again" in response.json()["detail"]
    assert client.tokens(response) == Tokens()
    assert client.profile(tokens)


def test_a_session_that_ends_meanwhile_gets_no_token(make_client, clock):
    """The response goes out as it is; the next request is told."""

    class Racing(MemoryStore):
        async def rename(self, key, *arguments, **more):
            await self.delete(key, now=clock(), reason="revoked")
            return await super().rename(key, *arguments, **more)

    client = make_client(store=Racing())
    tokens = client.log_in()
    response = client.ask("POST", "/regenerate", tokens)
    assert response.status_code == 200
    assert client.tokens(response) == Tokens()
    assert client.is_told("GET", "/profile", tokens) == (401, "revoked")


def test_a_socket_that_gets_no_new_id_is_closed(make_client):
    """The store fails when it is accepted: told to come back, and the session is as it was."""

    class Failing(MemoryStore):
        async def rename(self, *_, **__):
            raise StoreUnavailable("gone for a moment")

    client = make_client(store=Failing())

    @client.app.websocket("/socket")
    async def socket(websocket: WebSocket, session: CurrentSession):
        await session.regenerate()
        await websocket.accept()

    tokens = client.log_in()
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.client.websocket_connect("/socket", headers=client.headers(tokens)),
    ):
        pytest.fail("accepted")
    assert caught.value.code == 1013
    assert client.profile(tokens)


def test_until_the_response_the_session_has_its_old_id(client, provider):
    """Which is what the store knows it by: to spare it, and to find it in a list."""
    app = client.app

    @app.post("/password")
    async def password(session: CurrentSession):
        await session.confirm()
        listed = [info.session_id for info in await provider.list_sessions(session.user_id)]
        ended = await provider.revoke_user(session.user_id, keep=session.id)
        return [session.id in listed, len(ended)]

    other, tokens = client.log_in(), client.log_in()
    response = client.ask("POST", "/password", tokens)
    assert response.json() == [True, 1]
    assert client.profile(client.tokens(response))
    assert client.is_told("GET", "/profile", other) == (401, "revoked")


def test_a_request_beside_goes_on_under_the_new_id(client, provider):
    """To its end: reads, writes, claims; but it brings its client no token of the new id."""
    app = client.app

    @app.post("/beside/{verb}")
    async def beside(request: Request, session: CurrentSession, verb: str):
        before = session.record
        if verb == "regenerate-first":
            await session.regenerate()
        if verb == "renew-first":
            await renew_session(request)
        for _ in range(2):
            last = session.record.key
            await provider.store.rename(last, new_session_id(), now=client.clock())
            await session.incr("n")
        await session.reload()
        await session.update_claims(role="editor")
        await provider.store.rename(session.record.key, new_session_id(), now=client.clock())
        await session.refresh()
        if verb == "regenerate":
            await session.regenerate()
        seen = [before.session_id != session.id, await session.get("n"), session.claims.data]
        if verb == "destroy":
            await session.destroy()
        return seen

    for verb in ("read", "regenerate-first", "renew-first"):
        tokens = client.log_in()
        response = client.ask("POST", f"/beside/{verb}", tokens)
        assert response.json() == [True, 2, {"role": "editor"}]
        assert client.tokens(response) == Tokens()
        assert client.is_told("GET", "/profile", tokens) == (401, "replaced")

    tokens = client.log_in("bert")
    response = client.ask("POST", "/beside/regenerate", tokens)
    assert (response.status_code, response.json()["reason"]) == (401, "replaced")
    assert client.tokens(response) == Tokens()

    tokens = client.log_in("carl")
    assert client.ask("POST", "/beside/destroy", tokens).status_code == 200
    live = client.client.portal.call(provider.list_sessions, "carl")
    assert live == []


async def test_who_is_cancelled_amid_a_new_id_brings_the_token_first(make_app, clock):
    """The store has the new id by then: without a token for it the session would be lost."""
    renaming, started, heard = (asyncio.Event() for _ in range(3))

    class Slow(MemoryStore):
        async def rename(self, *arguments, **more):
            record = await super().rename(*arguments, **more)
            renaming.set()
            for _ in range(20):
                await asyncio.sleep(0)
            return record

    app = make_app(store=Slow())
    told = []

    @app.post("/")
    async def regenerate(session: CurrentSession):
        await session.regenerate()

    async def listen(event):
        told.append(event.kind)
        heard.set()
        await asyncio.Event().wait()  # a handler may take for ever

    provider = app.state.sessions
    token = (await provider.login("anna")).tokens.access
    provider.subscribe(listen)
    sent = []

    async def send(message):
        sent.append(message)
        started.set()

    async def receive():
        return {"type": "http.request"}

    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }  # fmt: skip
    request = asyncio.create_task(app(scope, receive, send))
    await renaming.wait()
    for _ in range(3):
        request.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await request  # at once, whatever the others do
    async with asyncio.timeout(PATIENCE):
        await started.wait()
    fresh = dict(sent[0]["headers"])[b"authorization"].decode().removeprefix("Bearer ")
    assert (await provider.open(fresh)).user_id == "anna"
    await heard.wait()
    assert told == ["created"]
