"""SessionClock: the time of the applications under test, moved by hand."""

import math
from collections.abc import Callable
from typing import Self

from fastapi_memsession.clock import system_clock


class SessionClock:
    """A clock that stands still until it is moved. Followed inside its `with` block.

    Every application of this process follows it, but those that were set up with a clock of their
    own: their tokens, stores, locks and clean-up. The machine's time is left alone.
    """

    def __init__(self) -> None:
        # The next whole second: sums are then exact, to the very moment of an expiry.
        self._now = float(math.ceil(system_clock()))
        self._before: list[Callable[[], float]] = []

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock on. Who sleeps by it, as the clean-up does, wakes if it is time to."""
        self._now += seconds
        system_clock.wake()

    def __enter__(self) -> Self:
        self._before.append(system_clock.follow(lambda: self._now))
        return self

    def __exit__(self, *error: object) -> None:
        system_clock.follow(self._before.pop())
