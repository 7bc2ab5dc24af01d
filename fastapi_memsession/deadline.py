"""A time within which a block must end. Knows asyncio and nothing else."""

import asyncio
from typing import Any

_AGAIN = 0.05  # seconds after which a task that was told to stop is told once more


class Deadlines:
    """The deadlines of one event loop, all equally long, so that one timer is enough.

    Nearly every block ends long before: to make a timer for each would be most of what it costs.

    Args:
        seconds: after which a block is ended; made on the loop that will use it.
    """

    __slots__ = ("_loop", "_running", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._running: dict[Deadline, float] = {}  # in the order in which they are over
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, deadline: "Deadline") -> None:
        """Tell a deadline when it is over."""
        over = self._loop.time() + self._seconds
        self._running[deadline] = over
        if self._timer is None:
            self._timer = self._loop.call_at(over, self._look)

    def end(self, deadline: "Deadline") -> None:
        """Forget a deadline. The timer stays, for the others or for nobody."""
        self._running.pop(deadline, None)

    def _look(self) -> None:
        now, due = self._loop.time(), []
        self._timer = None
        for deadline, over in self._running.items():
            if now < over:
                self._timer = self._loop.call_at(over, self._look)
                break
            due.append(deadline)
        for deadline in due:
            del self._running[deadline]
            deadline.stop()


class Deadline:
    """Raises TimeoutError out of its block when its time is over.

    As `asyncio.timeout` does; but the task is told twice, for Python 3.11 loses a cancellation that
    comes with an answer or error.
    """

    __slots__ = ("_again", "_asked", "_deadlines", "_task", "_told")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._told = 0

    def __enter__(self) -> None:
        self._task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        self._asked = self._task.cancelling()
        self._deadlines.begin(self)

    def stop(self) -> None:
        """Tell the task that its time is over."""
        self._told += 1
        self._task.cancel()
        if self._told == 1:
            self._again = self._task.get_loop().call_later(_AGAIN, self.stop)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._deadlines.end(self)
        if not self._told:
            return
        self._again.cancel()
        for _ in range(self._told):
            self._task.uncancel()
        if self._task.cancelling() <= self._asked and kind is asyncio.CancelledError:
            raise TimeoutError
