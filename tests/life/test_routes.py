"""The ready-made routes: each alone, and described with all that it may answer."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_memsession import SessionUsageError, session_router

ALL = {
    "refresh": ("/refresh", "post", {"200", "400", "401", "403", "404", "503"}),
    "logout": ("/logout", "post", {"204", "400", "403", "503"}),
    "list": ("/sessions", "get", {"200", "400", "401", "403", "503"}),
    "revoke": ("/sessions/{id}", "delete", {"204", "400", "401", "403", "404", "422", "503"}),
    "revoke_others": ("/sessions", "delete", {"200", "400", "401", "403", "503"}),
}


def described(*names):
    app = FastAPI()
    app.include_router(session_router(*names))
    paths = TestClient(app).get("/openapi.json").json()["paths"]
    return {
        (path, method): operation
        for path, operations in paths.items()
        for method, operation in operations.items()
    }


@pytest.mark.parametrize("name", ALL)
def test_each_can_be_had_alone(name):
    """With a summary, a description and each of its answers."""
    path, method, statuses = ALL[name]
    ((where, operation),) = described(name).items()
    assert where == (path, method)
    assert set(operation["responses"]) == statuses
    assert operation["summary"]
    assert operation["description"]


def test_without_a_name_all_come():
    """Five of them."""
    assert set(described()) == {(path, method) for path, method, _ in ALL.values()}


def test_an_unknown_name_is_a_mistake():
    """The message names those that there are."""
    with pytest.raises(SessionUsageError, match="refresh, logout, list, revoke, revoke_others"):
        session_router("login")
