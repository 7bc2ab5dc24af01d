"""What settings make of an application."""

import asyncio

import pytest
from fastapi import FastAPI, Request

from fastapi_memsession import (
    Credential,
    CurrentSession,
    SessionStore,
    SessionUsageError,
    login_session,
    setup_sessions,
)
from tests.applications import client_of
from tests.conftest import KEY, settings


def test_a_cookie_has_the_attributes_that_are_set(make_app):
    """Each setting reaches the browser, at login and at logout."""
    app = make_app(
        carrier="cookie",
        cookie_name="sid",
        cookie_path="/app",
        cookie_domain="example.com",
        cookie_secure=True,
        cookie_http_only=False,
        cookie_samesite="strict",
    )

    @app.post("/")
    async def work(request: Request, end: bool = False):
        session = await login_session(request, "anna")
        if end:
            await session.destroy()

    attributes = "Path=/app; SameSite=Strict; Domain=example.com; Secure"
    client = client_of(app)
    cookie = client.post("/").headers["set-cookie"]
    assert cookie.startswith("__Secure-sid=ey")
    assert cookie.endswith(f"; Max-Age=2592000; {attributes}")
    gone = f"__Secure-sid=; Max-Age=0; {attributes}"
    assert client.post("/?end=1").headers["set-cookie"] == gone


def test_a_secure_cookie_is_host_bound_on_the_wire(make_app):
    """Under the name that only this host can have set."""
    app = make_app(carrier="cookie", cookie_secure=True)

    @app.post("/")
    async def login(request: Request):
        await login_session(request, "anna")

    cookie = client_of(app).post("/").headers["set-cookie"]
    assert cookie.startswith("__Host-session_token=ey")
    assert cookie.endswith("; Path=/; SameSite=Lax; Secure; HttpOnly")


def test_the_header_of_the_settings_carries_the_token(make_app):
    """Its whole value, and only that header."""
    app = make_app(header_name="X-Session-Token")

    @app.post("/")
    async def login(request: Request):
        await login_session(request, "anna")

    response = client_of(app).post("/")
    assert response.headers["x-session-token"].startswith("ey")
    assert response.headers["vary"] == "X-Session-Token"
    assert "authorization" not in response.headers


OLD_KEY = "an older key of more than thirty-two bytes"


@pytest.mark.parametrize(
    ("old", "new", "valid"),
    [
        ({"jwt_key": OLD_KEY}, {"jwt_previous_keys": [OLD_KEY]}, True),
        ({"jwt_key": OLD_KEY}, {}, False),
        ({"jwt_key": KEY * 2, "jwt_algorithm": "HS512"}, {"jwt_key": KEY * 2}, False),
        ({"issuer": "other"}, {}, False),
        ({"audience": "other"}, {}, False),
        ({}, {"max_lifetime": 60, "expiration": 60}, False),
        ({}, {}, True),
    ],
)
def test_settings_decide_whose_tokens_are_valid(make_app, old, new, valid):
    """Keys, algorithm, issuer, audience and lifetime of the application that reads."""
    issuing, reading = (make_app(**values).state.sessions for values in (old, new))
    login = asyncio.run(issuing.login("anna"))
    token = login.headers["authorization"].removeprefix("Bearer ")
    assert (reading.tokens.read(token) is not None) == valid


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_each_algorithm_works_without_a_key(make_app, algorithm):
    """The random key is as long as the algorithm needs."""
    provider = make_app(jwt_key=None, jwt_algorithm=algorithm).state.sessions
    assert asyncio.run(provider.login("anna"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"env": "development", "redis_url": "redis://elsewhere"}, True),
        ({"env": "development", "redis_url": "redis://elsewhere", "provider": "memory"}, False),
        ({"env": "test", "redis_url": "redis://elsewhere"}, False),
        ({"env": "development"}, False),
    ],
)
def test_an_address_of_redis_that_is_not_used_is_told(make_app, caplog, values, told):
    """In development, unless memory was asked for by name."""
    make_app(**values)
    assert ("MEMSESSION_REDIS_URL is set" in caplog.text) == told


def test_what_is_no_store_or_carrier_is_told(make_app):
    """At set-up, not at the first request."""
    with pytest.raises(SessionUsageError, match="A dict is no SessionStore"):
        make_app(store={})
    with pytest.raises(SessionUsageError, match="A str is no TokenCarrier"):
        make_app(carrier_object="cookie")

    class Unfinished(SessionStore):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()


def test_setup_is_once_and_before_the_start(make_app):
    """Both mistakes are told."""
    app = make_app()
    with pytest.raises(SessionUsageError, match="twice"):
        setup_sessions(app, settings())
    started = FastAPI()
    client_of(started).get("/")
    with pytest.raises(SessionUsageError, match="after the application started"):
        setup_sessions(started, settings())


def test_a_carrier_of_the_users_own(make_app):
    """Any object that follows the protocol; here the token travels in a form that nobody knows."""

    class Reversed:
        ambient = False
        vary = ("X-Reversed",)

        def extract(self, connection):
            value = connection.headers.get("x-reversed")
            return Credential(value[::-1]) if value else None

        def inject(self, headers, token, *, max_age):
            headers["X-Reversed"] = token[::-1]

        def clear(self, headers):
            headers["X-Reversed"] = "none"

    app = make_app(carrier_object=Reversed())

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.post("/logout")
    async def logout(session: CurrentSession):
        await session.destroy()

    client = client_of(app)
    response = client.post("/login")
    headers = {"X-Reversed": response.headers["x-reversed"]}
    response = client.post("/logout", headers=headers)
    assert (response.status_code, response.headers["x-reversed"]) == (200, "none")
    assert response.headers["vary"] == "X-Reversed"
