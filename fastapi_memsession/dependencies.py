"""What endpoints declare and call. The walk of a request begins here."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from fastapi_memsession.connection import state_of
from fastapi_memsession.errors import NotAuthenticated
from fastapi_memsession.provider import SessionProvider
from fastapi_memsession.session import Session


async def get_session(connection: HTTPConnection) -> Session:
    """Return the live session of this request or WebSocket; declare `Depends(get_session)`.

    Loaded once, however many dependencies ask. Answers 401 without a live session, 400 if two
    credentials disagree, 403 to another origin's page, 503 if the store cannot answer.
    """
    return await state_of(connection).open(connection)


async def get_optional_session(connection: HTTPConnection) -> Session | None:
    """Return the live session of this request or WebSocket, None without one."""
    try:
        return await state_of(connection).open(connection)
    except NotAuthenticated:
        return None


async def get_provider(connection: HTTPConnection) -> SessionProvider:
    """Return the provider of the application that serves this request."""
    return state_of(connection).provider


CurrentSession = Annotated[Session, Depends(get_session)]
"""`async def endpoint(session: CurrentSession)`: as `Depends(get_session)`."""

OptionalSession = Annotated[Session | None, Depends(get_optional_session)]
"""`async def endpoint(session: OptionalSession)`: as `Depends(get_optional_session)`."""


async def login_session(
    connection: HTTPConnection,
    user_id: str,
    *,
    claims: Mapping[str, str] | None = None,
    data: Mapping[str, object] | None = None,
    expiration: float | timedelta | None = None,
    max_lifetime: float | timedelta | None = None,
) -> Session:
    """Begin a session for a user whose identity you have checked; the response brings its token.

    A new id is made in every case (ASVS 7.2.4). A session that the request came with ends when
    the response starts. If the response never starts, the new session is undone and that one stays.

    Args:
        connection: the Request or, before `accept()`, the WebSocket.
        user_id: who logged in; any text that is not empty.
        claims: small read-only facts, signed into the token, which has at most 4096 bytes.
        data: first values of the session; they stay on the server.
        expiration: idle expiration of this session, in seconds; default from the settings.
        max_lifetime: absolute lifetime of this session, in seconds; at most that of the settings.

    Raises:
        SessionDataError: user id, claims or data cannot be stored.
        SessionTooLarge: token, cookie or data would be too large.
        SessionUsageError: the response has started, or a time is out of range.
        CrossOriginRefused: another origin's page tries to log a browser in.
        StoreUnavailable: the store cannot answer, or is full.

    Whatever is raised, no session was begun.
    """
    return await state_of(connection).login(
        connection,
        user_id,
        claims=claims,
        data=data,
        expiration=expiration,
        max_lifetime=max_lifetime,
    )
