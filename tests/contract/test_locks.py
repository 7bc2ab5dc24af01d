"""The lock of a session among processes, each with a store of its own."""

import asyncio
from contextlib import AsyncExitStack

from fastapi_memsession import SessionKey
from tests.redis.calls import until

KEY = SessionKey("anna", "s" * 43)


async def test_to_wait_for_another_process_is_not_to_hold(new_stores, clock):
    """Who waited long may hold it as long as anyone, and nobody of its process enters meanwhile."""
    here, there = new_stores(2)
    done, looks = [], []

    def look():
        looks.append(clock())
        return clock()

    async def hold(name):
        async with there.lock(KEY, timeout=10, clock=look):
            done.append(f"{name} enters")
            clock.advance(9)
            await asyncio.sleep(0)
            done.append(f"{name} leaves")

    async with AsyncExitStack() as stack:
        for store in (here, there):
            await store.open()
            stack.push_async_callback(store.aclose)
        async with here.lock(KEY, timeout=10, clock=clock):
            waiting = [asyncio.create_task(hold(name)) for name in "ab"]
            # One look for each who stands in line, and two when the first asks once more.
            await until(lambda: len(looks) >= (4 if there.waits else 2))
            clock.advance(9)
        await asyncio.gather(*waiting)
    assert done == ["a enters", "a leaves", "b enters", "b leaves"]
