"""The plugin's empty store: for one test, and for the application that is named."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_memsession import MemoryStore, SessionUsageError
from fastapi_memsession.testing import EmptySessions


def test_nobody_is_logged_in(plain_app, login_as, empty_sessions):
    """However often it is emptied; other applications' sessions stay."""
    client = TestClient(plain_app)
    for _ in range(2):
        login_as(client, "anna")
        store = empty_sessions(plain_app)
        assert plain_app.state.sessions.store is store
        assert client.get("/profile").status_code == 401


def test_the_sessions_before_come_back(plain_app, login_as):
    """And those of the test are gone."""
    before, during = TestClient(plain_app), TestClient(plain_app)
    login_as(before, "anna")
    with EmptySessions() as empty_sessions:
        empty_sessions(plain_app)
        empty_sessions(plain_app)
        login_as(during, "bert")
    assert before.get("/profile").json() == {"user": "anna"}
    assert during.get("/profile").status_code == 401


def test_the_store_before_is_not_asked(make_plain_app, login_as, empty_sessions):
    """An application with sessions in Redis starts without it, and does all it can do."""
    url = "redis://127.0.0.1:1/0"  # nobody is there
    app = make_plain_app(provider="redis", redis_url=url, refresh=True, carrier="cookie")
    provider = app.state.sessions
    empty_sessions(app)
    with TestClient(app) as client:
        login_as(client, "anna", claims={"role": "admin"})
        session_id = client.get("/sessions").json()[0]["id"]
        assert client.post("/refresh").status_code == 200
        assert client.post("/claims", json={"role": "editor"}).status_code == 200
        assert client.get("/profile").json() == {"user": "anna", "role": "editor"}
        call = client.portal.call
        assert call(provider.update_claims, "anna") == call(provider.count) == 1
        assert [info.session_id for info in call(provider.list_sessions, "anna")] == [session_id]
        assert call(provider.stats).sessions == 1
        assert call(provider.sweep) == 0
        assert call(provider.revoke_user, "anna") == [session_id]
        assert client.get("/profile").json()["reason"] == "revoked"
        assert client.post("/logout").status_code == 204


def test_the_limit_of_the_settings_holds(make_plain_app, login_as, empty_sessions):
    """As in the application's own memory store."""
    app = make_plain_app(max_sessions=1)
    empty_sessions(app)
    client = TestClient(app)
    assert client.post("/login/anna").status_code == 200
    assert client.post("/login/bert").status_code == 503


def test_an_application_without_sessions_is_refused(empty_sessions):
    """With what to do."""
    with pytest.raises(SessionUsageError, match="Pass the application that"):
        empty_sessions(FastAPI())


def test_the_store_that_was_opened_is_closed(make_plain_app, empty_sessions):
    """Whatever store the application has by then."""
    events = []

    class Watched(MemoryStore):
        async def open(self):
            events.append("open")

        async def aclose(self):
            events.append("aclose")

    app = make_plain_app(store=Watched())
    with TestClient(app):
        empty_sessions(app)
    assert events == ["open", "aclose"]
