"""The example application: an API, and a page that uses it.

`uvicorn example_app.main:app` serves it; so does `python -m example_app`.
"""

import secrets
import time
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from example_app import chat
from example_app.pages import headers_of, page_named
from fastapi_memsession import (
    CurrentSession,
    SessionProvider,
    SessionSettings,
    __version__,
    get_provider,
    login_session,
    session_router,
    setup_sessions,
)

USERNAME = "admin"
PASSWORD = "123456"  # noqa: S105 - a demonstration has no secrets: the page tells it, too
USER_ID = "user_123"
ROLE = "admin"

Theme = Literal["light", "dark"]
DEFAULT_THEME: Theme = "light"


class Credentials(BaseModel):
    """What a user logs in with."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"username": USERNAME, "password": PASSWORD}]}
    )

    username: str = Field(min_length=1, max_length=64)
    password: str = Field(min_length=1, max_length=128)


class LoggedIn(BaseModel):
    """Who has logged in."""

    user_id: str = Field(examples=[USER_ID])


class Settings(BaseModel):
    """What a user can choose; it is kept in the session."""

    theme: Theme


class Profile(BaseModel):
    """What the server knows of the session."""

    user_id: str = Field(examples=[USER_ID])
    claims: dict[str, str] = Field(
        description="Small read-only facts, signed into the token.", examples=[{"role": ROLE}]
    )
    login_time: int = Field(description="When the user logged in, in seconds since the epoch.")
    login_ip: str = Field(description="Where from.", examples=["127.0.0.1"])
    theme: Theme
    created_at: float = Field(description="When the session began, in seconds since the epoch.")
    expires_at: float = Field(description="When it ends unless it is used before.")
    expires_in: int = Field(description="Whole seconds until then.", ge=0)


class Refusal(BaseModel):
    """Why a request was refused."""

    detail: str = Field(examples=["Wrong username or password"])


router = APIRouter()


@router.post(
    "/login",
    summary="Log in",
    tags=["session"],
    responses={401: {"model": Refusal, "description": "Wrong username or password"}},
)
async def login(request: Request, credentials: Credentials) -> LoggedIn:
    """Begin a session. The response brings its tokens: in headers, cookies, or both."""
    if not _are_right(credentials):
        raise HTTPException(
            HTTPStatus.UNAUTHORIZED,
            "Wrong username or password",
            headers={"WWW-Authenticate": "Bearer"},
        )
    session = await login_session(
        request,
        USER_ID,
        claims={"role": ROLE},
        data={
            "login_time": int(time.time()),
            "login_ip": request.client.host if request.client else "unknown",
        },
    )
    return LoggedIn(user_id=session.user_id)


@router.get("/profile", summary="Show the session", tags=["session"])
async def read_profile(session: CurrentSession) -> Profile:
    """Return who is logged in, with the claims, the data of the session and the time left."""
    return Profile(
        user_id=session.user_id,
        claims=dict(session.claims.data),
        login_time=await session.get("login_time"),
        login_ip=await session.get("login_ip"),
        theme=await session.get("theme", DEFAULT_THEME),
        created_at=session.created_at,
        expires_at=session.expires_at,
        expires_in=int(session.expires_in),
    )


@router.put("/settings", summary="Choose the settings", tags=["settings"])
async def change_settings(settings: Settings, session: CurrentSession) -> Settings:
    """Store the settings in the session, where they stay until it ends."""
    await session.set("theme", settings.theme)
    return settings


@router.get("/", include_in_schema=False)
async def read_page(provider: Annotated[SessionProvider, Depends(get_provider)]) -> HTMLResponse:
    """Return the page, telling it of a refresh cookie: its script cannot see whether there is."""
    carrier = provider.refresh_carrier
    renews_by_cookie = carrier is not None and carrier.ambient
    page = _PAGE.replace(_NO_COOKIE, _COOKIE, 1) if renews_by_cookie else _PAGE
    return HTMLResponse(page, headers=_PAGE_HEADERS)


def create_app(settings: SessionSettings | None = None) -> FastAPI:
    """Make the application; without `settings` they are read from the environment."""
    app = FastAPI(
        title="fastapi-memsession example",
        summary="Server-side sessions by dependency injection.",
        description=f"Log in as `{USERNAME}` with password `{PASSWORD}`. "
        "[The page](/) uses the same endpoints; [the chat](/chat) ends with the session.",
        version=__version__,
        openapi_tags=[
            {"name": "session", "description": "Begin, look at, renew and end a session."},
            {"name": "settings", "description": "Data that lives in the session."},
        ],
        exception_handlers={RequestValidationError: _answer_malformed},
    )
    setup_sessions(app, settings)
    app.include_router(router)
    app.include_router(chat.router)
    app.include_router(session_router("refresh", "logout", "list", "revoke_others"))
    return app


async def _answer_malformed(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer as FastAPI does, but repeat nothing: a password could be in it, or no valid text."""
    told = ("type", "loc", "msg")
    detail = [{name: problem[name] for name in told} for problem in error.errors()]
    return JSONResponse({"detail": detail}, HTTPStatus.UNPROCESSABLE_ENTITY)


def _are_right(credentials: Credentials) -> bool:
    # Both are compared, in constant time: how long it takes must not tell which one was wrong.
    username = secrets.compare_digest(credentials.username.encode(), USERNAME.encode())
    password = secrets.compare_digest(credentials.password.encode(), PASSWORD.encode())
    return username and password


_PAGE = page_named("page")
_NO_COOKIE, _COOKIE = 'data-refresh-cookie="no"', 'data-refresh-cookie="yes"'
_PAGE_HEADERS = headers_of(_PAGE)

app = create_app()
