"""What is no visitor's doing: a store that fails, is full or was tampered with, and a bad start."""

import base64
import json
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.attack.conftest import tells_no_secret
from tests.attack.server import (
    LOGIN,
    LOGOUT,
    PATIENCE,
    PROFILE,
    REDIS_PASSWORD,
    REFRESH,
    SESSIONS,
    SETTINGS,
)
from tests.conftest import KEY
from tests.serving import PROJECT
from tests.test_tokens import parts

DEADLINE = 1 + 2  # seconds within which Redis answers, and what a busy machine may add
on_redis = pytest.mark.parametrize("store", ["redis"], scope="module")


@on_redis
@pytest.mark.parametrize("fault", ["hangs", "is gone"])
def test_a_store_that(server, pair, redis, fault):
    """Is told within the deadline, logs nobody out, and the session is there afterwards."""
    requests = {
        PROFILE: server.sent(pair.access),
        SETTINGS: server.sent(pair.access),
        LOGOUT: server.sent(*pair),
        REFRESH: server.sent(refresh=pair.refresh),
        LOGIN: [],
    }
    if fault == "hangs":
        with redis.hung():
            refuses_in_time(server, requests)
    else:
        redis.kill()
        try:
            refuses_in_time(server, requests)
        finally:
            redis.__enter__()
    give_up = time.monotonic() + PATIENCE
    while not server.is_alive(pair.access) and time.monotonic() < give_up:
        pass
    assert server.theme(pair.access) == "light"
    assert server.is_alive(server.refresh(pair.refresh).access)
    tells_no_secret(server)


def refuses_in_time(server, requests):
    """Ask for what needs the store, all at once; and for what does not, with a forged token."""
    begun = time.monotonic()
    with ThreadPoolExecutor(len(requests)) as pool:
        responses = pool.map(lambda each: server.ask(each[0], *each[1]), requests.items())
    assert time.monotonic() - begun < DEADLINE
    for response in responses:
        assert response.status_code == 503, response.request
        assert int(response.headers["retry-after"]) > 0
        assert not {"set-cookie", "authorization", "www-authenticate"} & set(response.headers)
    assert server.status(PROFILE, *server.sent("junk")) == 401


@on_redis
def test_what_is_stored(server, pair, redis):
    """Is JSON, by keys that are apart from what the session itself is made of."""
    server.ask(SETTINGS, *server.sent(pair.access))
    lines = redis.command("HGETALL", record_of(redis, pair)).splitlines()
    record = dict(zip(lines[::2], lines[1::2], strict=True))
    data = {name: json.loads(text) for name, text in record.items() if name.startswith(":")}
    assert data.pop(":login_time") > 0
    assert data == {":login_ip": "127.0.0.1", ":theme": "dark"}


class Bomb:
    """Does something to whoever unpickles it."""

    def __reduce__(self):
        return os.system, ("echo unpickled",)


PLANTED = {
    "a pickle": (":theme", base64.b64encode(pickle.dumps(Bomb())).decode()),
    "a deep list": (":theme", "[" * 10_000),
    "claims that are a number": ("k", "5"),
    "a session for ever": ("e", "inf"),
    "a deadline that never comes": ("d", "inf"),
}


@on_redis
@pytest.mark.parametrize("planted", PLANTED)
def test_what_was_planted_in_the_store(server, pair, redis, planted):
    """Is read as JSON or not at all; it ends no other session, and the server does not fail."""
    other = server.log_in()
    redis.command("HSET", record_of(redis, pair), *PLANTED[planted])
    assert server.status(PROFILE, *server.sent(pair.access)) in {401, 422}
    assert server.status(SESSIONS, *server.sent(other.access)) == 200
    assert server.status(LOGOUT, *server.sent(*pair)) < 500
    assert server.is_alive(other.access)
    assert "unpickled" not in server.log.read_text()


@pytest.mark.parametrize("store", ["memory", "redis"], scope="module")
def test_what_the_log_tells(server, pair):
    """No token, no key and no password, whatever went wrong (ASVS 16.2.5)."""
    wrong = "a-password-that-is-wrong"
    assert server.ask(LOGIN, json={"username": "admin", "password": wrong}).status_code == 401
    assert server.ask(LOGIN, json={"username": wrong, "password": [wrong]}).status_code == 422
    assert server.is_alive(server.refresh(pair.refresh).access)
    server.advance(10)
    assert server.ended(REFRESH, *server.sent(refresh=pair.refresh)) == "reused"
    assert server.status(PROFILE, *server.sent(pair.access[:-9])) == 401
    log = server.log.read_text()
    assert "reason reused" in log
    assert wrong not in log
    tells_no_secret(server)


def record_of(redis, pair):
    """Return the key of the session in Redis."""
    (key,) = redis.command("KEYS", f"*:s:{parts(pair.access)[1]['sid']}").split()
    return key


@pytest.mark.parametrize("parser", ["h11"], scope="module")
def test_a_flood_of_logins(serve, parser):
    """Is refused, and those who are there stay; one who leaves makes room (ASVS 16.5.3)."""
    server = serve(parser, MAX_SESSIONS="5")
    inside = [server.log_in() for _ in range(5)]
    for _ in range(20):
        response = server.ask(LOGIN)
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert "authorization" not in response.headers
    assert all(server.theme(each.access) == "light" for each in inside)
    server.ask(LOGOUT, *server.sent(inside[0].access))
    assert server.is_alive(server.log_in().access)
    assert server.status(LOGIN) == 503
    assert server.ask(SESSIONS, *server.sent(inside[1].access)).json() == {"ended": 4}


def start(folder, **settings):
    """Serve the example app with settings that cannot be used; return status and output."""
    done = subprocess.run(
        [sys.executable, "-m", "example_app"],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": PROJECT, "PORT": "0"}
        | {f"MEMSESSION_{name}": value for name, value in settings.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_unsafe_settings_in_production(tmp_path):
    """Stop the start; all that is wrong is told, and no secret (ASVS 13.4.2)."""
    status, told = start(
        tmp_path,
        ENV="production",
        JWT_KEY="abababababababababababababababababab",
        JWT_PREVIOUS_KEYS="a key that is short",
        CARRIER="cookie",
        COOKIE_SECURE="false",
        COOKIE_HTTP_ONLY="false",
        TRUSTED_ORIGINS="http://spa.example",
        SNAPSHOT="sessions.json",
        REDIS_URL=f"redis://:{REDIS_PASSWORD}@127.0.0.1:1/0",
    )
    assert status == 2
    for name in (
        "JWT_KEY repeats", "JWT_PREVIOUS_KEYS has a key of 19 bytes", "COOKIE_SECURE is false",
        "COOKIE_HTTP_ONLY is false", "TRUSTED_ORIGINS trusts http:", "SNAPSHOT is for development",
    ):  # fmt: skip
        assert f"MEMSESSION_{name}" in told
    for secret in ("abab", "a key that is short", REDIS_PASSWORD):
        assert secret not in told


@pytest.mark.parametrize("settings", [{"ENV": "production"}, {"JWT_KEY": KEY[:31]}])
def test_a_key_that_is_missing_or_short(tmp_path, settings):
    """Stops the start (RFC 7518 section 3.2)."""
    status, told = start(tmp_path, **settings)
    assert status == 2
    assert "MEMSESSION_JWT_KEY" in told
    assert KEY[:31] not in told
