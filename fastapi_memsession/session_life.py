"""The life of a session: what runs for it ends with it. Knows tasks and streams, no HTTP."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeVar

from fastapi_memsession.errors import SessionEnded
from fastapi_memsession.interruption import Watch, refuse_streams
from fastapi_memsession.session_data import SessionData

T = TypeVar("T")


class SessionLife(SessionData):
    """What every session can do for those who run while it lives; see Session."""

    __slots__ = ()

    def alive(self) -> AbstractAsyncContextManager[None]:
        """Interrupt the block when the session ends; `async with session.alive(): ...`.

        Whoever ends it, in whichever process, or if it expires: what the block awaits is cancelled
        at once, and SessionEnded raised. A WebSocket is then closed with 1008 and the reason, a
        request that waits is answered with 401. Under a new id the session lives on, and the block
        goes on. Being in it extends nothing.

        Raises:
            SessionEnded: it is over.
            StoreUnavailable: on entering; a store that fails later interrupts nothing.
            SessionUsageError: in a generator, which is not in the block while it yields: see
                `while_alive`.
        """
        refuse_streams(inspect.currentframe())
        return self._alive()

    @asynccontextmanager
    async def _alive(self) -> AsyncIterator[None]:
        self._check_alive()
        async with self._watched() as watch:
            with watch.interrupting():
                yield

    async def while_alive(self, source: AsyncIterable[T]) -> AsyncGenerator[T, None]:
        """Pass on what an event stream yields until it or the session ends.

        `StreamingResponse(session.while_alive(events()), media_type="text/event-stream")`. What
        `source` awaits is cancelled when the session ends, as by `alive()`. To the client the
        stream looks complete; when it comes back, it is answered with 401.

        Raises:
            StoreUnavailable: before the first item.
        """
        items = aiter(source)
        try:
            with suppress(SessionEnded):
                self._check_alive()
                async with self._watched() as watch:
                    while True:
                        with watch.interrupting():
                            try:
                                item = await anext(items)
                            except StopAsyncIteration:
                                return
                        yield item
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()

    def _watched(self) -> AbstractAsyncContextManager[Watch]:
        keeper = self._keeper
        return keeper.watches.watch(keeper.store, self._record, self._follow)
