"""The example app, as clients of each carrier see it, and as it starts from a command line."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
from fastapi.testclient import TestClient

from fastapi_memsession import Session, SessionSettings

RIGHT = {"username": "admin", "password": "123456"}
DATA = {"login_time": 1_764_000_000, "login_ip": "testclient"}


@pytest.fixture
def example():
    """The module. Imported late: it makes an application with what the environment says."""
    return import_module("example_app.main")


@pytest.fixture(params=["header", "cookie"])
def carrier(request) -> str:
    return request.param


@pytest.fixture(params=["memory", "redis"])
def store_settings(request) -> dict[str, str]:
    """Settings that say where sessions are kept; in Redis, apart from other tests' sessions."""
    if request.param == "memory":
        return {"provider": "memory"}
    url, prefix = request.getfixturevalue("redis_url"), f"example-{secrets.token_hex(8)}"
    return {"provider": "redis", "redis_url": url, "redis_prefix": prefix}


@pytest.fixture
def client(example, carrier, store_settings) -> Iterator[TestClient]:
    app = example.create_app(SessionSettings(env="test", carrier=carrier, **store_settings))
    with TestClient(app) as client:
        yield client


@pytest.fixture
def log_in(client, login_as) -> Callable[[], Session]:
    """Log the client in as the application does, and without its login."""
    return lambda: login_as(client, "user_123", claims={"role": "admin"}, data=DATA)


def test_login(client):
    """The right credentials are answered with who has logged in."""
    response = client.post("/login", json=RIGHT)
    assert response.status_code == 200
    assert response.json() == {"user_id": "user_123"}


def test_token(client, carrier):
    """The token comes by the carrier of the settings, and by no other."""
    response = client.post("/login", json=RIGHT)
    assert ("Authorization" in response.headers) == (carrier == "header")
    assert ("Set-Cookie" in response.headers) == (carrier == "cookie")


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "1234567"},
        {"password": "12345"},
        {"username": "Admin"},
        {"username": "ädmin"},
        {"username": "admin ", "password": "654321"},
    ],
)
def test_wrong_credentials(client, wrong):
    """Any wrong credentials get the same answer, and no session."""
    response = client.post("/login", json=RIGHT | wrong)
    assert response.status_code == 401
    assert response.json() == {"detail": "Wrong username or password"}
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/profile").status_code == 401


@pytest.mark.parametrize(
    "malformed",
    [
        {},
        {"username": "admin"},
        RIGHT | {"password": None},
        RIGHT | {"password": 123456},
        RIGHT | {"password": ""},
        RIGHT | {"username": "a" * 65},
        RIGHT | {"password": "1" * 129},
    ],
)
def test_malformed_login(client, malformed):
    """What are no credentials, or too long ones, is refused unread."""
    assert client.post("/login", json=malformed).status_code == 422


