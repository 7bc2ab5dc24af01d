"""The lock of a session: one holder, first come first served, lost by who dawdles."""

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from fastapi_memsession import LockTimeout, SessionKey, SessionRecord
from fastapi_memsession.stores.base import SetValue
from fastapi_memsession.testing.contract.trial import Trial, TrialClock, create
from fastapi_memsession.values import decode_value


async def read_then_write(store: Any, key: SessionKey, clock: TrialClock, lock: Any) -> None:
    """Add one in two steps, which is safe only for one at a time."""
    async with lock() as lease:
        loaded = await store.load(key, now=clock(), renew_interval=None)
        await asyncio.sleep(0)
        value = str(decode_value(loaded.data["n"]) + 1).encode()
        change = [SetValue("n", value)]
        assert await store.change(key, change, now=clock(), max_bytes=99, lease=lease)


async def value_of(store: Any, key: SessionKey, clock: TrialClock) -> Any:
    record = await store.load(key, now=clock(), renew_interval=None)
    return decode_value(record.data["n"])


class Locks(Trial):
    """The lock of a session: one holder, first come first served, lost by who dawdles."""

    @pytest.fixture
    def counter(self, runner: Any, store: Any, record: Any, clock: TrialClock) -> SessionKey:
        """The key of a live session with the data {"n": 0}."""
        made: SessionRecord = record(data={"n": b"0"})
        runner.run(create(store, made, clock))
        return made.key

    @pytest.fixture
    def lock(self, store: Any, counter: SessionKey, clock: TrialClock) -> Any:
        return lambda timeout=10: store.lock(counter, timeout=timeout, clock=clock)

    async def test_one_holder_among_tasks(
        self, store: Any, counter: SessionKey, clock: TrialClock, lock: Any
    ) -> None:
        """Nothing is lost between reading and writing."""
        await asyncio.gather(*(read_then_write(store, counter, clock, lock) for _ in range(100)))
        assert await value_of(store, counter, clock) == 100

    async def test_one_holder_among_loops_and_threads(
        self, new_store: Any, record: Any, clock: TrialClock
    ) -> None:
        """The same from several event loops at once, each in its own thread."""
        store, made = new_store(), record(data={"n": b"0"})

        async def work() -> None:
            await store.open()
            lock = lambda: store.lock(made.key, timeout=60, clock=clock)  # noqa: E731
            await asyncio.gather(
                *(read_then_write(store, made.key, clock, lock) for _ in range(25))
            )
            await store.aclose()

        await store.open()
        await store.create(made, now=clock(), limit_per_user=None)
        threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert await value_of(store, made.key, clock) == 100
        await store.aclose()

    async def test_sessions_do_not_wait_for_each_other(
        self, store: Any, record: Any, clock: TrialClock, lock: Any
    ) -> None:
        """Each session has its own lock."""
        other = record()
        async with lock(), store.lock(other.key, timeout=0.01, clock=clock):
            pass

    async def test_who_waits_in_vain_is_told(self, lock: Any) -> None:
        """After its own timeout, with the lock still held."""
        async with lock():
            with pytest.raises(LockTimeout, match="not free within"):
                async with lock(0.01):
                    pytest.fail("two holders")

    async def test_first_come_first_served(self, lock: Any) -> None:
        """None overtakes who waits."""
        order = []

        async def enter(name: Any) -> None:
            async with lock():
                order.append(name)

        async with lock():
            tasks = []
            for name in range(10):
                tasks.append(asyncio.create_task(enter(name)))
                await asyncio.wait(tasks, timeout=0)  # lets it come and wait
        await asyncio.gather(*tasks)
        assert order == list(range(10))

    async def test_who_gives_up_is_passed_over(self, lock: Any) -> None:
        """A cancelled waiter, also one that is handed the lock in that moment, holds up nobody."""
        entered = []

        async def enter(name: Any) -> None:
            async with lock():
                entered.append(name)

        for _ in range(20):
            async with lock():
                tasks = [asyncio.create_task(enter(name)) for name in range(3)]
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            tasks[0].cancel()
            with suppress(asyncio.CancelledError):
                await tasks[0]
            await asyncio.gather(*tasks[1:])
        assert entered.count(1) == entered.count(2) == 20

    async def test_who_is_cancelled_while_entering_leaves_it_free(self, lock: Any) -> None:
        """At whichever step that is: the next one need not wait for a lease to run out."""

        async def enter() -> None:
            async with lock():
                pass

        for steps in range(100):
            task = asyncio.create_task(enter())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await enter()

    async def test_to_wait_is_not_to_hold(self, lock: Any, clock: TrialClock) -> None:
        """Who waited long may hold it as long as anyone."""

        async def hold() -> None:
            async with lock():
                clock.advance(9)

        async with lock():
            waiting = asyncio.create_task(hold())
            await asyncio.wait({waiting}, timeout=0)
            clock.advance(9)
        await waiting

    async def test_an_error_inside_lets_the_next_in(self, lock: Any) -> None:
        """The error comes out unchanged."""
        with pytest.raises(ZeroDivisionError):
            async with lock():
                raise ZeroDivisionError
        async with lock(0.01):
            pass

    async def test_a_dead_holder_loses_the_lock(self, lock: Any, clock: TrialClock) -> None:
        """After its timeout by the clock, whoever comes next enters at once."""
        holder = lock()
        await holder.__aenter__()
        clock.advance(10)
        async with lock(0.01):
            pass
        with pytest.raises(LockTimeout, match="held longer"):
            await holder.__aexit__(None, None, None)

    async def test_who_dawdles_can_no_longer_write(
        self, store: Any, counter: SessionKey, lock: Any, clock: TrialClock
    ) -> None:
        """A lease that ran out is refused with the write, even if nobody else entered; nothing is
        written. Who holds the lock now can write.
        """
        with pytest.raises(LockTimeout, match="held longer"):
            async with lock() as lease:
                clock.advance(10)
                with pytest.raises(LockTimeout, match="ran out"):
                    await store.change(
                        counter, [SetValue("n", b"1")], now=clock(), max_bytes=99, lease=lease
                    )
                async with lock(0.5) as newer:
                    await store.change(
                        counter, [SetValue("n", b"2")], now=clock(), max_bytes=99, lease=newer
                    )
        assert await value_of(store, counter, clock) == 2

    async def test_an_error_is_not_hidden_by_a_lost_lock(
        self, lock: Any, clock: TrialClock
    ) -> None:
        """What went wrong inside matters more than that it took too long."""
        with pytest.raises(ZeroDivisionError):
            async with lock():
                clock.advance(10)
                raise ZeroDivisionError
