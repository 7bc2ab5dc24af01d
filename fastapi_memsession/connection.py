"""The session of one connection: loaded once, and told to the client with the response.

The state stands in the scope, where mounted applications and inner middlewares find it too. What
a login or a logout must tell the client goes out with the start of the response, whatever kind of
response that becomes; a login whose response never starts is undone.
"""

import asyncio
import logging
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import Message, Send

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

SCOPE_KEY = "fastapi_memsession"
"""Where in the scope the state of a connection stands."""

_endings: set[asyncio.Task[None]] = set()  # keeps tasks that outlive their request from vanishing
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class ConnectionState:
    """The session of one HTTP request or WebSocket: loaded once, shared by all who ask."""

    __slots__ = (
        "_answers",
        "_created",
        "_headers",
        "_refusal",
        "_replaced",
        "_send",
        "_session",
        "_touched",
        "provider",
        "started",
    )

    def __init__(self, provider: SessionProvider, answers: Answers, send: Send) -> None:
        self.provider = provider
        self._answers = answers
        self._send = send
        self._session: Session | None = None
        # The class alone: an error that is kept holds the whole call stack, and each time it is
        # raised again a little more.
        self._refusal: type[NotAuthenticated] | None = None
        self.started = False
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
        if self._session is None and self._refusal is None:
            try:
                loaded = await self._load(connection)
            except NotAuthenticated as error:
                self._refusal = type(error)
            else:
                # A login, or another task that asked at the same time, may have been faster.
                self._session = self._session or loaded
        if self._session is None:
            raise (self._refusal or NotAuthenticated)()
        if self._session.destroyed:
            raise SessionEnded
        return self._session

    async def login(self, connection: HTTPConnection, user_id: str, **options: Any) -> Session:
        """Begin a new session and end the one the connection came with, both with the response."""
        if self.started:
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
        login = provider.prepare_login(user_id, **options)
        key = SessionKey(login.session.user_id, login.session.id)
        try:
            await provider.begin(login, replacing=replaced)
        except BaseException:
            # Refused, cancelled, or stored with the reply lost: whichever it was, it is not.
            await self._end(key, "undone")
            raise
        self._created.append(key)
        if replaced is not None:
            self._replaced.append(replaced)
        self._session = login.session
        self._headers = login.headers
        return login.session

    async def send(self, message: Message) -> None:
        """Pass a message on, with our headers if it starts the response."""
        if message["type"] not in _STARTS or self.started:
            await self._send(message)
            return
        if self._touched:
            self._add_headers(message)
        await self._send(message)
        self.started = True
        for key in self._replaced:
            await self._end(key, "replaced")

    async def finish(self) -> None:
        """Undo the logins of a connection whose response never started."""
        if self._created and not self.started:
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
        self._touched = True
        # A mounted application has handlers of its own, and would answer 500.
        handlers = connection.scope.get("starlette.exception_handlers")
        if handlers is not None:
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
        task = asyncio.create_task(self._end_or_log(key, reason))
        _endings.add(task)
        task.add_done_callback(_endings.discard)
        await asyncio.shield(task)

    async def _end_or_log(self, key: SessionKey, reason: EndReason) -> None:
        try:
            await self.provider.end(key, reason=reason)
        except Exception:
            logger.exception("A session that was %s could not be ended; it will expire.", reason)


def state_of(connection: HTTPConnection) -> ConnectionState:
    """Return the state of a connection.

    Raises:
        SessionUsageError: it has none.
    """
    state = connection.scope.get(SCOPE_KEY)
    if state is None:
        raise SessionUsageError(
            "This connection has no session state. Either setup_sessions(app) was not called for "
            "this application, or this code runs in a middleware outside of it: middlewares run "
            "in the reverse order of being added, so call setup_sessions(app) after adding those "
            "that use sessions."
        )
    return state  # type: ignore[no-any-return]
