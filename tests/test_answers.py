"""What a request is told that does not get a session."""

import pytest
from fastapi import FastAPI, Request
from starlette.middleware.base import BaseHTTPMiddleware

from fastapi_memsession import (
    LockTimeout,
    SessionDataError,
    SessionDataMismatch,
    SessionTooLarge,
    get_provider,
)
from tests.applications import add_login, client_of


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (LockTimeout("held by 10.0.0.1"), 503, "The session is busy; try again"),
        (SessionTooLarge("8 > 7", size=8, limit=7), 413, "The session cannot hold that much"),
        (SessionDataError("not this"), 422, "A value cannot be kept in the session"),
        (
            SessionDataMismatch("not that", fields=("a",)),
            422,
            "The session holds what cannot be used any more; log in again",
        ),
    ],
)
def test_each_error_has_its_own_detail(make_app, error, status, detail):
    """Of the nearest kind, in words that say what the client can do."""
    app = make_app()

    @app.get("/")
    async def fail():
        raise error

    response = client_of(app).get("/")
    assert (response.status_code, response.json()) == (status, {"detail": detail})


def test_an_error_of_the_provider_is_answered_as_one_of_the_session(make_app):
    """Not to be cached either, and inside of other middlewares, although no session was asked."""

    class Marking(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            response = await call_next(request)
            response.headers["X-Marked"] = "yes"
            return response

    app = FastAPI()
    app.add_middleware(Marking)
    make_app(app=app)

    @app.get("/")
    async def read(request: Request):
        await (await get_provider(request)).open("junk")

    response = client_of(app).get("/")
    assert (response.status_code, response.headers["cache-control"]) == (401, "no-store")
    assert response.headers["x-marked"] == "yes"


def test_the_answer_asks_for_the_scheme_of_the_settings(make_app):
    """A client is told the scheme that it has to use, and used it works."""
    app = make_app(header_scheme="Token")
    add_login(app)
    client = client_of(app)
    assert client.get("/profile").headers["www-authenticate"] == "Token"
    answered = client.post("/login").headers["authorization"]
    assert answered.startswith("Token ")
    assert client.get("/profile", headers={"Authorization": answered}).json() == "anna"
    bearer = answered.replace("Token ", "Bearer ")
    assert client.get("/profile", headers={"Authorization": bearer}).status_code == 401
