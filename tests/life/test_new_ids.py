"""A new id for a session: with the response, or not at all."""

import pytest
from fastapi import WebSocket, WebSocketDisconnect

from fastapi_memsession import CurrentSession, MemoryStore, SessionUsageError, StoreUnavailable
from tests.life.client import Tokens, cookies_of


def test_a_session_keeps_what_it_holds_under_its_new_id(client):
    """Also what was written in the same request, before and after."""
    tokens = client.log_in()
    client.ask("POST", "/count", tokens)
    response = client.ask("POST", "/regenerate", tokens)
    before, after = response.json()
    assert before != after
    renewed = client.tokens(response)
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
