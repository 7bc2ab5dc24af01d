"""What only a store in memory has: bounds, a queue, and no traces of what is over."""

import asyncio
import threading
import tracemalloc

import pytest

from fastapi_memsession import MemoryStore, StoreFull
from fastapi_memsession.records import SessionRecord, new_session_id
from fastapi_memsession.stores.base import Increment
from fastapi_memsession.stores.expiry import ExpiryQueue
from fastapi_memsession.stores.leases import LeaseTable, _Waiter
from tests.conftest import START


def record(now=START, expiration=100.0, user_id="anna"):
    return SessionRecord(
        user_id=user_id,
        session_id=new_session_id(),
        claims={},
        data={},
        created_at=now,
        last_seen_at=now,
        expires_at=now + expiration,
        deadline=now + 1000,
        expiration=expiration,
    )


async def create(store, made, now=START, limit=None):
    await store.create(made, now=now, limit_per_user=limit)
    return made


def traces(store):
    return (
        len(store._shelf.records)
        + len(store._shelf.users)
        + len(store._shelf._queue._slots)
        + len(store._shelf._queue)
        + len(store._leases)
    )


async def test_nothing_is_left_of_what_is_over(clock):
    """Deleted, renamed, evicted, expired or locked: no index grows with the past."""
    store = MemoryStore()
    for number in range(100):
        made = await create(store, record(expiration=1 + number / 7))
        renamed = await store.rename(made.key, new_session_id(), now=START)
        async with store.lock(renamed.key, timeout=1, clock=clock):
            await store.load(renamed.key, now=START + 0.5, renew_interval=0)
        if number % 2:
            await store.delete(renamed.key, now=START, reason="logout")
    await create(store, record(expiration=1), limit=1)
    await store.sweep(now=START + 2000, budget=10)
    assert traces(store) == 0


async def test_logging_in_and_out_forever_takes_no_memory():
    """The queue forgets a session when it ends, not when it would have expired."""
    store = MemoryStore()
    for number in range(1000):
        made = await create(store, record(START + number / 100), START + number / 100)
        await store.delete(made.key, now=START + number / 100, reason="logout")
    assert traces(store) == 0


async def test_large_records_are_not_kept_beside_what_is_packed():
    """Neither as they were before they were written, nor when they are over."""
    store = MemoryStore()
    made = await create(store, record()._replace(data={"large": b"1" * 60_000}))
    tracemalloc.start()
    try:
        for _ in range(100):
            changes = [Increment("n", 1)]
            await store.change(made.key, changes, now=START, max_bytes=64_000)
            await store.load(made.key, now=START, renew_interval=None)
        await store.delete(made.key, now=START, reason="logout")
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_sweep_counts_what_it_removes(clock):
    """Sessions that were used since are put back, and removed when they are dead."""
    store = MemoryStore()
    records = [await create(store, record()) for _ in range(10)]
    for made in records[:4]:
        await store.load(made.key, now=START + 60, renew_interval=0)
    assert await store.sweep(now=START + 99.9, budget=100) == 0
    assert await store.sweep(now=START + 100, budget=100) == 6
    assert await store.sweep(now=START + 100, budget=100) == 0
    assert await store.sweep(now=START + 160, budget=100) == 4


async def test_others_run_while_a_sweep_does():
    """Between its chunks; a second sweep meanwhile does nothing."""
    store = MemoryStore()
    for _ in range(1000):
        await create(store, record())
    living = await create(store, record(expiration=900))
    turns = 0

    async def others():
        nonlocal turns
        while not sweep.done():
            assert await store.load(living.key, now=START + 500, renew_interval=None)
            assert await store.sweep(now=START + 500, budget=10) == 0
            turns += 1
            await asyncio.sleep(0)

    sweep = asyncio.create_task(store.sweep(now=START + 500, budget=10))
    await asyncio.gather(sweep, others())
    assert sweep.result() == 1000
    assert turns > 50


async def test_a_cancelled_sweep_can_be_repeated():
    """As at shutdown; the next one is not locked out."""
    store = MemoryStore()
    for _ in range(100):
        await create(store, record())
    sweep = asyncio.create_task(store.sweep(now=START + 500, budget=1))
    await asyncio.sleep(0)
    sweep.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sweep
    await store.sweep(now=START + 500, budget=100)
    assert traces(store) == 0


