"""The lock of a session in Redis: given back whatever happens, and waited for once."""

import asyncio
from contextlib import suppress

import pytest
from redis import exceptions

from fastapi_memsession import LockTimeout, StoreUnavailable
from fastapi_memsession.unbroken import _under_way
from tests.conftest import START
from tests.redis.calls import PATIENCE, opened


@pytest.fixture
def lock(store, kept):
    def lock(store=store, timeout=PATIENCE):
        return store.lock(kept.key, timeout=timeout, clock=lambda: START)

    return lock


async def settled():
    """Let what goes on by itself come to its end."""
    async with asyncio.timeout(PATIENCE):
        while _under_way:  # one may begin another
            await asyncio.wait(_under_way)


async def test_a_lock_whose_answer_is_lost_is_given_back(server, store, lock):
    """The caller is told that the store cannot tell, and nobody holds the lock."""
    attempt = store._clients._attempt

    async def lose_it(command):
        await attempt(command)
        store._clients._attempt = attempt
        raise exceptions.ConnectionError("gone")

    store._clients._attempt = lose_it
    with pytest.raises(StoreUnavailable):
        await lock().__aenter__()
    await settled()
    assert server.command("KEYS", "*:l:*").strip() == ""


async def test_a_lock_that_is_being_taken_is_given_back_after_that(server, store, lock):
    """The two go over two connections, and the server may read the second one first."""
    attempt, begun, go = store._clients._attempt, asyncio.Event(), asyncio.Event()
    sent = []

    async def read_late(command):
        await go.wait()
        return await attempt(command)

    async def slow(command):
        store._clients._attempt = attempt
        sent.append(asyncio.create_task(read_late(command)))
        begun.set()
        return await asyncio.shield(sent[0])

    store._clients._attempt = slow
    taking = asyncio.create_task(lock().__aenter__())
    await begun.wait()
    taking.cancel()
    with suppress(asyncio.CancelledError):
        await taking
    for _ in range(100):  # whoever gives it back at once has time to
        await asyncio.sleep(0)
    go.set()
    await asyncio.wait(sent)
    await settled()
    assert server.command("KEYS", "*:l:*").strip() == ""
    async with lock(timeout=1):
        pass


@pytest.mark.parametrize("left", [True, False])
async def test_who_gives_it_back_may_be_cancelled_as_often_as_one_likes(server, lock, left):
    """It is given back all the same, whether the block was left or came to its end."""
    begun, end = asyncio.Event(), asyncio.Event()

    async def hold():
        async with lock():
            begun.set()
            await end.wait()
        pytest.fail("nobody was cancelled")

    holding = asyncio.create_task(hold())
    await begun.wait()
    if left:
        holding.cancel()
    else:
        end.set()
    while not holding.done():
        await asyncio.sleep(0)
        holding.cancel()
    with suppress(asyncio.CancelledError):
        await holding
    await settled()
    assert server.command("KEYS", "*:l:*").strip() == ""


async def test_who_waits_for_its_own_process_and_for_another_waits_once(server, lock):
    """For its timeout at most: the two times do not add up."""
    loop = asyncio.get_running_loop()

    async def give_up(other, timeout):
        with pytest.raises(LockTimeout, match="not free within"):
            await lock(other, timeout).__aenter__()

    async with opened(server.url) as other, lock():
        begun = loop.time()
        await asyncio.gather(give_up(other, 1), give_up(other, 1.2))
        assert loop.time() - begun < 1 + 1
