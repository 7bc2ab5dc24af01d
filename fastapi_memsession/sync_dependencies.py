"""What `def` endpoints declare and call: the blocking twins of what is in `dependencies.py`.

The dependencies themselves are async: a sync one would cost a thread of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from fastapi_memsession.dependencies import (
    get_optional_session,
    get_session,
    login_session,
    logout_session,
    renew_session,
    session_of,
)
from fastapi_memsession.session import Session
from fastapi_memsession.shapes import DataT
from fastapi_memsession.sync_session import SyncSession
from fastapi_memsession.threads import finish_on, worker_loop


async def get_sync_session(session: Session = Depends(get_session)) -> SyncSession:
    """Return the live session for a `def` endpoint; declare `Depends(get_sync_session)`.

    The one that `get_session` gives, loaded once; answers as that does.
    """
    return SyncSession(session, asyncio.get_running_loop())


async def get_optional_sync_session(
    session: Session | None = Depends(get_optional_session),
) -> SyncSession | None:
    """Return the live session for a `def` endpoint, None without one."""
    return None if session is None else SyncSession(session, asyncio.get_running_loop())


def sync_session_of(
    model: type[DataT], *, fresh: Callable[[], DataT] | None = None
) -> Callable[..., Awaitable[SyncSession[DataT]]]:
    """Return a dependency for `def` endpoints, whose session has data of the shape of `model`.

    Takes and promises what `session_of` does.
    """
    typed = session_of(model, fresh=fresh)

    async def give(session: Session[DataT] = Depends(typed)) -> SyncSession[DataT]:
        return SyncSession(session, asyncio.get_running_loop())

    return give


CurrentSyncSession = Annotated[SyncSession, Depends(get_sync_session)]
"""`def endpoint(session: CurrentSyncSession)`: as `Depends(get_sync_session)`."""

OptionalSyncSession = Annotated[SyncSession | None, Depends(get_optional_sync_session)]
"""`def endpoint(session: OptionalSyncSession)`: as `Depends(get_optional_sync_session)`."""


def login_session_sync(
    connection: HTTPConnection,
    user_id: str,
    *,
    claims: Mapping[str, str] | None = None,
    data: Mapping[str, object] | None = None,
    expiration: float | timedelta | None = None,
    max_lifetime: float | timedelta | None = None,
) -> SyncSession:
    """Begin a session, in a `def` endpoint; the response brings its token.

    Takes, promises and raises what `login_session` does.

    Raises:
        SessionUsageError: also where FastAPI runs no `def` endpoint or dependency.
    """
    loop = worker_loop()
    login = login_session(
        connection,
        user_id,
        claims=claims,
        data=data,
        expiration=expiration,
        max_lifetime=max_lifetime,
    )
    return SyncSession(finish_on(loop, login), loop)


def renew_session_sync(connection: HTTPConnection) -> SyncSession:
    """Exchange the refresh token that the request carries, in a `def` endpoint.

    Promises and raises what `renew_session` does.

    Raises:
        SessionUsageError: also where FastAPI runs no `def` endpoint or dependency.
    """
    loop = worker_loop()
    return SyncSession(finish_on(loop, renew_session(connection)), loop)


def logout_session_sync(connection: HTTPConnection) -> bool:
    """End the session that the request's tokens name, in a `def` endpoint.

    Promises, returns and raises what `logout_session` does.

    Raises:
        SessionUsageError: also where FastAPI runs no `def` endpoint or dependency.
    """
    return finish_on(worker_loop(), logout_session(connection))
