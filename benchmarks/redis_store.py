"""What a session takes in Redis, and what an authenticated load costs beside a plain GET.

    python -m benchmarks.redis_store [--sessions 100000] [--json]

Starts a server of its own. Size: the memory that the server uses for many sessions of as many
users, five small fields and one claim each, indexes included; and the same with a kilobyte more.
Cost: GETs, loads that renew nothing and loads that renew, on one client and in turns; what is
printed are the medians of the rounds, and of the ratios within each round.
"""

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from fastapi_memsession import SessionRecord
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.redis import RedisStore
from fastapi_memsession.stores.redis_urls import client_maker
from tests.redis_server import RedisServer

ROUNDS = 15
CALLS = 500
AT_ONCE = 50
PATIENCE = 60  # seconds for a call, on a machine that has other things to do
START = 1_764_000_000.0
DAY = 86_400.0
SMALL = {
    "login_time": b"1764000000",
    "login_ip": b'"127.0.0.1"',
    "theme": b'"dark"',
    "visits": b"12",
    "language": b'"en"',
}
LARGE = SMALL | {"text": b'"' + b"x" * 1022 + b'"'}


def make_record(user: int, data: dict[str, bytes]) -> SessionRecord:
    return SessionRecord(
        user_id=f"user-{user}",
        session_id=new_session_id(),
        claims={"role": "admin"},
        data=data,
        created_at=START,
        last_seen_at=START,
        expires_at=START + DAY,
        deadline=START + 30 * DAY,
        expiration=DAY,
    )


async def size(client: Redis, number: int, data: dict[str, bytes]) -> float:
    """Count the bytes that a session takes, as the server counts its memory."""
    store = RedisStore(client, timeout=PATIENCE)
    await client.flushall()
    await asyncio.gather(*(client.ping() for _ in range(AT_ONCE)))  # connections take some, too
    before = int((await client.info("memory"))["used_memory"])
    for first in range(0, number, AT_ONCE):
        records = [make_record(user, data) for user in range(first, first + AT_ONCE)]
        await asyncio.gather(
            *(store.create(record, now=START, limit_per_user=None) for record in records)
        )
    after = int((await client.info("memory"))["used_memory"])
    return (after - before) / await store.count(now=START)


async def microseconds(call: Callable[[], Awaitable[object]]) -> float:
    """Time one call of many."""
    began = time.perf_counter()
    for _ in range(CALLS):
        await call()
    return (time.perf_counter() - began) / CALLS * 1e6


async def cost(client: Redis) -> dict[str, float]:
    """Time a GET, a load and a load that renews, in turns."""
    store, record = RedisStore(client, timeout=PATIENCE), make_record(0, SMALL)
    await store.create(record, now=START, limit_per_user=None)
    await client.set("plain", b"x" * 300)

    async def get() -> None:
        await client.get("plain")

    async def load() -> None:
        await store.load(record.key, now=START, renew_interval=DAY / 20)

    async def renew() -> None:
        await store.load(record.key, now=START, renew_interval=0)

    calls = {"get": get, "load": load, "renew": renew}
    rounds = [
        {name: await microseconds(call) for name, call in calls.items()} for _ in range(ROUNDS)
    ]
    found = {f"{name}_us": statistics.median(each[name] for each in rounds) for name in calls}
    for name in ("load", "renew"):
        ratios = (each[name] / each["get"] for each in rounds)
        found[f"{name}_ratio"] = statistics.median(ratios)
    return found


async def measure(number: int) -> dict[str, Any]:
    """Start a server, and measure."""
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder), unix=True) as server:
        client = client_maker(server.url, timeout=PATIENCE)()
        try:
            told = await client.info("server")
            found = {"redis": told["redis_version"], **await cost(client)}
            found["small_bytes"] = await size(client, number, SMALL)
            found["large_bytes"] = await size(client, number, LARGE)
        finally:
            await client.aclose()
    return found


def report(number: int, found: dict[str, Any]) -> None:
    print(
        f"RedisStore, Redis {found['redis']}, Python {platform.python_version()}, "
        f"medians of {ROUNDS} rounds\n"
    )
    print(f"{'GET':24}{found['get_us']:>8.0f} us")
    for name, title in (("load", "load, nothing to renew"), ("renew", "load and renew")):
        print(f"{title:24}{found[f'{name}_us']:>8.0f} us{found[f'{name}_ratio']:>8.2f} x GET")
    print(f"\n{'size, five small fields':24}{found['small_bytes']:>8.0f} bytes a session")
    print(f"{'and a kilobyte more':24}{found['large_bytes']:>8.0f} bytes a session")
    print(f"\n{number:,} sessions of as many users; indexes included.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="print figures for a machine")
    arguments = parser.parse_args()
    found = asyncio.run(measure(arguments.sessions))
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        report(arguments.sessions, found)


if __name__ == "__main__":
    main()