@pytest.mark.parametrize("password", ['"\\ud800"', "NaN", f'"{"secret" * 50}"'])
def test_malformed_password(client, password):
    """What is refused is not repeated, not even if no answer could hold it."""
    body = f'{{"username": "admin", "password": {password}}}'
    response = client.post("/login", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    (problem,) = response.json()["detail"]
    assert problem["loc"] == ["body", "password"]
    assert "secret" not in response.text


def test_profile_without_session(client):
    """Without a session there is no profile."""
    assert client.get("/profile").status_code == 401


def test_profile(client):
    """The profile shows user, claims, login and times of the session."""
    before = int(time.time())
    keep_tokens(client, client.post("/login", json=RIGHT))
    response = client.get("/profile")
    after = time.time()
    assert response.status_code == 200
    profile = response.json()
    assert before <= profile.pop("login_time") <= after
    created_at, expires_at = profile.pop("created_at"), profile.pop("expires_at")
    assert before <= created_at <= after
    assert expires_at == created_at + 86400
    assert expires_at - after - 1 < profile.pop("expires_in") <= expires_at - before
    assert profile == {
        "user_id": "user_123",
        "claims": {"role": "admin"},
        "login_ip": "testclient",
        "theme": "light",
    }


def test_theme(client, log_in):
    """The theme is kept in the session."""
    log_in()
    response = client.put("/settings", json={"theme": "dark"})
    assert response.status_code == 200
    assert response.json() == {"theme": "dark"}
    assert client.get("/profile").json()["theme"] == "dark"


def test_theme_of_another_session(client, log_in):
    """The theme ends with its session."""
    log_in()
    client.put("/settings", json={"theme": "dark"}).raise_for_status()
    log_in()
    assert client.get("/profile").json()["theme"] == "light"


@pytest.mark.parametrize("malformed", [{}, {"theme": "blue"}, {"theme": None}, {"theme": ["dark"]}])
def test_malformed_settings(client, log_in, malformed):
    """Other themes than light and dark are refused, and the one chosen stays."""
    log_in()
    client.put("/settings", json={"theme": "dark"}).raise_for_status()
    assert client.put("/settings", json=malformed).status_code == 422
    assert client.get("/profile").json()["theme"] == "dark"


def test_settings_without_session(client):
    """Without a session there are no settings."""
    assert client.put("/settings", json={"theme": "dark"}).status_code == 401


def test_logout(client, log_in):
    """A logout ends the session, for whoever still has its token."""
    log_in()
    token = {"Cookie": f"session_token={client.cookies.get('session_token')}"}
    response = client.post("/logout")
    assert response.status_code == 204
    assert response.content == b""
    assert not client.cookies
    assert client.get("/profile").status_code == 401
    assert client.get("/profile", headers=token).status_code == 401


def test_end(client, log_in, session_clock):
    """A day without a use ends the session; each use begins another, as the profile tells."""
    log_in()
    session_clock.advance(86_399)
    profile = client.get("/profile").json()
    assert (profile["expires_at"], profile["expires_in"]) == (session_clock.now + 86_400, 86_400)
    session_clock.advance(86_400)
    assert client.get("/profile").status_code == 401


def test_logout_without_session(client):
    """Who has no session is told so by nobody: logged out is what was asked for."""
    assert client.post("/logout").status_code == 204


@pytest.fixture
def client_with_pair(example, carrier, login_as) -> TestClient:
    """A client that is logged in where there are refresh tokens."""
    app = example.create_app(SessionSettings(env="test", carrier=carrier, refresh=True))
    client = TestClient(app)
    login_as(client, "user_123", data=DATA)
    return client


def keep_tokens(client, response) -> None:
    """Keep what comes in headers; the client keeps cookies by itself."""
    for name in ("Authorization", "X-Refresh-Token"):
        if name in response.headers:
            client.headers[name] = response.headers[name]


def test_renewal(client_with_pair, session_clock):
    """With refresh tokens the ready-made route goes on with the same session."""
    client = client_with_pair
    client.put("/settings", json={"theme": "dark"}).raise_for_status()
    session_clock.advance(15 * 60)
    assert client.get("/profile").status_code == 401
    assert client.post("/refresh").status_code == 200
    assert client.get("/profile").json()["theme"] == "dark"


def test_renewal_is_off(client, log_in):
    """Without refresh tokens there is nothing to renew with."""
    log_in()
    assert client.post("/refresh").status_code == 404


def test_logout_by_the_refresh_token(client_with_pair, carrier):
    """Who comes back after the access token's time logs out all the same."""
    client = client_with_pair
    access = client.headers.pop("Authorization", None)
    held = {"Authorization": access} if access else {"Cookie": cookies(client)}
    if carrier == "cookie":
        client.cookies.delete("session_token")
    assert client.post("/logout").status_code == 204
    response = client.get("/profile", headers=held)
    assert (response.status_code, response.json()["reason"]) == (401, "revoked")


def cookies(client) -> str:
    """Return the cookies that a client holds, as it would send them."""
    return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def test_devices(client, log_in):
    """A user sees the devices that are logged in, and can log all others out."""
    log_in()
    client.headers.pop("Authorization", None)
    client.cookies.clear()
    log_in()
    devices = client.get("/sessions").json()
    assert [device["current"] for device in devices] == [False, True]
    assert client.delete("/sessions").json() == {"ended": 1}
    assert [device["current"] for device in client.get("/sessions").json()] == [True]


def test_page(client):
    """The page allows its own style and script, and nothing that is unsafe."""
    response = client.get("/")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "script-src 'sha256-" in policy


@pytest.mark.parametrize("refresh", [False, True])
def test_page_is_told_of_a_refresh_cookie(example, carrier, refresh):
    """No script sees the cookie; the page is told whether there may be one."""
    app = example.create_app(SessionSettings(env="test", carrier=carrier, refresh=refresh))
    text = TestClient(app).get("/").text
    told = "yes" if refresh and carrier == "cookie" else "no"
    assert f'<html lang="en" data-refresh-cookie="{told}">' in text


def test_icon(client):
    """The page brings its icon along, so that no browser asks for one."""
    assert '<link rel="icon" href="data:' in client.get("/").text


def test_api_docs(client):
    """Each endpoint is described with its answers; the page is none."""
    api = client.get("/openapi.json").json()
    paths = api["paths"]
    assert sorted(paths) == [
        "/login", "/logout", "/profile", "/refresh", "/sessions", "/settings",
    ]  # fmt: skip
    for path, operations in paths.items():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            assert operation["tags"]
            if path != "/logout":  # which asks for no session
                assert operation["responses"]["401"]["description"] != "Unauthorized"
    # Two models of one name would be told apart by names of modules, which tell a reader nothing.
    assert not [name for name in api["components"]["schemas"] if "__" in name]


def test_settings_of_the_environment(example, store_settings, monkeypatch):
    """Without settings the application takes those of the environment."""
    for name, value in store_settings.items():
        monkeypatch.setenv(f"MEMSESSION_{name.upper()}", value)
    monkeypatch.setenv("MEMSESSION_ENV", "test")
    monkeypatch.setenv("MEMSESSION_CARRIER", "cookie")
    with TestClient(example.create_app()) as client:
        assert "Set-Cookie" in client.post("/login", json=RIGHT).headers


def started(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run what must end by itself: it has been given something that cannot be used."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("port", ["eight", "-1", "65536", "80.0", "٨٠٨٠", "9" * 5000])
def test_bad_port(port):
    """A PORT that is none is told in one line."""
    process = started("-m", "example_app", PORT=port)
    assert process.returncode == 2
    assert process.stderr == f"PORT must be a number from 0 to 65535, not {port!r}.\n"
    assert process.stdout == ""


def test_port_in_use():
    """A PORT that another program has is told in one line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = started("-m", "example_app", HOST="127.0.0.1", PORT=str(port))
    assert process.returncode == 1
    assert process.stderr.startswith(f"Cannot listen at http://127.0.0.1:{port}: ")
    assert process.stderr.count("\n") == 1


def test_bad_settings():
    """Settings that are wrong are told without a traceback."""
    process = started("-m", "example_app", HOST="127.0.0.1", PORT="0", MEMSESSION_CARIER="cookie")
    assert process.returncode == 2
    assert process.stderr == (
        "No such setting: MEMSESSION_CARIER (did you mean MEMSESSION_CARRIER?).\n"
    )


def test_without_uvicorn():
    """Without uvicorn one is told what to run."""
    code = "import runpy, sys; sys.modules['uvicorn'] = None; runpy.run_module('example_app')"
    process = started("-c", code)
    assert process.returncode == 1
    assert process.stderr.endswith("Run: pip install uvicorn\n")
    assert "Traceback" not in process.stderr
