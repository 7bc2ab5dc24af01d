"""Devices: what a user sees of the own sessions, and how they are ended."""

import pytest
from fastapi import Request

from fastapi_memsession import SessionEnded, login_session
from tests.life.client import Tokens, told, watch

PHONE = {"User-Agent": "Phone/1.0 \x7f"}


def test_a_user_sees_the_own_sessions(client):
    """Oldest first, with what is known of the device, and which one is this."""
    first = client.tokens(client.ask("POST", "/login/anna", headers=PHONE))
    client.clock.advance(5)
    second = client.log_in()
    client.log_in("bert")
    devices = client.ask("GET", "/sessions", second).json()
    assert [device["current"] for device in devices] == [False, True]
    assert [device["user_agent"] for device in devices] == ["Phone/1.0 ?", "testclient"]
    assert devices[0]["address"] == "testclient"
    assert devices[0]["created_at"] == client.clock() - 5
    assert devices[1]["expires_at"] == client.clock() + 86_400
    assert client.ask("GET", "/sessions", first).json()[0]["current"] is True
    assert client.is_told("GET", "/sessions", Tokens()) == (401, None)


def test_devices_need_not_be_recorded(make_client):
    """One setting keeps neither."""
    client = make_client(record_devices=False)
    tokens = client.log_in()
    (device,) = client.ask("GET", "/sessions", tokens).json()
    assert (device["user_agent"], device["address"]) == (None, None)


def test_a_long_user_agent_is_cut(make_client):
    """It is the client's text, and a session is no place for a novel."""
    client = make_client()
    tokens = client.tokens(client.ask("POST", "/login/anna", headers={"User-Agent": "x" * 5000}))
    (device,) = client.ask("GET", "/sessions", tokens).json()
    assert device["user_agent"] == "x" * 256


def test_ending_one_device(client):
    """Mine, and no one else's; my own is a logout."""
    mine, berts = client.log_in(), client.log_in("bert")
    client.clock.advance(1)
    other = client.log_in()
    first, second = client.ask("GET", "/sessions", mine).json()
    (foreign,) = client.ask("GET", "/sessions", berts).json()
    for wrong in (foreign["id"], "unknown"):
        response = client.ask("DELETE", f"/sessions/{wrong}", mine)
        assert response.status_code == 404
        assert response.json() == {"detail": "The user has no such session"}
    assert client.ask("DELETE", f"/sessions/{second['id']}", mine).status_code == 204
    assert client.is_told("GET", "/profile", other) == (401, "revoked")
    assert client.profile(berts)
    response = client.ask("DELETE", f"/sessions/{first['id']}", mine)
    assert response.status_code == 204
    assert ("Max-Age=0" in str(response.headers)) == ("cookie" in client.carrier)
    assert client.is_told("GET", "/profile", mine) == (401, "revoked")


def test_ending_all_others(client):
    """This one stays."""
    others = [client.log_in() for _ in range(3)]
    mine, berts = client.log_in(), client.log_in("bert")
    assert client.ask("DELETE", "/sessions", mine).json() == {"ended": 3}
    assert client.profile(mine)
    assert client.profile(berts)
    for tokens in others:
        assert client.is_told("GET", "/profile", tokens) == (401, "revoked")


def test_too_many_devices(make_client, carrier):
    """The oldest makes room, and is told so."""
    client = make_client(carrier, max_sessions_per_user=2)
    held = []
    for _ in range(3):
        held.append(client.log_in())
        client.clock.advance(1)
    assert client.is_told("GET", "/profile", held[0]) == (401, "evicted")
    assert client.is_told("POST", "/refresh", held[0]) == (401, "evicted")
    assert client.profile(held[1])
    assert client.profile(held[2])


async def test_the_provider_ends_one_or_all(make_client):
    """For an administrator, who has no session of that user."""
    provider = make_client().app.state.sessions
    sessions = [(await provider.login("anna")).session for _ in range(3)]
    ids = [session.id for session in sessions]
    assert not await provider.revoke(ids[0], user_id="bert")
    assert await provider.revoke(ids[0], user_id="anna")
    assert not await provider.revoke(ids[0], user_id="anna")
    assert await provider.revoke_user("anna", keep=ids[1]) == [ids[2]]
    assert [info.session_id for info in await provider.list_sessions("anna")] == [ids[1]]
    with pytest.raises(SessionEnded) as caught:
        await sessions[2].set("a", 1)
    assert caught.value.reason == "revoked"


def test_logging_out_everywhere_stops_a_login_under_way(make_client, store, clock):
    """Its password was looked at before, and may be the old one; events hear of it."""
    client = make_client()

    @client.app.post("/slow-login")
    async def slow_login(request: Request):
        clock.advance(1)  # somebody else, meanwhile: straight in the store
        await store.delete_user("anna", now=clock(), reason="revoked")
        clock.advance(1)
        await login_session(request, "anna")

    seen = watch(client)
    response = client.ask("POST", "/slow-login")
    assert (response.status_code, response.json()["reason"]) == (401, "revoked")
    assert client.tokens(response) == Tokens()
    assert told(seen) == [("refused", "anna", "revoked")]
    assert client.profile(client.log_in())


def test_whoever_logs_out_everywhere_and_then_in_is_not_stopped(make_client, clock):
    """As after a change of the password: in one request."""
    client = make_client()
    provider = client.app.state.sessions
    before = client.log_in()

    @client.app.post("/new-password")
    async def new_password(request: Request):
        clock.advance(1)
        await provider.revoke_user("anna")
        await login_session(request, "anna")

    tokens = client.tokens(client.ask("POST", "/new-password"))
    assert client.profile(tokens)
    assert client.is_told("GET", "/profile", before) == (401, "revoked")
