"""What a store tells about itself. Numbers that only one kind of store has are tested there."""

import asyncio
from typing import Any

from fastapi_memsession.testing.contract.trial import Trial, TrialClock, create


async def sweep(store: Any, clock: TrialClock, budget: Any = 100) -> Any:
    return await store.sweep(now=clock(), budget=budget)


class Stats(Trial):
    """What a store tells about itself. Numbers that only one kind of store has are tested there."""

    async def test_a_new_store_has_swept_nothing(self, store: Any) -> None:
        """It says so, and says None of what it cannot tell."""
        stats = await store.stats()
        assert (stats.sweeps, stats.swept) == (0, 0)
        for told in (stats.sessions, stats.users, stats.data_bytes):
            assert told in {0, None}

    async def test_sweeps_and_what_they_removed_are_counted(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """The dead only, each once: neither the living nor those that were ended."""
        for number in range(7):
            await create(
                store, record(f"user-{number % 3}", expires_at=clock() + 1 + number), clock
            )
        ended = record()
        await create(store, ended, clock)
        await store.delete(ended.key, now=clock(), reason="logout")
        clock.advance(5)
        assert await sweep(store, clock) == 5
        stats = await store.stats()
        assert (stats.sweeps, stats.swept) == (1, 5)
        assert await sweep(store, clock) == 0
        clock.advance(4)
        assert await sweep(store, clock, budget=1) == 2
        stats = await store.stats()
        assert (stats.sweeps, stats.swept) == (3, 7)

    async def test_a_second_sweep_beside_a_running_one_does_nothing(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """It removes nothing and counts for none."""
        for _ in range(20):
            await create(store, record(), clock)
        clock.advance(100)
        removed = await asyncio.gather(*(sweep(store, clock, budget=1) for _ in range(5)))
        assert removed == [20, 0, 0, 0, 0]
        stats = await store.stats()
        assert (stats.sweeps, stats.swept) == (1, 20)
        assert await sweep(store, clock) == 0
        assert (await store.stats()).sweeps == 2

    async def test_a_closed_store_still_knows_its_numbers(
        self, store: Any, clock: TrialClock
    ) -> None:
        """They are the process's, not the connection's."""
        await sweep(store, clock)
        await store.aclose()
        await store.open()
        assert (await store.stats()).sweeps == 1
