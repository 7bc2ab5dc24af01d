"""Per-connection state, and the ASGI middleware that keeps it.

The state is put into the scope, where mounted applications and inner middlewares find it too.
What a login or a logout must tell the client goes out with the start of the response, whatever
kind of response that becomes; a login whose response never starts is undone.
"""

import asyncio
import contextvars
import logging
from typing import Any

import anyio
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastapi_memsession.answers import Answers
from fastapi_memsession.errors import (
    CredentialConflict,
    NotAuthenticated,
    SessionEnded,
    SessionUsageError,
)
from fastapi_memsession.origins import refuse_cross_origin
from fastapi_memsession.provider import SessionProvider
from fastapi_memsession.records import SessionKey
from fastapi_memsession.session import Session
from fastapi_memsession.stores.base import EndReason

logger = logging.getLogger("fastapi_memsession")

_SCOPE_KEY = "fastapi_memsession"
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class ConnectionState:
    """The session of one HTTP request or WebSocket: loaded once, shared by all who ask."""

    __slots__ = (
        "_answers",
        "_created",
        "_headers",
        "_replaced",
        "_send",
        "_session",
        "_started",
        "_touched",
        "provider",
    )

    def __init__(self, provider: SessionProvider, answers: Answers, send: Send) -> None:
        self.provider = provider
        self._answers = answers
        self._send = send
        self._session: Session | NotAuthenticated | None = None
        self._started = False
        self._touched = False
        self._headers: MutableHeaders | None = None
        self._created: list[SessionKey] = []
        self._replaced: list[SessionKey] = []

    async def open(self, connection: HTTPConnection) -> Session:
        """Return the session that the connection's credential names.

        Raises:
            NotAuthenticated: there is none; InvalidToken and SessionEnded tell why.
            CredentialConflict: two credentials disagree.
            CrossOriginRefused: another origin's page sent an unsafe request.
            StoreUnavailable: the store cannot tell.
        """
        self._touch(connection)
        if self._session is None:
            try:
                self._session = await self._load(connection)
            except NotAuthenticated as error:
                self._session = error
        if isinstance(self._session, NotAuthenticated):
            raise self._session
        if self._session.destroyed:
            raise SessionEnded
        return self._session

    async def login(self, connection: HTTPConnection, user_id: str, **options: Any) -> Session:
        """Begin a new session and end the one the connection came with, both with the response."""
        if self._started:
            raise SessionUsageError(
                "login_session() was called after the response started, when no header can carry "
                "the token any more. Log in before returning the response, or before "
                "websocket.accept()."
            )
        self._touch(connection)
        provider = self.provider
        if provider.carrier.ambient:
            refuse_cross_origin(connection, provider.settings.trusted_origins)
        replaced = self._current_key(connection)
        login = await provider.login(user_id, **options)
        self._created.append(SessionKey(login.session.user_id, login.session.id))
        if replaced is not None:
            self._replaced.append(replaced)
        self._session = login.session
        self._headers = login.headers
        return login.session

    async def send(self, message: Message) -> None:
        """Pass a message on, with our headers if it starts the response."""
        if message["type"] not in _STARTS or self._started:
            await self._send(message)
            return
        if self._touched:
            self._add_headers(message)
        await self._send(message)
        self._started = True
        for key in self._replaced:
            await self._end(key, "replaced")

    async def finish(self) -> None:
        """Undo the logins of a connection whose response never started."""
        if self._created and not self._started:
            for key in self._created:
                await self._end(key, "undone")

    async def _load(self, connection: HTTPConnection) -> Session:
        provider = self.provider
        credential = provider.carrier.extract(connection)
        if credential is None:
            raise NotAuthenticated
        if credential.ambient:
            refuse_cross_origin(connection, provider.settings.trusted_origins)
        return await provider.open(credential.token)

    def _current_key(self, connection: HTTPConnection) -> SessionKey | None:
        if isinstance(self._session, Session):
            return SessionKey(self._session.user_id, self._session.id)
        try:
            credential = self.provider.carrier.extract(connection)
        except CredentialConflict:  # nobody knows which is meant, and a login must still work
            return None
        return self.provider.key_of(credential.token) if credential else None

    def _touch(self, connection: HTTPConnection) -> None:
        if not self._touched:
            self._touched = True
            # A mounted application has handlers of its own, and would answer 500.
            handlers = connection.scope.get("starlette.exception_handlers")
            if handlers is not None and NotAuthenticated not in handlers[0]:
                self._answers.register(handlers[0])

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(raw=list(message.get("headers", ())))
        carrier = self.provider.carrier
        if isinstance(self._session, Session) and self._session.destroyed:
            carrier.clear(headers)
        elif self._headers is not None:
            headers.raw.extend(self._headers.raw)
        if message["type"] != "websocket.accept":
            headers["Cache-Control"] = "no-store"
            varies = ", ".join(headers.getlist("vary"))
            known = {name.strip().lower() for name in varies.split(",")}
            added = [name for name in carrier.vary if name.lower() not in known]
            if added and "*" not in known:
                headers["Vary"] = ", ".join([varies, *added] if varies else added)
        message["headers"] = headers.raw

    async def _end(self, key: SessionKey, reason: EndReason) -> None:
        # The client may be gone and this task cancelled: the store must hear of it all the same.
        with anyio.CancelScope(shield=True):
            try:
                await self.provider.end(key, reason=reason)
            except Exception:
                logger.exception(
                    "A session that was %s could not be ended; it will expire.", reason
                )


