"""Interrupts one block of code when its session ends. Knows tasks, no store and no HTTP."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from fastapi_memsession.errors import EndReason, SessionEnded, SessionUsageError
from fastapi_memsession.records import SessionKey


def refuse_streams(frame: FrameType | None) -> None:
    """Raise SessionUsageError if the caller of a function, whose frame this is, is a stream.

    A generator that yields inside a block leaves the task to others meanwhile, and they would be
    cancelled instead of it (PEP 789). One that is driven as a context manager does not.
    """
    caller = frame and frame.f_back
    if caller and caller.f_code.co_flags & inspect.CO_ASYNC_GENERATOR:
        driver = caller.f_back
        if driver is None or driver.f_globals.get("__name__") != "contextlib":
            raise SessionUsageError(
                "session.alive() cannot be used in a generator that yields; pass the generator to "
                "session.while_alive(), and its result to StreamingResponse."
            )


class Watch:
    """Somebody who is to be interrupted when a session ends.

    Attributes:
        key: the session, by the id that it has now.
        ended: why it is over; None while it lives.
    """

    __slots__ = ("_follow", "_interrupted", "_task", "ended", "key")

    def __init__(self, key: SessionKey, follow: Callable[[SessionKey], None]) -> None:
        self.key = key
        self.ended: EndReason | None = None
        self._follow = follow
        self._task: asyncio.Task[object] | None = None
        self._interrupted = False

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Cancel what the block waits for when the session ends, and raise SessionEnded."""
        self._refuse()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - who awaits has a task
        before = task.cancelling()
        self._task = task
        try:
            yield
        except asyncio.CancelledError:
            if self._stop(task) <= before:
                self._refuse()
            raise
        except BaseException:
            self._stop(task)
            raise
        self._stop(task)
        self._refuse()

    def end(self, reason: EndReason) -> None:
        """Interrupt, now that the session is over."""
        self.ended = reason
        if self._task is not None and not self._interrupted:
            self._interrupted = True
            self._task.cancel()

    def move(self, key: SessionKey) -> None:
        """Go on under another id."""
        self.key = key
        self._follow(key)

    def _stop(self, task: asyncio.Task[object]) -> int:
        """Take back what we did to the task; return how often others asked it to stop."""
        interrupted, self._interrupted, self._task = self._interrupted, False, None
        return task.uncancel() if interrupted else task.cancelling()

    def _refuse(self) -> None:
        if self.ended is not None:
            raise SessionEnded(self.ended, **self.key._asdict()) from None