async def test_a_full_store_refuses_and_changes_nothing():
    """The living stay; who replaces an own session gets in."""
    store = MemoryStore(max_sessions=3)
    living = [await create(store, record()) for _ in range(3)]
    with pytest.raises(StoreFull, match="MEMSESSION_MAX_SESSIONS"):
        await create(store, record(user_id="bert"))
    assert await store.list_user("bert", now=START) == []
    assert len(await store.list_user("anna", now=START)) == 3
    newest = await create(store, record(START + 1), START + 1, limit=3)
    left = {info.session_id for info in await store.list_user("anna", now=START + 1)}
    assert newest.session_id in left
    assert len(left & {made.session_id for made in living}) == 2


@pytest.mark.parametrize("expiration", [100, 100.25])
@pytest.mark.parametrize("later", [100.25, 101, 99_999])
async def test_the_dead_make_room_at_once(expiration, later):
    """From the very instant they are dead, also within the second that is under way."""
    store = MemoryStore(max_sessions=50)
    for _ in range(50):
        await create(store, record(expiration=expiration))
    await create(store, record(START + later), START + later)
    assert await store.count(now=START + later) == 1


async def test_the_living_of_the_same_second_make_no_room():
    """Among many that die within one second, only those go that are dead."""
    store = MemoryStore(max_sessions=3)
    for expiration in (100.25, 100.5, 100.75):
        await create(store, record(expiration=expiration))
    await create(store, record(START + 100.5), START + 100.5)
    assert len(store._shelf.records) == 2


async def test_used_sessions_do_not_make_room():
    """They stand in the queue where they once would have died."""
    store = MemoryStore(max_sessions=20)
    for _ in range(20):
        made = await create(store, record())
        await store.load(made.key, now=START + 60, renew_interval=0)
    with pytest.raises(StoreFull):
        await create(store, record(START + 150), START + 150)
    await create(store, record(START + 160), START + 160)


@pytest.mark.parametrize("used", [20, 1200])
async def test_a_dead_session_behind_many_used_ones_makes_room(used):
    """The queue is followed until one is found, however often the search has to go on."""
    store = MemoryStore(max_sessions=used + 1)
    for _ in range(used):
        made = await create(store, record())
        await store.load(made.key, now=START + 60, renew_interval=0)
    await create(store, record(expiration=101))
    await create(store, record(START + 150), START + 150)
    assert await store.count(now=START + 150) == used + 1


def test_many_threads_and_loops_lose_nothing():
    """Eight loops in eight threads on one session and on sessions of their own."""
    store = MemoryStore()
    shared = record()
    asyncio.run(create(store, shared))

    async def work():
        for _ in range(200):
            own = await create(store, record())
            await store.change(shared.key, [Increment("n", 1)], now=START, max_bytes=999)
            await store.sweep(now=START, budget=1)
            assert await store.delete(own.key, now=START, reason="logout")

    threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loaded = asyncio.run(store.load(shared.key, now=START, renew_interval=None))
    assert loaded.data == {"n": b"1600"}
    assert traces(store) == 4


class TestExpiryQueue:
    """The queue by itself."""

    def test_it_gives_what_is_due_and_keeps_the_rest(self):
        """By whole seconds, never too early."""
        queue = ExpiryQueue()
        for expires_at in (10.0, 10.5, 11.0, 12.0):
            queue.put(str(expires_at), expires_at)
        assert queue.take(9.9, 100) == ([], True)
        assert queue.take(10.9, 100) == (["10.0"], True)
        taken, finished = queue.take(11, 100)
        assert (set(taken), finished) == ({"10.5", "11.0"}, True)
        assert queue.take(11.9, 100) == ([], True)
        assert queue.take(12, 100) == (["12.0"], True)

    def test_the_past_can_be_queued(self):
        """A clock may be set back."""
        queue = ExpiryQueue()
        queue.put("late", 1000.0)
        queue.take(999, 100)
        queue.put("early", 5.0)
        assert queue.take(6, 100) == (["early"], True)

    def test_slots_that_are_gone_are_forgotten(self):
        """The order does not grow with what was put and removed."""
        queue = ExpiryQueue()
        for second in range(10_000):
            queue.remove("a", queue.put("a", float(second)))
        assert len(queue._order) < 1100
        queue.put("a", 10.0)
        assert queue.take(10, 2000) == (["a"], True)

    def test_a_long_sleep_is_jumped_over(self):
        """Years without a session cost no step each second."""
        queue = ExpiryQueue()
        queue.put("a", 10.0)
        queue.put("b", 10.0**12)
        taken, turns = [], 0
        for now in (10.0**11, 10.0**12):
            finished = False
            while not finished:
                ids, finished = queue.take(now, 2)
                taken += ids
                turns += 1
        assert taken == ["a", "b"]
        assert turns < 10

    def test_the_budget_bounds_each_turn(self):
        """An id is a step, and so is a slot, or one turn could take long."""
        queue = ExpiryQueue()
        for second in range(100):
            queue.put(f"due-{second}", 1000.0)
            queue.put(f"later-{second}", 5000.0 + second)
        queue.remove("due-0", 1000)
        queue.remove("due-0", 1000)
        queue.remove("due-0", 999)
        turns, finished, found = 0, False, []
        while not finished:
            taken, finished = queue.take(1050, 10)
            assert len(taken) <= 10
            found += taken
            turns += 1
        assert len(found) == 99
        assert turns == 10
        assert list(queue.due(1060)) == []
        assert len(list(queue.due(5010))) == 11


