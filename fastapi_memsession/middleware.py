"""The ASGI middleware: gives each connection its state, and follows the application's lifespan."""

import asyncio
import contextvars
import logging
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from fastapi_memsession.answers import Answers
from fastapi_memsession.cleanup import clean_up_forever
from fastapi_memsession.connection import SCOPE_KEY, ConnectionState
from fastapi_memsession.errors import SessionError
from fastapi_memsession.provider import SessionProvider
from fastapi_memsession.response import over

logger = logging.getLogger("fastapi_memsession")


class ConnectionMiddleware:
    """Gives each connection its state, and ties the provider to the application's lifespan.

    Args:
        app: what comes next.
        provider: the application's.
        answers: for mounted applications.
        prepare: called when the application is complete, before it serves.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        provider: SessionProvider,
        answers: Answers,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        if prepare is not None:
            prepare()
        self.app = app
        self._provider = provider
        self._answers = answers
        self._subprotocols = getattr(provider.carrier, "subprotocols", ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or one run of the lifespan."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._lifespan(scope, receive, send)
                return
            offered = scope.get("subprotocols") or ()
            ours = next((name for name in self._subprotocols if name in offered), None)
            if ours is not None:
                send = _choosing(ours, send)
        state = ConnectionState(self._provider, self._answers, send)
        if SCOPE_KEY in scope:
            # A mounted application with a set-up of its own: what is outside keeps its state, also
            # middlewares that go on while the response is being sent.
            scope = dict(scope)
        scope[SCOPE_KEY] = state
        try:
            app = self.app  # CPython 3.11 calls what it has read faster than what it reads to call
            await app(scope, receive, state.send)
        except SessionError as error:
            # From a middleware: what is further inside has been answered there.
            if state.started:
                raise
            await self._answer(scope, receive, state.send, error)
        finally:
            # The connection and, of most servers, what sends know the state in turn, by the scope:
            # they would wait for the garbage collector, and keep all that belongs to the request.
            state.forward = over
            if state.connection is not None:
                state.connection = None
                if not state.started:
                    await state.undo()

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, error: SessionError
    ) -> None:
        if scope["type"] == "websocket":
            await self._answers.answer(WebSocket(scope, receive, send), error)
        else:
            response = await self._answers.answer(Request(scope, receive), error)
            assert response is not None  # noqa: S101 - an HTTP request gets a response
            await response(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start before the user's lifespan does, stop after it; whatever kind of lifespan it is.

        Each run keeps its own task, so nested runs (two TestClients on one application) and runs
        on several event loops do not disturb each other.
        """
        running: list[asyncio.Task[None]] = []
        store = self._provider.store  # whatever becomes of the provider's, this one is closed

        async def receive_and_start() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await store.open()
                except Exception as error:
                    # Without this, servers take it that lifespans are unsupported, and serve.
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    raise
                clean_up = clean_up_forever(self._provider)
                # An empty context: nothing of whoever starts the application is kept alive.
                task = asyncio.create_task(clean_up, context=contextvars.Context())
                running.append(task)
            return message

        async def stop() -> None:
            while running:
                task = running.pop()
                task.cancel()
                await asyncio.wait({task})
                try:
                    await store.aclose()
                except Exception:
                    logger.exception("The store of the sessions could not be closed.")

        async def stop_and_send(message: Message) -> None:
            if message["type"] != "lifespan.startup.complete":
                await stop()
            await send(message)

        try:
            await self.app(scope, receive_and_start, stop_and_send)
        finally:
            await stop()


def _choosing(subprotocol: str, send: Send) -> Send:
    """Choose our subprotocol where the application chooses none.

    A browser that offered some fails the connection unless one of them is chosen, and the other
    one is the token.
    """

    async def choose_and_send(message: Message) -> None:
        if message["type"] == "websocket.accept" and message.get("subprotocol") is None:
            message = {**message, "subprotocol": subprotocol}
        await send(message)

    return choose_and_send
