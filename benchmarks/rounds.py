"""Contenders timed in turns: in each round every one of them runs for a short while.

So all meet the same machine, also one that others use: what slows a round down slows all of it.
A ratio is the median of the rounds' ratios. The order is another one in each round; the garbage
collector runs as it does in a service, after everything that was set up is out of its reach and
what others left behind is gone.
"""

import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

Work = Callable[[int], Awaitable[object]]
"""Does something so many times."""

_ORDERS = 20_251_127  # any seed does: orders are to be various, and the same again next time


@dataclass(frozen=True, slots=True)
class Times:
    """Microseconds that one call took, in each round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Microseconds."""
        return statistics.median(self.rounds)

    def ratio(self, base: "Times") -> float:
        """Return how many times as long as another contender's calls these took."""
        pairs = zip(self.rounds, base.rounds, strict=True)
        return statistics.median(mine / other for mine, other in pairs)

    def more(self, base: "Times") -> float:
        """Return how many microseconds longer than another contender's calls these took."""
        pairs = zip(self.rounds, base.rounds, strict=True)
        return statistics.median(mine - other for mine, other in pairs)


async def timed(
    contenders: Mapping[str, Work],
    *,
    rounds: int,
    seconds: float = 0.004,
    clock: Callable[[], float] = time.thread_time,
) -> dict[str, Times]:
    """Time all contenders, in turns.

    Args:
        contenders: by name.
        rounds: turns of each.
        seconds: about how long one turn lasts.
        clock: by default the time that this thread was working. Where nothing is waited for, that
            is what an idle machine would take; where something is, take `time.perf_counter`.
    """
    calls = {name: await _calls_in(work, seconds, clock) for name, work in contenders.items()}
    found: dict[str, list[float]] = {name: [] for name in contenders}
    order, shuffle = list(contenders), random.Random(_ORDERS).shuffle
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            shuffle(order)
            for name in order:
                work, number = contenders[name], calls[name]
                gc.collect()
                began = clock()
                await work(number)
                found[name].append((clock() - began) / number * 1e6)
    finally:
        gc.unfreeze()
    return {name: Times(tuple(taken)) for name, taken in found.items()}


async def _calls_in(work: Work, seconds: float, clock: Callable[[], float]) -> int:
    """Warm up, and return how many calls take that long."""
    await work(50)
    began = clock()
    await work(50)
    return max(1, round(50 * seconds / (clock() - began)))
