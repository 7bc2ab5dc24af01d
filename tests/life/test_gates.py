"""Gates: who may do what, and how lately they proved who they are."""

from datetime import timedelta

import pytest

from fastapi_memsession import SessionUsageError, require
from tests.life.client import Tokens


def test_a_role_opens_a_gate(client):
    """Without it 403 and a body that says what is missing; without a session 401."""
    assert client.ask("GET", "/admin", client.log_in(role="admin")).json() == "anna"
    response = client.ask("GET", "/admin", client.log_in(role="user"))
    assert response.status_code == 403
    assert response.json() == {"detail": "This needs role to be admin.", "reason": "claims"}
    assert "www-authenticate" not in response.headers
    assert client.is_told("GET", "/admin", Tokens()) == (401, None)


def test_one_of_several_values_is_enough(client):
    """And a claim that is not there is none of them."""
    for role, status in (("admin", 200), ("editor", 200), ("user", 403)):
        assert client.ask("GET", "/staff", client.log_in(role=role)).status_code == status
    tokens = client.log_in()
    client.ask("POST", "/claims", tokens, json={"role": None})
    response = client.ask("GET", "/staff", tokens)
    assert response.json()["detail"] == "This needs role to be admin or editor."


def test_step_up(client):
    """A login is a proof; once it is too old another one is asked for, which brings a new id."""
    tokens = client.log_in()
    assert client.ask("GET", "/fresh", tokens).json() is True
    client.clock.advance(300)
    response = client.ask("GET", "/fresh", tokens)
    assert response.status_code == 403
    assert response.json() == {
        "detail": "Prove again who you are, then try this again.",
        "reason": "confirmation",
        "max_age": 300,
    }
    assert response.headers["www-authenticate"] == (
        'Bearer error="insufficient_user_authentication", max_age="300"'
    )
    response = client.ask("POST", "/confirm", tokens)
    assert response.json() == client.clock()
    confirmed = client.tokens(response)
    assert client.ask("GET", "/fresh", confirmed).status_code == 200
    assert client.is_told("GET", "/profile", tokens) == (401, "replaced")
    client.clock.advance(299)
    assert client.ask("GET", "/fresh", confirmed).status_code == 200
    client.clock.advance(1)
    assert client.ask("GET", "/fresh", confirmed).status_code == 403


def test_renewing_tokens_proves_nothing(client):
    """A refresh token may be stolen as well."""
    tokens = client.log_in()
    client.clock.advance(300)
    assert client.ask("GET", "/fresh", client.renew(tokens)).status_code == 403


def test_a_gate_costs_no_second_load(make_client, monkeypatch):
    """However many there are, and whoever else asks for the session."""
    client = make_client()
    store = client.app.state.sessions.store
    tokens, loads, load = client.log_in(), [], store.load

    async def counted(*arguments, **more):
        loads.append(arguments)
        return await load(*arguments, **more)

    monkeypatch.setattr(store, "load", counted)
    assert client.ask("GET", "/fresh", tokens).status_code == 200
    assert len(loads) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"fresh": 0},
        {"fresh": timedelta(seconds=-1)},
        {"fresh": "60"},
        {"role": 5},
        {"role": {1, "admin"}},
    ],
)
def test_a_gate_that_cannot_be_meant_is_a_mistake(wrong):
    """It would stand open, or never open."""
    with pytest.raises(SessionUsageError):
        require(**wrong)
