"""Work that is done to its end, also if who waits for it is cancelled. Knows no session."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_under_way: set[asyncio.Task[Any]] = set()  # keeps tasks that outlive their caller from vanishing


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. A caller that is cancelled leaves, and the work goes on."""
    return await asyncio.shield(begun(work))


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. A caller that is cancelled leaves when it is done."""
    task, cancelled = begun(work), None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


def begun(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin work that goes on whoever waits for it, and return its task."""
    task = asyncio.create_task(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    return task
