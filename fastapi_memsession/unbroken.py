"""Work that is done to its end, also if who waits for it is cancelled. Knows no session."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_under_way: set[asyncio.Task[Any]] = set()  # keeps tasks that outlive their caller from vanishing


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns. A caller that is cancelled leaves, and the work goes on."""
    return await asyncio.shield(begin(work))


def begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin work that goes on although nobody may wait for it; return its task."""
    task = asyncio.create_task(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    return task
