"""Blocking calls of async code, from threads. Knows coroutines and event loops, not sessions.

A coroutine is run from its beginning to its end in one place: by the thread that asks, if it never
waits for anything, or on its event loop, while the thread waits. Never half here and half there,
for what its first half did cannot be done again.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    contextmanager,
    nullcontext,
    suppress,
)
from typing import Any, TypeVar

from anyio import from_thread

from fastapi_memsession.errors import SessionUsageError, StoreUnavailable

T = TypeVar("T")
Guard = AbstractContextManager[object]

_NO_GUARD: Guard = nullcontext()


class _BlockFailed(Exception):
    """Tells a context manager that its block failed, in a thread that knows more."""


def finish_here(coroutine: Coroutine[Any, Any, T], guard: Guard = _NO_GUARD) -> T:
    """Run a coroutine that never waits, in this thread, and under the guard.

    Raises:
        SessionUsageError: it waited after all, and was given up; or an event loop runs here.
    """
    _refuse_on_event_loop(coroutine)
    with guard:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
    coroutine.close()
    raise SessionUsageError(
        "A call waited for something, although its store says that none does. It was given up, "
        "and may have been done in part. Set `waits = True` in the class of the store."
    )


def finish_on(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], guard: Guard = _NO_GUARD
) -> T:
    """Run a coroutine on its event loop, while this thread waits, and holds the guard.

    Context variables go with it.

    Raises:
        SessionUsageError: an event loop runs in this thread.
        StoreUnavailable: the loop has stopped.
    """
    _refuse_on_event_loop(coroutine)
    with guard:
        return _outcome(_start_on(loop, coroutine))


@contextmanager
def held_on(
    loop: asyncio.AbstractEventLoop, manager: AbstractAsyncContextManager[T]
) -> Iterator[T]:
    """Enter and leave an async context manager on its event loop, both in one task.

    What the block raises stays in its thread; the manager is told that it failed, no more.
    """
    inside: Future[tuple[T, asyncio.Event]] = Future()
    block: Future[None] = Future()

    async def hold() -> None:
        async with manager as given:
            leave = asyncio.Event()
            inside.set_result((given, leave))
            await leave.wait()
            block.result()

    _refuse_on_event_loop()
    holding = _start_on(loop, hold())
    either: set[Future[Any]] = {inside, holding}
    wait(either, return_when=FIRST_COMPLETED)
    if not inside.done():
        _outcome(holding)  # raises what entering raised
    given, leave = inside.result()
    try:
        yield given
    except BaseException:
        block.set_exception(_BlockFailed())
        raise
    else:
        block.set_result(None)
    finally:
        try:
            loop.call_soon_threadsafe(leave.set)
        except RuntimeError:  # the loop is closed: nobody holds anything there any more
            holding.cancel()
        with suppress(_BlockFailed):  # what it raised goes on
            _outcome(holding)


def worker_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that has this thread run a `def` endpoint or dependency.

    Raises:
        SessionUsageError: this is no such thread.
    """
    _refuse_on_event_loop()
    try:
        return from_thread.run_sync(asyncio.get_running_loop)
    except RuntimeError:
        raise SessionUsageError(
            "This thread was not started by FastAPI, so it cannot answer the request; call this "
            "in the `def` endpoint or dependency itself."
        ) from None


def _start_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:  # the loop is closed
        coroutine.close()
        raise _stopped() from None


def _outcome(future: Future[T]) -> T:
    try:
        return future.result()
    except CancelledError:  # as a loop does with all that is under way before it stops
        raise _stopped() from None


def _stopped() -> StoreUnavailable:
    return StoreUnavailable(
        "The event loop that served this session has stopped; a thread that goes on after its "
        "application cannot reach the store."
    )


def _refuse_on_event_loop(coroutine: Coroutine[Any, Any, object] | None = None) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if coroutine is not None:
        coroutine.close()
    raise SessionUsageError(
        "This call blocks, and the event loop of this thread would stand still, or wait for "
        "itself. In `async def` use Session, get_session and login_session, and await them; the "
        "blocking twins are for `def` endpoints and threads."
    )
