"""Looking at the time that is left, without using it up."""

from fastapi import Request

from fastapi_memsession import CurrentSession, login_session
from tests.life.client import Tokens

DAY = 86_400


def test_a_look_extends_nothing(client):
    """However often."""
    tokens = client.log_in()
    for _ in range(3):
        client.clock.advance(100)
        response = client.ask("GET", "/left", tokens)
    assert response.json() == DAY - 300
    assert client.is_told("GET", "/left", Tokens()) == (401, None)


def test_a_look_beside_a_use_is_a_use(make_client):
    """Whichever is asked first: one session for all."""
    client = make_client(renew_interval=50)
    tokens = client.log_in()
    client.clock.advance(100)
    assert client.ask("GET", "/left-and-used", tokens).json() == [DAY, True]


def test_a_login_may_have_times_of_its_own(make_client):
    """Remember me, or remember me not."""
    client = make_client(refresh=False)

    @client.app.post("/short")
    async def short(request: Request):
        await login_session(request, "anna", expiration=60, max_lifetime=90)

    tokens = client.tokens(client.ask("POST", "/short"))
    assert client.ask("GET", "/left", tokens).json() == 60
    client.clock.advance(59)
    assert client.profile(tokens)
    assert client.ask("GET", "/left", tokens).json() == 31
    client.clock.advance(31)
    assert client.is_told("GET", "/left", tokens) == (401, "expired")


def test_a_dead_session_has_no_time_left(make_client):
    """Never less than none."""
    client = make_client()
    tokens = client.log_in()

    @client.app.get("/late-look")
    async def late_look(session: CurrentSession):
        client.clock.advance(2 * DAY)
        return session.expires_in

    assert client.ask("GET", "/late-look", tokens).json() == 0
