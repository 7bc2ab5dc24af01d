"""Ready-made routes: renew, log out, look at one's devices, and end them."""

from http import HTTPStatus
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Depends, HTTPException, Path
from pydantic import BaseModel, Field
from starlette.requests import Request

from fastapi_memsession.connection import state_of
from fastapi_memsession.dependencies import (
    CurrentSession,
    get_provider,
    logout_session,
    renew_session,
)
from fastapi_memsession.errors import ClientReason, SessionUsageError
from fastapi_memsession.openapi import OPTIONAL, REFRESH, DescribedOnly
from fastapi_memsession.provider import SessionProvider

RouteName = Literal["refresh", "logout", "list", "revoke", "revoke_others"]

Provider = Annotated[SessionProvider, Depends(get_provider)]
SessionId = Annotated[str, Path(description="As `GET /sessions` tells it.", max_length=100)]
Responses = dict[int | str, dict[str, Any]]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str
    reason: ClientReason | None = Field(None, description="Of a session that has ended: why.")


class Renewed(BaseModel):
    """A session that goes on, with new tokens."""

    user_id: str
    expires_at: float = Field(description="When it ends unless it is used before.")


class Device(BaseModel):
    """A session, as its user sees it."""

    id: str
    created_at: float = Field(description="When the user logged in, in seconds since the epoch.")
    last_seen_at: float = Field(description="The last use that was written down.")
    expires_at: float = Field(description="When it ends unless it is used before.")
    user_agent: str | None = Field(description="What the client called itself at login.")
    address: str | None = Field(description="Where the login came from.")
    current: bool = Field(description="Whether it is the session of this request.")


class Ended(BaseModel):
    """What was ended."""

    ended: int = Field(description="How many sessions.", ge=0)


def _answers(**descriptions: str) -> Responses:
    return {
        HTTPStatus[name.upper()].value: {"model": Problem, "description": text}
        for name, text in descriptions.items()
    }


_COMMON = _answers(
    bad_request="Two tokens came, and they differ",
    forbidden="The page of another origin sent this",
    service_unavailable="The store of the sessions cannot answer; try again",
)
_PRIVATE = _COMMON | _answers(unauthorized="No session, or it has ended")


def session_router(*names: RouteName) -> APIRouter:
    """Return a router with the routes that are named, all of them if none is.

    `app.include_router(session_router())`, or
    `app.include_router(session_router("refresh", "logout"), prefix="/auth")`.

    - `refresh`: `POST /refresh` exchanges the refresh token for the next pair.
    - `logout`: `POST /logout` ends the session, by whichever token is still good.
    - `list`: `GET /sessions` shows the user's sessions.
    - `revoke`: `DELETE /sessions/{id}` ends one of them.
    - `revoke_others`: `DELETE /sessions` ends all but the one of the request.

    Raises:
        SessionUsageError: there is no route of that name.
    """
    known = get_args(RouteName)
    for name in names:
        if name not in known:
            raise SessionUsageError(f"There is no route {name!r}; there are {', '.join(known)}.")
    router = APIRouter(tags=["session"])
    for name in names or known:
        _ROUTES[name](router)
    return router


def _add_refresh(router: APIRouter) -> None:
    unauthorized = "No refresh token, or one that is not valid, or the session has ended"
    missing = "This application issues no refresh tokens"

    @router.post(
        "/refresh",
        summary="Renew the tokens",
        responses=_COMMON | _answers(unauthorized=unauthorized, not_found=missing),
        dependencies=[Depends(DescribedOnly(REFRESH))],
    )
    async def refresh(request: Request) -> Renewed:
        """Exchange the refresh token for the next pair, which comes as the first one came."""
        if state_of(request).provider.refresh_carrier is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"{missing}; see MEMSESSION_REFRESH.")
        session = await renew_session(request)
        return Renewed(user_id=session.user_id, expires_at=session.expires_at)


def _add_logout(router: APIRouter) -> None:
    @router.post(
        "/logout",
        summary="Log out",
        status_code=HTTPStatus.NO_CONTENT,
        responses=_COMMON,
        dependencies=[Depends(DescribedOnly(OPTIONAL))],
    )
    async def logout(request: Request) -> None:
        """End the session for everyone who holds a token of it. Without one, do nothing."""
        await logout_session(request)


def _add_list(router: APIRouter) -> None:
    @router.get("/sessions", summary="Show my devices", responses=_PRIVATE)
    async def list_sessions(session: CurrentSession, provider: Provider) -> list[Device]:
        """Return the user's sessions, oldest first."""
        return [
            Device(
                id=info.session_id,
                created_at=info.created_at,
                last_seen_at=info.last_seen_at,
                expires_at=info.expires_at,
                user_agent=info.user_agent,
                address=info.address,
                current=info.session_id == session.id,
            )
            for info in await provider.list_sessions(session.user_id)
        ]


def _add_revoke(router: APIRouter) -> None:
    @router.delete(
        "/sessions/{id}",
        summary="Log a device out",
        status_code=HTTPStatus.NO_CONTENT,
        responses=_PRIVATE | _answers(not_found="The user has no such session"),
    )
    async def revoke(id: SessionId, session: CurrentSession, provider: Provider) -> None:  # noqa: A002
        """End one of the user's sessions; the one of this request is logged out."""
        if id == session.id:
            await session.destroy()
        elif not await provider.revoke(id, user_id=session.user_id):
            raise HTTPException(HTTPStatus.NOT_FOUND, "The user has no such session")


def _add_revoke_others(router: APIRouter) -> None:
    @router.delete("/sessions", summary="Log all other devices out", responses=_PRIVATE)
    async def revoke_others(session: CurrentSession, provider: Provider) -> Ended:
        """End all sessions of the user but the one of this request."""
        return Ended(ended=len(await provider.revoke_user(session.user_id, keep=session.id)))


_ROUTES = {
    "refresh": _add_refresh,
    "logout": _add_logout,
    "list": _add_list,
    "revoke": _add_revoke,
    "revoke_others": _add_revoke_others,
}
