"""Races: threads with event loops of their own, each of which does its part of a round at once."""

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi_memsession import SessionProvider
from tests.conftest import START

ROUNDS = 1000
BATCH = 125  # rounds that are under way at once

Side = Callable[[SessionProvider, int], Awaitable[Any]]


class TickingClock:
    """Each look at it is later than the one before, on whatever thread that was."""

    def __init__(self) -> None:
        self.tick = 1e-6  # seconds; a float tells them apart at this time of history
        self._ticks = itertools.count(1)

    def __call__(self) -> float:
        return START + next(self._ticks) * self.tick


class Racers:
    """Providers, of which the first is for the test itself, and each other one for a thread.

    All keep the same sessions, each in a store of its own if the kind of store can do that.
    """

    def __init__(self, providers: list[SessionProvider]) -> None:
        self.referee, *self._racers = providers

    async def race(
        self, *sides: Side, rounds: int = ROUNDS, batch: int = BATCH
    ) -> list[tuple[Any, ...]]:
        """Run each side, for all rounds, in a thread of its own; return their results by round.

        A side is a function of its provider and the number of the round. In the first batch of
        rounds they go one after the other, in the second the other way round, then all at once;
        every second side goes through a batch backwards, to meet the others somewhere.
        """
        barrier = threading.Barrier(len(sides))
        batches = [range(n, min(n + batch, rounds)) for n in range(0, rounds, batch)]

        async def run(provider: SessionProvider, number: int) -> list[Any]:
            side, step = sides[number], (-1) ** number
            turns = {0: number, 1: len(sides) - 1 - number}
            results = {}
            await provider.store.open()
            try:
                for batch_number, numbers in enumerate(batches):
                    for turn in range(len(sides)):
                        barrier.wait(60)  # nothing else runs on this loop
                        if turn == turns.get(batch_number, 0):
                            calls = {each: side(provider, each) for each in numbers[::step]}
                            results |= zip(calls, await all_of(calls.values()), strict=True)
            except BaseException:
                barrier.abort()
                raise
            finally:
                await provider.store.aclose()
            return [results[number] for number in range(rounds)]

        with ThreadPoolExecutor(len(sides)) as pool:
            loop = asyncio.get_running_loop()
            running = [
                loop.run_in_executor(pool, asyncio.run, run(self._racers[number], number))
                for number in range(len(sides))
            ]
            return list(zip(*await asyncio.gather(*running), strict=True))

    async def each(self, call: Callable[[int], Awaitable[Any]], rounds: int = ROUNDS) -> list[Any]:
        """Call for each round, on the loop of the test."""
        return await all_of(call(number) for number in range(rounds))


async def all_of(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    """Await all, and only then raise what one of them raised: none is left on its way."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for each in results:
        if isinstance(each, BaseException):
            raise each
    return results