def state_of(connection: HTTPConnection) -> ConnectionState:
    """Return the state of a connection.

    Raises:
        SessionUsageError: it has none.
    """
    state = connection.scope.get(_SCOPE_KEY)
    if state is None:
        raise SessionUsageError(
            "This connection has no session state. Either setup_sessions(app) was not called for "
            "this application, or this code runs in a middleware outside of it: middlewares run "
            "in the reverse order of being added, so call setup_sessions(app) after adding those "
            "that use sessions."
        )
    return state  # type: ignore[no-any-return]


class ConnectionMiddleware:
    """Gives each connection its state, and ties the provider to the application's lifespan.

    Args:
        app: what comes next.
        provider: the application's.
        answers: for mounted applications.
    """

    def __init__(self, app: ASGIApp, *, provider: SessionProvider, answers: Answers) -> None:
        self.app = app
        self._provider = provider
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or one run of the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        state = ConnectionState(self._provider, self._answers, send)
        if _SCOPE_KEY in scope:
            # A mounted application with a set-up of its own: what is outside keeps its state, also
            # middlewares that go on while the response is being sent.
            scope = dict(scope)
        scope[_SCOPE_KEY] = state
        try:
            await self.app(scope, receive, state.send)
        finally:
            await state.finish()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start before the user's lifespan does, stop after it; whatever kind of lifespan it is.

        Each run keeps its own task, so nested runs (two TestClients on one application) and runs
        on several event loops do not disturb each other.
        """
        running: list[asyncio.Task[None]] = []

        async def receive_and_start() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self._provider.store.open()
                except Exception as error:
                    # Without this, servers take it that lifespans are unsupported, and serve.
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    raise
                clean_up = self._provider.clean_up_forever()
                # An empty context: nothing of whoever starts the application is kept alive.
                task = asyncio.create_task(clean_up, context=contextvars.Context())
                running.append(task)
            return message

        async def stop() -> None:
            while running:
                task = running.pop()
                task.cancel()
                await asyncio.wait({task})
                await self._provider.store.aclose()

        async def stop_and_send(message: Message) -> None:
            if message["type"] != "lifespan.startup.complete":
                await stop()
            await send(message)

        try:
            await self.app(scope, receive_and_start, stop_and_send)
        finally:
            await stop()
