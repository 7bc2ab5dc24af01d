"""Tokens that another process of the same application signed, while it is being developed."""

import base64
import json
import logging

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from fastapi_memsession import CurrentSession, SessionSettings, login_session, renew_session
from fastapi_memsession import setup_sessions as set_up
from tests.applications import add_login
from tests.conftest import KEY

TOLD = "in another process"


def process(**values):
    """Make the application anew, with a key of its own."""
    app = FastAPI()
    set_up(app, SessionSettings(**{"env": "test", "refresh": True} | values))
    add_login(app)

    @app.post("/refresh")
    async def refresh(request: Request):
        await renew_session(request)

    return TestClient(app)


def tokens(client):
    return {
        name: value
        for name, value in client.post("/login").headers.items()
        if name in ("authorization", "x-refresh-token")
    }


def warnings(caplog):
    return [each for each in caplog.records if TOLD in each.getMessage()]


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [("GET", "/profile", "authorization"), ("POST", "/refresh", "x-refresh-token")],
)
@pytest.mark.parametrize("env", ["development", "test"])
def test_it_is_told_once(caplog, env, method, path, name):
    """With what to do; the client gets the answer that it gets for any bad token."""
    foreign = tokens(process(env=env))
    client = process(env=env)
    nonsense = client.request(method, path, headers={name: "e30.e30." + "A" * 43})
    assert not warnings(caplog)
    for _ in range(3):
        answer = client.request(method, path, headers={name: foreign[name]})
        assert (answer.status_code, answer.json()) == (401, nonsense.json())
        assert answer.headers["www-authenticate"] == nonsense.headers["www-authenticate"]
    (warning,) = warnings(caplog)
    assert warning.levelno == logging.WARNING
    for advice in ("MEMSESSION_JWT_KEY=", "MEMSESSION_SNAPSHOT="):
        assert advice in warning.getMessage()
    assert foreign[name].removeprefix("Bearer ") not in caplog.text


def test_production_looks_at_nothing(caplog):
    """What does not verify is not read there."""
    foreign = tokens(process())
    client = process(env="production", provider="memory", jwt_key=KEY)
    assert client.get("/profile", headers=foreign).status_code == 401
    assert not warnings(caplog)


def test_expired_tokens_are_no_strangers(caplog, make_app, clock):
    """They verify: of either kind."""
    client = TestClient(make_app(refresh=True))

    @client.app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @client.app.get("/profile")
    async def profile(session: CurrentSession): ...

    @client.app.post("/refresh")
    async def refresh(request: Request):
        await renew_session(request)

    held = tokens(client)
    clock.advance(40 * 24 * 3600)
    assert client.get("/profile", headers=held).status_code == 401
    assert client.post("/refresh", headers=held).status_code == 401
    assert not warnings(caplog)


def encoded(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


HEADER = {"alg": "HS256", "kid": "12345678", "typ": "access+jwt"}
CLAIMS = {"iss": "fastapi-memsession", "aud": "fastapi-memsession"}


@pytest.mark.parametrize(
    ("header", "claims", "told"),
    [
        (HEADER, CLAIMS, True),
        (HEADER | {"typ": "JWT"}, CLAIMS, False),
        (HEADER | {"kid": 7}, CLAIMS, False),
        (HEADER, CLAIMS | {"iss": "other"}, False),
        (HEADER, CLAIMS | {"aud": ["fastapi-memsession"]}, False),
        ([], CLAIMS, False),
        (HEADER, b"[" * 2000, False),
        (HEADER, b"\xff", False),
    ],
)
def test_only_a_token_like_ours_is_told(caplog, header, claims, told):
    """Others come from elsewhere; nothing that can be sent does any harm."""
    token = f"{encoded(header)}.{encoded(claims)}.{'A' * 43}"
    assert process().get("/profile", headers={"Authorization": token}).status_code == 401
    assert bool(warnings(caplog)) == told


@pytest.mark.parametrize("spoil", [lambda token: token[:-5] + "AAAAA", lambda token: token * 20])
def test_our_own_token_spoilt_is_no_stranger(caplog, spoil):
    """Its key is known here; what is too long is not looked into."""
    client = process()
    token = tokens(client)["authorization"].removeprefix("Bearer ")
    assert client.get("/profile", headers={"Authorization": spoil(token)}).status_code == 401
    assert not warnings(caplog)
