"""What the stores are made of: changes, slots, leases, limits."""

import asyncio
import threading

import pytest

from fastapi_memsession import LockTimeout, MemoryStore, SessionDataError, SessionKey, StoreFull
from fastapi_memsession.stores.base import CompareAndSet, Increment, SetValue
from fastapi_memsession.stores.changes import apply_changes
from fastapi_memsession.stores.expiry import ExpiryQueue
from fastapi_memsession.stores.leases import LeaseTable
from tests.conftest import START
from tests.test_memory import create
from tests.test_memory import record as a_record


@pytest.mark.parametrize(("there", "by"), [(b"9223372036854775808", -1), (b"-1", 2**63)])
def test_a_summand_out_of_range_is_refused(there, by):
    """Also if the sum is within."""
    with pytest.raises(SessionDataError, match="out of range"):
        apply_changes({"a": there}, [Increment("a", by)])


def test_a_comparison_sees_the_changes_before_it():
    """And if it fails, the data are as they were."""
    _, result = apply_changes({}, [SetValue("a", b"1"), CompareAndSet("a", b"1", b"2")])
    assert (result.applied, result.values) == (True, (b"1", b"2"))
    after, result = apply_changes(
        {"n": b"1"}, [SetValue("n", b"2"), CompareAndSet("n", b"1", b"3")]
    )
    assert (after, result.applied, result.values) == ({"n": b"1"}, False, (b"1", b"1"))


def test_slots_that_are_gone_are_steps_too():
    """Or a turn after a long quiet could take long."""
    queue = ExpiryQueue()
    for second in range(100):
        queue.remove(str(second), queue.put(str(second), float(second)))
    turns, finished = 0, False
    while not finished:
        _, finished = queue.take(1000, 10)
        turns += 1
    assert turns >= 10


async def test_a_limit_that_is_not_reached_ends_nothing(clock):
    """However near it is."""
    store = MemoryStore()
    for _ in range(5):
        made = a_record()
        assert await store.create(made, now=START, limit_per_user=5) == []
    assert len(await store.list_user("anna", now=START)) == 5


async def test_a_full_store_makes_no_room_for_who_names_anothers_session():
    """Only a live session of that very user counts as replaced."""
    store = MemoryStore(max_sessions=1)
    made = a_record()
    await store.create(made, now=START, limit_per_user=None)
    foreign = SessionKey("bert", made.session_id)
    with pytest.raises(StoreFull):
        await store.create(a_record(), now=START, limit_per_user=None, replacing=foreign)


async def test_an_old_token_that_arrives_late_forgets_nothing(clock):
    """The highest generation that was seen counts: its parent stays refused."""
    store = MemoryStore()
    made = a_record()
    await store.create(made, now=START, limit_per_user=None)
    await store.rotate(made.key, 0, now=START, grace=10)
    for generation in (1, 0):
        await store.load(made.key, now=START, renew_interval=None, generation=generation)
    assert (await store.rotate(made.key, 0, now=START + 10, grace=10)).outcome == "reused"


async def test_a_failed_comparison_is_none_of_the_limits_business(clock):
    """Nothing is written, so nothing is too large, also when the limit was lowered since."""
    store = MemoryStore()
    made = a_record()._replace(data={"a": b"12345"})
    await store.create(made, now=START, limit_per_user=None)
    compare = [CompareAndSet("a", b"1", b"2")]
    result = await store.change(made.key, compare, now=START, max_bytes=1)
    assert not result.applied


async def test_a_cancelled_holder_lets_the_next_in(clock):
    """A request that is cancelled under the lock holds up nobody."""
    table = LeaseTable()

    async def enter():
        async with table.hold("a", timeout=5, clock=clock):
            await asyncio.Event().wait()

    holder = asyncio.create_task(enter())
    await asyncio.wait({holder}, timeout=0)
    holder.cancel()
    await asyncio.wait({holder})
    assert len(table) == 0


async def test_who_waits_enters_as_soon_as_the_holders_time_is_over():
    """Not only when its own patience ends."""
    table, clock = LeaseTable(), asyncio.get_running_loop().time
    await table.acquire("a", 0.01, clock)
    async with asyncio.timeout(5):
        assert await table.acquire("a", 60, clock)


async def test_who_waits_in_vain_waits_no_longer_than_it_said(clock):
    """However long the holder may stay."""
    table = LeaseTable()
    await table.acquire("a", 60, clock)
    async with asyncio.timeout(5):
        with pytest.raises(LockTimeout):
            await table.acquire("a", 0.01, clock)


async def test_a_waiter_in_another_thread_is_woken(clock):
    """Its loop sleeps until then, and nothing else wakes it."""
    table, waits, entered = LeaseTable(), threading.Event(), threading.Event()

    async def wait():
        waiting = asyncio.create_task(table.acquire("a", 60, clock))
        await asyncio.wait({waiting}, timeout=0)
        waits.set()
        await waiting
        entered.set()

    lease = await table.acquire("a", 60, clock)
    thread = threading.Thread(target=asyncio.run, args=(wait(),), daemon=True)
    thread.start()
    assert await asyncio.to_thread(waits.wait, 5)
    assert table.release("a", lease, clock())
    assert await asyncio.to_thread(entered.wait, 5)


async def test_a_session_that_ends_during_a_scan_is_passed_over():
    """The scan goes on with those that live."""
    store = MemoryStore()
    records = [await create(store, a_record()) for _ in range(3)]
    seen = []
    async for info in store.scan(now=START):
        seen.append(info.session_id)
        for made in records:
            if made.session_id != seen[0]:
                await store.delete(made.key, now=START, reason="logout")
    assert len(seen) == 1
