"""What the memory store costs as it grows, and how long a sweep keeps the event loop.

    python benchmarks/memory_store.py [--sessions 300000] [--json]

Compares in one run: creating and loading at a thousand sessions and at many; each round measures
both stores in turn, and the medians of the rounds are what is printed. A plain dict of objects of
the same size and number is measured beside them: what it costs more when it is large is the price
of memory that no longer fits the processor's caches. Then many sessions die at
once and are swept, while a task that wants every turn of the loop notes how long it had to wait.
Last, what a session takes, indexes and queue included: three small fields and one claim.
"""

import argparse
import asyncio
import gc
import json
import platform
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import replace

from fastapi_memsession import MemoryStore, SessionKey, SessionRecord
from fastapi_memsession.provider import SWEEP_BUDGET
from fastapi_memsession.tokens import new_session_id

SMALL = 1_000
ROUNDS = 15
CALLS = 2_000
START = 1_764_000_000.0
DAY = 86_400.0
DATA = {"login_time": b"1764000000", "login_ip": b'"127.0.0.1"', "theme": b'"dark"'}


def make_record(now: float, user: int, expiration: float = DAY) -> SessionRecord:
    return SessionRecord(
        user_id=f"user-{user}",
        session_id=new_session_id(),
        claims={"role": "admin"},
        data=DATA,
        created_at=now,
        last_seen_at=now,
        expires_at=now + expiration,
        deadline=now + 30 * DAY,
        expiration=expiration,
    )


async def fill(store: MemoryStore, number: int, expiration: float = DAY) -> list[SessionRecord]:
    """Log `number` users in, spread over a day."""
    records = []
    for user in range(number):
        now = START + user * DAY / number
        records.append(make_record(now, user, expiration))
        await store.create(records[-1], now=now, limit_per_user=None)
    return records


def twin(record: SessionRecord) -> SessionRecord:
    """Return an equal record that shares no memory with it."""
    return SessionRecord(
        user_id="".join([*record.user_id]),
        session_id="".join([*record.session_id]),
        claims=record.claims,
        data=record.data,
        created_at=record.created_at + 0.0,
        last_seen_at=record.last_seen_at + 0.0,
        expires_at=record.expires_at + 0.0,
        deadline=record.deadline + 0.0,
        expiration=record.expiration,
    )


async def microseconds(call: Callable[[int], Awaitable[object]]) -> float:
    """Time one call of many."""
    began = time.perf_counter()
    for number in range(CALLS):
        await call(number)
    return (time.perf_counter() - began) / CALLS * 1e6


async def compare(many: int) -> dict[str, float]:
    """Time create and load at both sizes, in turns."""
    now = START + DAY - 1
    stores = {size: MemoryStore(max_sessions=10**9) for size in (SMALL, many)}
    records = {size: await fill(store, size) for size, store in stores.items()}
    plain = {size: {copy.session_id: copy for copy in map(twin, records[size])} for size in stores}
    times: dict[tuple[str, int], list[float]] = {}
    gc.collect()
    gc.freeze()  # what is filled in is not what is measured
    for _ in range(ROUNDS):
        for size, store in stores.items():
            step = max(1, size // CALLS)
            known = [records[size][number * step % size].key for number in range(CALLS)]
            new = [make_record(now, user) for user in range(CALLS)]

            async def create(
                number: int, store: MemoryStore = store, new: list[SessionRecord] = new
            ) -> None:
                await store.create(new[number], now=now, limit_per_user=None)

            async def load(
                number: int, store: MemoryStore = store, known: list[SessionKey] = known
            ) -> None:
                await store.load(known[number], now=now, renew_interval=DAY)

            async def look_up(
                number: int,
                plain: dict[str, SessionRecord] = plain[size],
                known: list[SessionKey] = known,
            ) -> bool:
                record = plain[known[number].session_id]
                return record.expires_at < now and record.user_id == known[number].user_id

            times.setdefault(("create", size), []).append(await microseconds(create))
            for record in new:  # keeps the size what it is called
                await store.delete(record.key, now=now, reason="logout")
            times.setdefault(("load", size), []).append(await microseconds(load))
            times.setdefault(("dict", size), []).append(await microseconds(look_up))
    gc.unfreeze()
    return {f"{name}_{size}_us": statistics.median(all_) for (name, size), all_ in times.items()}


async def sweep(many: int, dead: int) -> dict[str, float]:
    """Let `dead` of `many` sessions die, and sweep them beside a task that wants every turn."""
    store = MemoryStore(max_sessions=10**9)
    await fill(store, many - dead, expiration=10 * DAY)
    await fill(store, dead, expiration=DAY)
    longest, turns = 0.0, 0

    async def want_every_turn() -> None:
        nonlocal longest, turns
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last, turns = max(longest, now - last), now, turns + 1

    gc.collect()
    waiting = asyncio.create_task(want_every_turn())
    await asyncio.sleep(0)
    began = time.perf_counter()
    removed = await store.sweep(now=START + 2 * DAY, budget=SWEEP_BUDGET)
    took = time.perf_counter() - began
    waiting.cancel()
    return {
        "swept": removed,
        "sweep_total_ms": took * 1e3,
        "sweep_longest_hold_ms": longest * 1e3,
        "sweep_turns_of_others": turns,
    }


async def size() -> dict[str, float]:
    """Count the bytes that sessions take, as Python allocates them."""
    number = 20_000
    store = MemoryStore()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for user in range(number):
        now = START + user
        record = make_record(now, user)
        data = {key: bytes([*value]) for key, value in DATA.items()}
        own = replace(record, data=data, claims={"role": "admin"})
        await store.create(own, now=now, limit_per_user=None)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"bytes_per_session": (after - before) / number}


def report(many: int, found: dict[str, float]) -> None:
    print(f"MemoryStore, Python {platform.python_version()}, medians of {ROUNDS} rounds\n")
    print(f"{'':8}{SMALL:>12,} sessions{many:>12,} sessions{'ratio':>8}")
    for name in ("create", "load", "dict"):
        small, large = found[f"{name}_{SMALL}_us"], found[f"{name}_{many}_us"]
        print(f"{name:8}{small:>18.2f} us{large:>18.2f} us{large / small:>8.2f}")
    print(
        f"\nsweep   {found['swept']:,.0f} dead of {many:,} in {found['sweep_total_ms']:.0f} ms, "
        f"others had {found['sweep_turns_of_others']:,.0f} turns;\n"
        f"        the longest hold of the loop was {found['sweep_longest_hold_ms']:.2f} ms"
    )
    print(f"\nsize    {found['bytes_per_session']:.0f} bytes a session")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", type=int, default=300_000)
    parser.add_argument("--json", action="store_true", help="print figures for a machine")
    arguments = parser.parse_args()
    many = arguments.sessions
    found = asyncio.run(compare(many)) | asyncio.run(sweep(many, many // 10)) | asyncio.run(size())
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        report(many, found)


if __name__ == "__main__":
    main()
