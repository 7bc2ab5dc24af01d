"""A time within which a block must end. Knows asyncio and nothing else."""

import asyncio
from typing import Any

_AGAIN = 0.05  # seconds after which a task that was told to stop is told once more


class Deadline:
    """Raises TimeoutError out of its block when so many seconds are over.

    As `asyncio.timeout` does; but the task is told twice, for Python 3.11 loses a cancellation that
    comes with an answer or error. One in another would do that as well, at twice the cost.
    """

    __slots__ = ("_asked", "_seconds", "_task", "_timer", "_told")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._told = 0

    def __enter__(self) -> None:
        self._task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        self._asked = self._task.cancelling()
        self._timer = self._task.get_loop().call_later(self._seconds, self._stop)

    def _stop(self) -> None:
        self._told += 1
        self._task.cancel()
        if self._told == 1:
            self._timer = self._task.get_loop().call_later(_AGAIN, self._stop)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._timer.cancel()
        for _ in range(self._told):
            self._task.uncancel()
        ours = self._told and self._task.cancelling() <= self._asked
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError
