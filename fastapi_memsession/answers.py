"""What a client is told when something goes wrong: the only place where errors become answers.

Mistakes of the calling program have no answer here: they stay exceptions, for the log.
"""

import logging
from collections.abc import Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketState

from fastapi_memsession.errors import (
    CredentialConflict,
    CrossOriginRefused,
    InvalidToken,
    LockTimeout,
    NotAuthenticated,
    NotPermitted,
    SessionDataError,
    SessionDataMismatch,
    SessionEnded,
    SessionError,
    SessionTooLarge,
    StoreUnavailable,
    TokenExpired,
)

T = TypeVar("T")
D = TypeVar("D")
logger = logging.getLogger("fastapi_memsession")

# An error is answered as the nearest of its ancestors here.
_STATUS: dict[type[Exception], HTTPStatus] = {
    NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    CredentialConflict: HTTPStatus.BAD_REQUEST,
    CrossOriginRefused: HTTPStatus.FORBIDDEN,
    NotPermitted: HTTPStatus.FORBIDDEN,
    SessionTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    SessionDataError: HTTPStatus.UNPROCESSABLE_ENTITY,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
# What is not here is told in the error's own words, which say what the client can do.
_DETAIL: dict[type[Exception], str] = {
    NotAuthenticated: "Not authenticated",
    SessionEnded: "The session has ended",
    TokenExpired: "The access token has expired",
    SessionTooLarge: "The session cannot hold that much",
    SessionDataError: "A value cannot be kept in the session",
    SessionDataMismatch: "The session holds what cannot be used any more; log in again",
    StoreUnavailable: "Sessions are unavailable at the moment; try again",
    LockTimeout: "The session is busy; try again",
}
_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013  # RFC 6455 section 7.4.1 and its registry
_MAX_REASON_BYTES = 123  # RFC 6455 section 5.5

ExceptionHandlers = MutableMapping[int | type[Exception], Any]


class Answers:
    """Turns errors into answers, for HTTP requests and WebSockets alike.

    Args:
        scheme: what `WWW-Authenticate` asks for.
    """

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    def register(self, handlers: ExceptionHandlers) -> None:
        """Answer our errors wherever `handlers` has no answer of the user's."""
        handlers.setdefault(SessionError, self.answer)

    async def answer(self, connection: Request | WebSocket, error: Exception) -> Response | None:
        """Answer `error`: a JSON body as FastAPI's own errors have it, or a closed WebSocket.

        An error that has no answer is a mistake of the program, and raised again.
        """
        status = _nearest(_STATUS, error, None)
        if status is None:
            raise error
        detail = _nearest(_DETAIL, error, str(error))
        if isinstance(error, StoreUnavailable):
            logger.error("%s", error)
        elif isinstance(error, SessionDataError):  # most likely the program's mistake: say where
            logger.warning("A value was refused: %s", error, exc_info=error)
        reason = error.reason if isinstance(error, SessionEnded | NotPermitted) else None
        if isinstance(connection, WebSocket):
            await self._close(connection, error, f"{detail}: {reason}" if reason else detail)
            return None
        body: dict[str, Any] = {"detail": detail} | ({"reason": reason} if reason else {})
        if isinstance(error, NotPermitted) and error.max_age is not None:
            body["max_age"] = error.max_age
        return JSONResponse(body, status, self._headers(error))

    def _headers(self, error: Exception) -> dict[str, str]:
        headers = {"Cache-Control": "no-store"}
        if isinstance(error, NotAuthenticated):
            challenge = self._scheme
            # No error code when no credential came (RFC 6750 section 3.1).
            if isinstance(error, InvalidToken | SessionEnded):
                challenge += ' error="invalid_token"'
            if isinstance(error, SessionEnded):
                challenge += f', reason="{error.reason}"'
            elif isinstance(error, TokenExpired):
                challenge += ', error_description="The access token has expired"'
            headers["WWW-Authenticate"] = challenge
        if isinstance(error, NotPermitted) and error.max_age is not None:  # RFC 9470 section 3
            headers["WWW-Authenticate"] = (
                f'{self._scheme} error="insufficient_user_authentication", '
                f'max_age="{error.max_age:g}"'
            )
        if isinstance(error, StoreUnavailable):
            headers["Retry-After"] = str(error.retry_after)
        return headers

    async def _close(self, websocket: WebSocket, error: Exception, detail: str) -> None:
        """Refuse the handshake (the client sees HTTP 403), or close what was accepted."""
        logger.info("A WebSocket was closed: %s.", detail)
        open_states = {WebSocketState.CONNECTING, WebSocketState.CONNECTED}
        if {websocket.client_state, websocket.application_state} <= open_states:
            code = _TRY_AGAIN_LATER if isinstance(error, StoreUnavailable) else _POLICY_VIOLATION
            reason = detail.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
            await websocket.close(code, reason)


def _nearest(table: Mapping[type[Exception], T], error: Exception, default: D) -> T | D:
    return next((table[kind] for kind in type(error).__mro__ if kind in table), default)
