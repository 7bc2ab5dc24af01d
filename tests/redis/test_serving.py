"""The example app on Redis under a real uvicorn: two workers, and starts that cannot succeed."""

from contextlib import closing

import httpx

from tests.conftest import KEY
from tests.redis_server import RedisServer, free_port
from tests.serving import read_until, serving

EXAMPLE = """
import os
from example_app.main import app as example

async def app(scope, receive, send):
    async def name_the_worker(message):
        if message["type"] == "http.response.start":
            worker = (b"worker", str(os.getpid()).encode())
            message = {**message, "headers": [*message["headers"], worker]}
        await send(message)
    await example(scope, receive, name_the_worker)
"""
RIGHT = {"username": "admin", "password": "123456"}
PASSWORD = "correct-horse-battery"


class Workers:
    """A connection to each of two workers, which stays with it."""

    def __init__(self, address):
        self.clients = {}
        for _ in range(500):
            client = httpx.Client(base_url=address, trust_env=False)
            worker = client.get("/").headers["worker"]
            if self.clients.setdefault(worker, client) is not client:
                client.close()
            if len(self.clients) == 2:
                break
        self.here, self.there = self.clients

    def ask(self, worker, method, path, **options):
        response = self.clients[worker].request(method, path, **options)
        assert response.headers["worker"] == worker
        return response

    def close(self):
        for client in self.clients.values():
            client.close()


def test_two_workers_share_the_sessions(redis_url, tmp_path):
    """Logged in on one, looked at, changed and logged out on the other, dead on both."""
    settings = {
        "MEMSESSION_PROVIDER": "redis",
        "MEMSESSION_REDIS_URL": redis_url,
        "MEMSESSION_REDIS_PREFIX": "workers",
        "MEMSESSION_JWT_KEY": KEY,
    }
    options = ("--workers", "2", "--timeout-keep-alive", "60")
    with serving(tmp_path, EXAMPLE, *options, **settings) as (process, address):
        printed = read_until(process, "Application startup complete", 2)
        assert "Several workers" not in printed
        with closing(Workers(address)) as workers:
            here, there = workers.here, workers.there
            answer = workers.ask(here, "POST", "/login", json=RIGHT)
            token = {"Authorization": answer.headers["authorization"]}

            def ask(worker, method, path, **more):
                return workers.ask(worker, method, path, headers=token, **more)

            assert ask(there, "GET", "/profile").json()["user_id"] == "user_123"
            ask(there, "PUT", "/settings", json={"theme": "dark"}).raise_for_status()
            assert ask(here, "GET", "/profile").json()["theme"] == "dark"
            assert ask(there, "POST", "/logout").status_code == 204
            for worker in (here, there):
                assert ask(worker, "GET", "/profile").status_code == 401


def printed_at_a_start_that_fails(folder, url):
    """Return what uvicorn prints; it must end by itself, and not well."""
    settings = {"MEMSESSION_PROVIDER": "redis", "MEMSESSION_REDIS_URL": url}
    with serving(folder, EXAMPLE, **settings) as (process, _):
        printed, _ = process.communicate(timeout=20)
        assert process.returncode != 0
    assert "Application startup failed" in printed
    return printed


def test_an_application_does_not_start_without_its_redis(tmp_path):
    """It says what it misses, and keeps the password to itself."""
    url = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}"
    printed = printed_at_a_start_that_fails(tmp_path, url)
    assert "Redis cannot answer (ConnectionError). Is it running where" in printed
    assert PASSWORD not in printed


def test_an_application_does_not_start_with_a_wrong_password(redis_folder, tmp_path):
    """It says where to look, and tells neither the wrong one nor the right one."""
    with RedisServer(redis_folder / "guarded-app", password=PASSWORD) as server:
        url = server.url.replace(PASSWORD, "wrong-horse")
        printed = printed_at_a_start_that_fails(tmp_path, url)
    assert "Redis refuses these credentials or rights" in printed
    assert "MEMSESSION_REDIS_URL" in printed
    assert PASSWORD not in printed
    assert "wrong-horse" not in printed
