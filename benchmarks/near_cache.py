"""The near cache: what a request costs, and how long after a revocation elsewhere it still answers.

    python -m benchmarks.near_cache [--quick]

Requests come for one session in turns with bare ones, so most are answered from memory; the
others, one a second, wait for Redis. For the delay one process answers requests for a session, one
after the other and without a pause; another ends it. Measured is from when the other one knows that
this is done until the last request began that was not refused; the next one, which began at once,
was. The connection that hears of changes is well; or it is cut at that moment, which is noticed; or
it is dead and looks well, as behind a firewall that drops what it has forgotten.
"""

import argparse
import asyncio
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contenders import bare, ours
from benchmarks.in_process import BASE, US, US_COOKIE, Race
from benchmarks.memory_store import START, Logins
from benchmarks.rounds import timed
from benchmarks.table import Row, absent, show
from fastapi_memsession import SessionKey, SessionRecord
from fastapi_memsession.stores.near import NearStore
from fastapi_memsession.stores.redis import RedisStore
from tests.redis.relay import Relay
from tests.redis_server import ADVICE, RedisServer, find

GET = "authenticated GET, Redis with the near cache"
DELAY = "near cache: from a revocation elsewhere to the last answer"
PATIENCE = 30.0  # seconds for a call
DEAD = 10  # sessions that are ended while the connection is dead: each takes as long as it may

OTHER = """
import asyncio, sys, time
from fastapi_memsession import SessionKey
from fastapi_memsession.stores.redis import RedisStore

async def main(url, now):
    store = RedisStore(url, timeout=30)
    while line := sys.stdin.readline():
        await store.delete(SessionKey(*line.split()), now=float(now), reason="revoked")
        print(time.monotonic(), flush=True)
    await store.aclose()

asyncio.run(main(*sys.argv[1:]))
"""
End = Callable[[SessionKey], Any]


async def requests(url: str, *, quick: bool) -> list[Row]:
    """Measure requests: without sessions, with the near cache, and without it."""
    near, far = NearStore(url, timeout=PATIENCE), RedisStore(url, timeout=PATIENCE)
    await near.open()
    try:
        race = Race(GET, "<= 1.5")
        for name, contender in {
            BASE: await bare(),
            US: await ours(near),
            US_COOKIE: await ours(near, carrier="cookie"),
            "without the near cache, header": await ours(far),
        }.items():
            race.contenders[name] = contender.theme
        options = {"rounds": 3, "seconds": 0.002} if quick else {"rounds": 150, "seconds": 0.02}
        return race.rows(await timed(race.contenders, clock=time.perf_counter, **options))
    finally:
        await near.aclose()
        await far.aclose()


@asynccontextmanager
async def another_process(url: str) -> AsyncIterator[End]:
    """Start it; give what ends a session there, and returns when that was known to be done."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER, url, repr(START)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asking, answers = process.stdin, process.stdout

    async def end(key: SessionKey) -> float:
        asking.write(f"{key.user_id} {key.session_id}\n".encode())
        return float(await answers.readline())

    try:
        yield end
    finally:
        asking.close()
        await process.wait()


async def delay(
    store: NearStore, record: SessionRecord, end: End, happen: Callable[[], None]
) -> float:
    """End a session elsewhere; return for how many seconds it was still answered for."""
    load = partial(store.load, record.key, now=START, renew_interval=None, generation=0)

    async def answered() -> float:
        last, began = 0.0, time.monotonic()
        while await load():
            await asyncio.sleep(0)  # where other requests would have their turn
            last, began = began, time.monotonic()
        return last

    await store.create(record, now=START, limit_per_user=None)
    found = await load()
    while (again := await load()) is not found:  # not from memory yet: its creation is still told
        found = again
    asking = asyncio.create_task(answered())
    happen()
    ended = await end(record.key)
    return max(0.0, await asking - ended)


async def delays(server: RedisServer, *, sessions: int, staleness: float) -> list[Row]:
    """Measure the delays, by what happens to the connection."""
    logins, number, rows = Logins(), 0, []
    async with Relay(server) as relay, another_process(server.url) as end:
        for name, times, url, happen in (
            ("heard", sessions, server.url, lambda: None),
            ("connection cut", sessions, relay.url, relay.cut),
            ("connection dead, and nobody knows", min(DEAD, sessions), relay.url, relay.deafen),
        ):
            store, found = NearStore(url, timeout=PATIENCE, staleness=staleness), []
            await store.open()
            for _ in range(times):
                number += 1
                found.append(await delay(store, logins.record(number, START), end, happen))
            await store.aclose()
            middle, worst = statistics.median(found) * 1000, max(found) * 1000
            how = f"median of {times}; at worst {worst:.2f} ms"
            rows.append(Row(DELAY, name, middle, "ms", f"<= {staleness * 1000:g}", how))
    return rows


def measure(*, quick: bool = False) -> list[Row]:
    """Measure all; what is missing says so where there is no server."""
    if find() is None:
        return [absent(GET, US, ADVICE)]
    options = {"sessions": 3, "staleness": 0.05} if quick else {"sessions": 300, "staleness": 1.0}

    async def measured(server: RedisServer) -> list[Row]:
        return await requests(server.url, quick=quick) + await delays(server, **options)

    logging.disable(logging.WARNING)  # that connections break is what is asked for
    try:
        with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
            return asyncio.run(measured(server))
    finally:
        logging.disable(logging.NOTSET)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="see that it runs; figures are noise")
    print(show(measure(quick=parser.parse_args().quick)))


if __name__ == "__main__":
    main()
