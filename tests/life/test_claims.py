"""Claims that change: the record is the authority, and every token follows."""

import pytest
from fastapi import BackgroundTasks, Request

from fastapi_memsession import (
    CurrentSession,
    MemoryStore,
    SessionDataError,
    SessionEnded,
    SessionTooLarge,
    login_session,
)
from tests.conftest import START
from tests.life.client import Tokens


def test_an_update_is_seen_at_once_and_brings_a_fresh_token(client):
    """Once: the token after that says what the record says."""
    tokens = client.log_in(role="viewer")
    response = client.ask("POST", "/claims", tokens, json={"role": "editor", "plan": "gold"})
    assert response.json() == {"role": "editor", "plan": "gold"}
    fresh = client.tokens(response)
    assert fresh.access
    assert fresh.refresh is None
    response = client.ask("GET", "/profile", fresh)
    assert response.json()["role"] == "editor"
    assert client.tokens(response) == Tokens()


def test_claims_that_change_amid_a_login_are_in_its_pair(client):
    """Which comes whole, and in one piece."""

    @client.app.post("/login-as-editor")
    async def login(request: Request):
        session = await login_session(request, "anna", claims={"role": "user"})
        await session.update_claims(role="editor")

    tokens = client.tokens(client.ask("POST", "/login-as-editor"))
    response = client.ask("GET", "/profile", tokens)
    assert response.json()["role"] == "editor"
    assert client.tokens(response) == Tokens()
    assert client.profile(client.renew(tokens))["role"] == "editor"


def test_claims_have_the_times_of_the_token_that_told_them(client, clock):
    """As soon as that is on its way: what runs after the response sees it."""
    times = []

    @client.app.post("/promote")
    async def promote(session: CurrentSession, later: BackgroundTasks):
        clock.advance(10)
        await session.update_claims(role="editor")
        later.add_task(lambda: times.append(session.claims.issued_at))

    tokens = client.log_in()
    client.ask("POST", "/promote", tokens)
    assert times == [START + 10]


def test_none_removes_a_claim(client):
    """And what is not named stays."""
    tokens = client.log_in()
    assert client.ask("POST", "/claims", tokens, json={"a": "1"}).json() == {
        "role": "user",
        "a": "1",
    }
    assert client.ask("POST", "/claims", tokens, json={"role": None}).json() == {"a": "1"}


def test_every_session_of_a_user_follows_and_nobody_is_logged_out(client):
    """With its next request each gets a token that says so; an old one still opens it."""
    mine = [client.log_in("anna", role="admin") for _ in range(3)]
    other = client.log_in("bert", role="admin")
    response = client.ask("POST", "/everywhere/anna", json={"role": "viewer"})
    assert response.json() == 3
    for tokens in mine:
        response = client.ask("GET", "/profile", tokens)
        assert response.json()["role"] == "viewer"
        fresh = client.tokens(response)
        assert fresh.access != tokens.access
        assert client.tokens(client.ask("GET", "/profile", fresh)) == Tokens()
        assert client.ask("GET", "/admin", tokens).status_code == 403
    assert client.profile(other)["role"] == "admin"


def test_a_renewed_pair_says_what_the_record_says(client):
    """However old the refresh token is."""
    tokens = client.log_in(role="admin")
    client.ask("POST", "/everywhere/anna", json={"role": "viewer"})
    renewed = client.renew(tokens)
    response = client.ask("GET", "/profile", renewed)
    assert response.json()["role"] == "viewer"
    assert client.tokens(response) == Tokens()


async def test_claims_that_no_token_can_carry_change_nothing(make_client):
    """In any of the sessions, also if they would fit into some."""
    provider = make_client().app.state.sessions
    small = await provider.login("anna")
    large = await provider.login("anna", claims={"a": "x" * 2000})
    with pytest.raises(SessionTooLarge, match="Keep claims small"):
        await provider.update_claims("anna", b="x" * 1500)
    with pytest.raises(SessionTooLarge):
        await large.session.update_claims(b="x" * 1500)
    with pytest.raises(SessionDataError, match="text by text"):
        await provider.update_claims("anna", b=1)
    with pytest.raises(SessionDataError, match="the name 1 is of type int"):
        await provider.login("anna", claims={1: "x"})
    for login in (small, large):
        session = await provider.open(login.tokens.access)
        assert "b" not in session.claims.data
    assert await provider.update_claims("nobody", b="1") == 0


async def test_two_handles_change_different_claims(make_client):
    """Neither loses the other's, though each knew the claims of before."""
    provider = make_client().app.state.sessions
    login = await provider.login("anna", claims={"a": "1"})
    one, two = [await provider.open(login.tokens.access) for _ in range(2)]
    await one.update_claims(b="2")
    await two.update_claims(c="3")
    assert two.claims.data == {"a": "1", "b": "2", "c": "3"}
    await one.reload()
    assert one.claims.data == two.claims.data


async def test_claims_of_a_session_that_has_ended_are_not_changed(make_client):
    """Its own handle is told why; an update of all passes over it, even if it ends meanwhile."""

    class Racing(MemoryStore):
        async def list_user(self, user_id, *, now):
            infos = await super().list_user(user_id, now=now)
            await self.delete_user(user_id, now=now, keep=infos[-1].session_id, reason="revoked")
            return infos

    provider = make_client(store=Racing()).app.state.sessions
    logins = [await provider.login("anna") for _ in range(2)]
    assert await provider.update_claims("anna", role="viewer") == 1
    ended = 0
    for login in logins:
        try:
            await login.session.update_claims(role="editor")
        except SessionEnded as error:
            ended += 1
            assert error.reason == "revoked"
    assert ended == 1
