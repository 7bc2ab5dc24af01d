"""The plugin's login: the client sends the tokens by itself, however they travel."""

from contextlib import nullcontext

import anyio
import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.middleware.gzip import GZipMiddleware

from fastapi_memsession import SessionDataError, SessionUsageError, StoreFull


def async_client(app, base_url="http://testserver") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url)


@pytest.fixture(params=[False, True], ids=["access", "refresh"])
def app(request, carrier, make_plain_app) -> FastAPI:
    return make_plain_app(carrier=carrier, refresh=request.param)


@pytest.mark.parametrize("started", [False, True])
def test_a_test_client_is_logged_in(app, login_as, started):
    """With or without the application's lifespan; with claims and data, and no login endpoint."""
    client = TestClient(app)
    with client if started else nullcontext():
        assert client.get("/profile").status_code == 401
        session = login_as(client, "anna", claims={"role": "admin"}, data={"n": 1})
        assert session.user_id == "anna"
        assert client.get("/profile").json() == {"user": "anna", "role": "admin", "n": 1}
        assert client.get("/sessions").json()[0]["user_agent"] == "testclient"


async def test_an_async_client_is_logged_in(app, login_as):
    """On the loop of the test; and the session can be worked with."""
    async with async_client(app) as client:
        assert (await client.get("/profile")).status_code == 401
        session = await login_as(client, "anna", claims={"role": "admin"}, data={"n": 1})
        await session.incr("n")
        answer = await client.get("/profile")
        assert answer.json() == {"user": "anna", "role": "admin", "n": 2}


def test_an_async_client_needs_no_plugin(app, login_as):
    """Nor a loop that runs already."""

    async def test():
        async with async_client(app) as client:
            await login_as(client, "anna")
            return (await client.get("/profile")).status_code

    assert anyio.run(test) == 200


def test_the_client_goes_on_with_the_tokens_that_come_later(carrier, make_plain_app, login_as):
    """After a renewal, and after claims have changed; a second renewal shows that it sent them."""
    client = TestClient(make_plain_app(carrier=carrier, refresh=True))
    login_as(client, "anna", claims={"role": "admin"})
    for role in ("editor", "viewer"):
        assert client.post("/refresh").status_code == 200
        client.post("/claims", json={"role": role}).raise_for_status()
        assert client.get("/profile").json() == {"user": "anna", "role": role}
    client.post("/refresh").raise_for_status()
    client.get("/profile").raise_for_status()


async def test_an_async_client_goes_on_too(carrier, make_plain_app, login_as):
    """The same, on the loop of the test."""
    async with async_client(make_plain_app(carrier=carrier, refresh=True)) as client:
        await login_as(client, "anna")
        for _ in range(3):
            assert (await client.post("/refresh")).status_code == 200
            assert (await client.get("/profile")).status_code == 200


def test_the_next_login_changes_the_user(app, login_as):
    """Of the client; the session before is left alone, as it was another device's."""
    client = TestClient(app)
    login_as(client, "anna")
    login_as(client, "bert")
    assert client.get("/profile").json() == {"user": "bert"}
    login_as(client, "anna")
    assert len(client.get("/sessions").json()) == 2


def test_another_client_is_not_logged_in(app, login_as):
    """Each client has tokens of its own."""
    one, other = TestClient(app), TestClient(app)
    login_as(one, "anna")
    assert other.get("/profile").status_code == 401


@pytest.mark.parametrize("carrier", ["cookie", "header,cookie"])
def test_secure_cookies_need_https(make_plain_app, login_as, carrier):
    """One is told, nobody is logged in; with the address that is named it works."""
    app = make_plain_app(carrier=carrier, cookie_secure=True, refresh=True)
    with pytest.raises(SessionUsageError) as caught:
        login_as(TestClient(app), "anna")
    assert str(caught.value) == (
        "The application's cookie '__Host-session_token' is not sent to 'http://testserver': it "
        'is Secure. Make the client with base_url="https://testserver".'
    )
    client = TestClient(app, base_url="https://testserver")
    login_as(client, "anna")
    assert client.get("/profile").json() == {"user": "anna"}
    assert len(client.get("/sessions").json()) == 1


def test_cookies_of_another_host_are_not_sent(make_plain_app, login_as):
    """The message names the host; below a path of their own they are sent there."""
    app = make_plain_app(carrier="cookie", cookie_domain="example.com")
    with pytest.raises(SessionUsageError, match=r'base_url="http://example\.com"'):
        login_as(TestClient(app), "anna")
    app = make_plain_app(carrier="cookie", cookie_path="/profile")
    client = TestClient(app)
    login_as(client, "anna")
    assert client.get("/profile").status_code == 200
    assert client.get("/sessions").status_code == 401


async def test_cookies_need_an_address(make_plain_app, login_as):
    """Which httpx.AsyncClient has not by itself; a header needs none."""
    async with async_client(make_plain_app(carrier="cookie"), base_url="") as client:
        with pytest.raises(SessionUsageError, match='base_url="http://testserver"'):
            await login_as(client, "anna")
    async with async_client(make_plain_app(), base_url="") as client:
        await login_as(client, "anna")
        assert (await client.get("http://any/profile")).status_code == 200


def test_an_application_inside_a_middleware_is_found(plain_app, login_as):
    """However many there are around it."""
    client = TestClient(GZipMiddleware(GZipMiddleware(plain_app)))
    login_as(client, "anna")
    assert client.get("/profile").status_code == 200


def test_the_application_can_be_named(plain_app, login_as):
    """Where the client does not show it, and where it shows another."""

    async def hidden(scope, receive, send):
        await plain_app(scope, receive, send)

    client = TestClient(hidden)
    with pytest.raises(SessionUsageError, match="No sessions were set up for this function"):
        login_as(client, "anna")
    login_as(client, "anna", app=plain_app)
    assert client.get("/profile").status_code == 200
    with httpx.Client() as elsewhere:
        with pytest.raises(SessionUsageError, match="app=app"):
            login_as(elsewhere, "anna")
        login_as(elsewhere, "anna", app=plain_app)
        assert "authorization" in elsewhere.headers


def test_what_no_login_takes_is_refused(make_plain_app, login_as):
    """With the errors of login_session."""
    client = TestClient(make_plain_app(max_sessions=1))
    with pytest.raises(SessionDataError):
        login_as(client, "")
    assert "authorization" not in client.headers
    login_as(client, "anna")
    with pytest.raises(StoreFull):
        login_as(client, "bert")
