"""What endpoints declare and call. The walk of a request begins here."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from fastapi_memsession.connection import SCOPE_KEY, state_of
from fastapi_memsession.errors import NotAuthenticated
from fastapi_memsession.openapi import OPTIONAL, SESSION, SessionScheme
from fastapi_memsession.provider import SessionProvider
from fastapi_memsession.session import Session
from fastapi_memsession.shapes import DataT, shape_of
from fastapi_memsession.typed_session import TypedSession


class GetSession(SessionScheme):
    """Return the live session of this request or WebSocket; declare `Depends(get_session)`.

    Loaded once, however many dependencies ask. Answers 401 without a live session, 400 if two
    credentials disagree, 403 to another origin's page, 503 if the store cannot answer.
    """

    async def __call__(self, connection: HTTPConnection) -> Session:
        """See the class."""
        state = connection.scope.get(SCOPE_KEY) or state_of(connection)
        session = state.at_hand(connection)
        return await state.open(connection) if session is None else session


class GetOptionalSession(SessionScheme):
    """Return the live session of this request or WebSocket, None without one.

    Answers 400, 403 and 503 as `get_session` does.
    """

    async def __call__(self, connection: HTTPConnection) -> Session | None:
        """See the class."""
        try:
            return await get_session(connection)
        except NotAuthenticated:
            return None


class PeekSession(SessionScheme):
    """Return the live session without using it: its idle expiration goes on as if nobody had come.

    For a page that asks how much time is left (`session.expires_in`). Declared beside
    `get_session`, it is the same session, and used. Answers as `get_session` does.
    """

    async def __call__(self, connection: HTTPConnection) -> Session:
        """See the class."""
        return await state_of(connection).open(connection, renew=False)


# FastAPI describes what is a security scheme; each is called as a function would be.
get_session = GetSession(SESSION)
get_optional_session = GetOptionalSession(OPTIONAL)
peek_session = PeekSession(SESSION)


async def get_provider(connection: HTTPConnection) -> SessionProvider:
    """Return the provider of the application that serves this request."""
    return state_of(connection).provider


def session_of(
    model: type[DataT], *, fresh: Callable[[], DataT] | None = None
) -> Callable[..., Awaitable[Session[DataT]]]:
    """Return a dependency that gives the session, whose data have the shape of `model`.

    `CartSession = Annotated[Session[Cart], Depends(session_of(Cart))]`: then `await
    session.data()` is a Cart, and `await session.save(cart)` stores what changed in it. Loaded
    once, whatever else asks for the session; answers as `get_session` does.

    Args:
        model: a Pydantic model, dataclass or TypedDict; each of its fields is a key.
        fresh: makes what to begin anew with where the data do not fit the model, as those of an
            older deployment may not; `Cart` itself if all of its fields have defaults. Without
            it, `data()` raises SessionDataMismatch, which is answered with 422.

    Raises:
        SessionUsageError: the model has no fields.
    """
    shape = shape_of(model)

    async def give(session: Session = Depends(get_session)) -> Session[DataT]:
        return TypedSession(session, shape, fresh)

    return give


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

    A new id is made in every case (ASVS 7.2.4). When the response starts, every session ends whose
    tokens came with the request. If it never starts, the new session is undone and the old ones
    stay.

    Args:
        connection: the Request or, before `accept()`, the WebSocket.
        user_id: who logged in; any text that is not empty.
        claims: small read-only facts, which the client can read: they are signed into the token,
            which has at most 4096 bytes.
        data: first values of the session; they stay on the server.
        expiration: idle expiration of this session: seconds, or a timedelta; default from the
            settings.
        max_lifetime: longest life of this session: seconds, or a timedelta; default from the
            settings, and at most that.

    Raises:
        SessionDataError: user id, claims or data cannot be stored.
        SessionTooLarge: token, cookie or data would be too large.
        SessionUsageError: the response has started, the request is over, or a time is out of range.
        CrossOriginRefused: another origin's page tries to log a browser in.
        StoreUnavailable: the store cannot answer, or is full.
        SessionEnded: all sessions of this user were ended since the request began.

    Whatever is raised, no session was begun; but a store that does not answer may keep one, whose
    token nobody has, until it expires.
    """
    return await state_of(connection).login(
        connection,
        user_id,
        claims=claims,
        data=data,
        expiration=expiration,
        max_lifetime=max_lifetime,
    )


async def renew_session(connection: HTTPConnection) -> Session:
    """Exchange the refresh token that the request carries; the response brings the next pair.

    Counts as a use. The same token buys the same pair again for `MEMSESSION_REFRESH_GRACE`, and
    until that pair was used: a lost response, or two tabs at once, log nobody out. Any older token
    ends the session, for it was used by two (RFC 9700 section 4.14.2).

    Args:
        connection: the Request or, before `accept()`, the WebSocket.

    Raises:
        NotAuthenticated: no refresh token came.
        InvalidToken: it does not verify; nothing was changed.
        SessionEnded: its session is over; `reused` if it was ended because of this token.
        CredentialConflict: tokens of two sessions came, and both live; or two tokens of one kind,
            and they differ.
        CrossOriginRefused: another origin's page tries it.
        SessionUsageError: the settings ask for no refresh tokens, or the response has started.
        StoreUnavailable: the store cannot answer.
    """
    return await state_of(connection).renew(connection)


async def logout_session(connection: HTTPConnection) -> bool:
    """End the session that the request's tokens name, whichever of them is still good.

    Needs no live session: the response clears the cookies in any case. Returns whether there was
    a session to end.

    Raises:
        CredentialConflict: two credentials disagree.
        CrossOriginRefused: another origin's page tries it.
        StoreUnavailable: the store cannot answer; nothing is cleared.
    """
    return await state_of(connection).logout(connection)