class TestLeases:
    """Locks of one process, by themselves."""

    async def test_a_waiter_on_a_closed_loop_holds_up_nobody(self, clock):
        """A test client's loop may be gone while it still stands in the queue."""
        table = LeaseTable()
        waiting = []

        def wait_and_vanish():
            loop = asyncio.new_event_loop()
            waiting.append(loop.create_task(table.acquire("a", 5, clock)))
            loop.call_soon(loop.stop)
            loop.run_forever()
            loop.close()
            waiting[0]._log_destroy_pending = False  # that it never ends is the point

        async with table.hold("a", timeout=5, clock=clock):
            await asyncio.to_thread(wait_and_vanish)
            next_one = asyncio.create_task(table.acquire("a", 5, clock))
            await asyncio.wait({next_one}, timeout=0)
        lease = await next_one
        assert table.is_held("a", lease, clock())

    async def test_the_first_in_the_queue_enters_when_the_holders_time_is_over(self):
        """Whoever wakes first, and whoever comes just then."""
        table, order = LeaseTable(), []
        clock = asyncio.get_running_loop().time

        async def enter(name):
            async with table.hold("a", timeout=5, clock=clock):
                order.append(name)

        await table.acquire("a", 0.02, clock)
        tasks = []
        for name in range(10):
            tasks.append(asyncio.create_task(enter(name)))
            await asyncio.wait(tasks, timeout=0)
        await asyncio.gather(*tasks)
        assert order == list(range(10))

    async def test_who_was_handed_the_lock_and_lost_it_waits_again(self, clock):
        """Without spinning, and gets it in the end."""
        table = LeaseTable()
        first = await table.acquire("a", 5, clock)
        waiting = asyncio.create_task(table.acquire("a", 5, clock))
        await asyncio.wait({waiting}, timeout=0)
        table.release("a", first, clock())  # handed over, but the waiter has not run yet
        clock.advance(5)
        newcomer = _Waiter(5)
        assert table._try("a", newcomer, clock()) == 0
        done, _ = await asyncio.wait({waiting}, timeout=0.01)
        assert not done
        assert table.release("a", newcomer.lease, clock())
        assert table.is_held("a", await waiting, clock())

    async def test_being_woken_twice_is_being_woken(self):
        """A lock may be handed over twice before its new holder runs."""
        waiter = _Waiter(1)
        waiter.wake()
        waiter.wake()
        await waiter.future

    async def test_no_name_is_left(self, clock):
        """Once nobody holds or wants it."""
        table = LeaseTable()

        async def enter():
            async with table.hold("a", timeout=5, clock=clock):
                await asyncio.sleep(0)

        await asyncio.gather(*(enter() for _ in range(10)))
        assert len(table) == 0

    async def test_giving_up_a_lock_that_is_gone_is_quiet(self, clock):
        """The name may have been freed meanwhile."""
        table = LeaseTable()
        assert not table.release("a", "x", clock())
        table._withdraw("a", _Waiter(1), clock())
        assert not table.is_held("a", "x", clock())

    async def test_only_who_holds_a_lock_can_hold_it_longer(self, clock):
        """Another lease, or one of a lock that is gone, extends nothing."""
        table = LeaseTable()
        table.extend("a", "x", clock() + 10)
        lease = await table.acquire("a", 5, clock)
        table.extend("a", "x", clock() + 10)
        assert not table.is_held("a", lease, clock() + 5)
        table.extend("a", lease, clock() + 10)
        assert table.is_held("a", lease, clock() + 5)

    async def test_who_waits_enters_when_the_holders_time_is_over(self, clock):
        """Without anybody leaving: the holder may be dead."""
        table = LeaseTable()
        await table.acquire("a", 0.01, clock)
        waiting = asyncio.create_task(table.acquire("a", 5, clock))
        await asyncio.wait({waiting}, timeout=0)
        clock.advance(0.01)
        assert table.is_held("a", await waiting, clock())
        assert not table._locks["a"].waiters
