"""A process that ends sessions, and one that answers for them meanwhile from its near cache."""

import asyncio
import random
import time
from itertools import cycle

from benchmarks import near_cache
from fastapi_memsession.stores import redis_tracking
from fastapi_memsession.stores.near import NearStore
from tests.redis.calls import PATIENCE, keep
from tests.redis.relay import Relay
from tests.redis.test_near_cache import copies, hears, loads, look

SESSIONS = 500
BOUND = 0.05  # seconds
A_WHILE = 20  # sessions that are ended while things stay as they are


async def test_no_request_is_answered_for_a_session_that_ended_longer_ago_than_the_bound(
    server, record, monkeypatch
):
    """Whether what tells of it is heard, held up or cut while hundreds are ended elsewhere."""
    monkeypatch.setattr(redis_tracking, "_SILENCE", 1000.0)
    chance = random.Random(7)
    answered, ended = {}, {}  # by session: when the last request began; when it was over
    requests = 0

    async def ask(near, keys):
        nonlocal requests
        while len(ended) < SESSIONS:
            soon = len(ended)  # it, the next ones and those that were ended last are asked for
            key, begun = chance.choice(keys[max(0, soon - 30) : soon + 10]), time.monotonic()
            if await look(near, key):
                answered[key] = begun
            requests += 1
            await asyncio.sleep(0)  # an answer from memory waits for nothing

    async with asyncio.timeout(PATIENCE), Relay(server) as relay:
        near = NearStore(relay.url, timeout=20, staleness=BOUND)
        await near.open()
        made = [record(f"user-{number}") for number in range(SESSIONS)]
        keys = [await keep(near, each) for each in made]
        before = loads(server)
        async with near_cache.another_process(server.url) as end:
            asking = asyncio.create_task(ask(near, keys))
            steps = cycle([relay.deafen, relay.release, relay.cut, lambda: None])
            for number, key in enumerate(keys):
                if number % A_WHILE == 0:
                    next(steps)()
                answered[key] = time.monotonic()
                assert await look(near, key)
                ended[key] = await end(key)
            await asking
        asked = loads(server) - before
        relay.release()
        await hears(near)
        assert [each for each in keys if await look(near, each)] == []
        assert len(copies(near)) == 0
        await near.aclose()
    late = [answered[key] - ended[key] for key in keys]
    assert max(late) < BOUND
    assert max(late) > 0, "nothing was ever held up"
    assert asked < requests, "nothing was answered from memory"


def test_the_benchmark_measures_that():
    """And requests; no time is asserted, as of the others."""
    rows = near_cache.measure(quick=True)
    assert [row.measured is not None for row in rows] == [True] * 7
    assert [row.target for row in rows] == ["", "<= 1.5", "<= 1.5", "", *["<= 50"] * 3]
    assert rows[-1].measured > 0
