"""What clients of the example app see while its Redis is away, and when it is back."""

from datetime import timedelta
from importlib import import_module

import pytest
from fastapi.testclient import TestClient

from fastapi_memsession import SessionSettings
from tests.redis_server import RedisServer

RIGHT = {"username": "admin", "password": "123456"}
REQUESTS = (
    ("GET", "/profile", None),
    ("PUT", "/settings", {"theme": "dark"}),
    ("POST", "/logout", None),
    ("POST", "/login", RIGHT),
)


@pytest.fixture
def server(redis_folder, tmp_path):
    """A server of the test's own."""
    with RedisServer(tmp_path / "redis", unix=True) as server:
        yield server


@pytest.fixture(params=["header", "cookie"])
def client(server, request):
    """A client of the example app that is logged in."""
    settings = SessionSettings(
        env="test",
        carrier=request.param,
        provider="redis",
        redis_url=server.url,
        redis_timeout=timedelta(seconds=0.5),
    )
    with TestClient(import_module("example_app.main").create_app(settings)) as client:
        answer = client.post("/login", json=RIGHT)
        if "authorization" in answer.headers:
            client.headers["Authorization"] = answer.headers["authorization"]
        yield client


def is_told_to_come_back(client):
    """See every request answered 503, and none that ends the login."""
    for method, path, body in REQUESTS:
        answer = client.request(method, path, json=body)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert "set-cookie" not in answer.headers
        assert "www-authenticate" not in answer.headers
        assert "authorization" not in answer.headers
        assert answer.json() == {"detail": "Sessions are unavailable at the moment; try again"}
    assert client.get("/").status_code == 200


def test_a_login_outlives_a_redis_that_hangs(server, client):
    """The same token works as soon as it wakes; nobody was logged out."""
    assert client.get("/profile").json()["theme"] == "light"
    with server.hung():
        is_told_to_come_back(client)
    assert client.get("/profile").json()["user_id"] == "user_123"
    assert client.put("/settings", json={"theme": "dark"}).status_code == 200
    assert client.get("/profile").json()["theme"] == "dark"
    assert client.post("/logout").status_code == 204
    assert client.get("/profile").status_code == 401


def test_a_login_ends_with_the_redis_that_lost_it(server, client):
    """Not before it is back, and has nothing."""
    server.kill()
    is_told_to_come_back(client)
    server.__enter__()
    assert client.get("/profile").status_code == 401
    assert client.post("/login", json=RIGHT).status_code == 200
