"""An application as users set one up: long before the tests, without a clock."""

import pytest
from fastapi import FastAPI, Request

from fastapi_memsession import CurrentSession, login_session, session_router, setup_sessions
from tests.conftest import settings


@pytest.fixture
def make_plain_app():
    """Keywords are settings, but store and clock."""

    def make(*, store=None, clock=None, **values) -> FastAPI:
        app = FastAPI()
        app.include_router(session_router())
        setup_sessions(app, settings(**values), store=store, clock=clock)

        @app.get("/profile")
        async def profile(session: CurrentSession):
            return {"user": session.user_id, **session.claims.data, **await session.all()}

        @app.post("/claims")
        async def claims(session: CurrentSession, changes: dict[str, str]):
            await session.update_claims(**changes)

        @app.post("/login/{user}")
        async def login(request: Request, user: str):
            await login_session(request, user)

        return app

    return make


@pytest.fixture
def plain_app(make_plain_app) -> FastAPI:
    return make_plain_app()
