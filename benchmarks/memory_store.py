"""What the memory store costs as it grows: time, memory, and how long it holds the event loop.

    python -m benchmarks.memory_store [--quick]

Creating and loading are timed at several sizes, each in turns with the smallest one and with no
other store in the process, for a service has one; each round with sessions drawn by lot, so that at
a million they are not in the processor's caches; a plain dict of encoded payloads shows beside them
what that alone costs. What a session takes is the growth of a fresh process divided by the
sessions, so that nothing is forgotten: indexes, expiry, the allocator's waste. Then many sessions
die at once and are swept, while a task that wants every turn of the loop notes how long it had to
wait.
"""

import argparse
import asyncio
import gc
import multiprocessing
import random
import subprocess
import sys
import time
import types
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from os import getpid, sysconf
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from benchmarks.asgi import HEADERS
from benchmarks.contenders import CLAIMS, FIELDS, FIELDS_BYTES, KEY
from benchmarks.rounds import Times
from benchmarks.table import Row, show
from fastapi_memsession import MemoryStore, SessionKey, SessionRecord, SessionSettings
from fastapi_memsession.logins import new_record
from fastapi_memsession.provider import SWEEP_BUDGET
from fastapi_memsession.records import new_session_id

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUICK_SIZES = (200, 2_000)
CALLS = 250  # of each kind, at each size, in each round: a quarter of the smallest store
COUNTED = 20_000  # sessions whose objects are counted one by one
START = 1_764_000_000.0
DAY = 86_400.0
ID = len(new_session_id())
DEVICE = {"user_agent": dict(HEADERS)[b"user-agent"].decode(), "address": "203.0.113.7"}

Figures = dict[str, Any]


class Logins:
    """Makes the records of logins, each user's one."""

    def __init__(self, **options: Any) -> None:
        self._settings = SessionSettings(env="test", jwt_key=KEY)
        self._options = options

    def record(self, user: int, now: float) -> SessionRecord:
        """Return what a login stores."""
        return new_record(
            self._settings, f"user-{user}", now=now, claims=CLAIMS, data=FIELDS, **self._options
        )


async def fill(
    store: MemoryStore, number: int, *, first: int = 0, **options: Any
) -> tuple[bytes, float]:
    """Log `number` users in, spread over a day.

    Returns their session ids in a row, and how many seconds the longest `create` was at work.
    """
    logins, ids, longest = Logins(**options), bytearray(), 0.0
    for user in range(number):
        now = START + user * DAY / number
        record = logins.record(first + user, now)
        began = time.thread_time()
        await store.create(record, now=now, limit_per_user=None)
        longest = max(longest, time.thread_time() - began)
        ids += record.session_id.encode()
    return bytes(ids), longest


@dataclass
class Shelves:
    """The same number of sessions in a store and in a plain dict, and the time each took."""

    store: MemoryStore
    plain: dict[str, bytes]
    ids: bytes
    logins: Logins = field(default_factory=Logins)
    create: list[float] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    renew: list[float] = field(default_factory=list)
    look_up: list[float] = field(default_factory=list)

    async def turn(self, now: float, draw: random.Random) -> None:
        """Time every kind of call."""
        number = len(self.ids) // ID
        records = [self.logins.record(number + each, now) for each in range(CALLS)]
        gc.collect()
        create = partial(self.store.create, now=now, limit_per_user=None)
        self.create.append(await _microseconds(create, records))
        for record in records:  # keeps the size what it is called
            await self.store.delete(record.key, now=now, reason="logout")
        # No session is due: or at the first look only, which few at a million have behind them.
        load = partial(self.store.load, now=now, renew_interval=DAY)
        self.load.append(await _microseconds(load, self._drawn(draw)))
        renew = partial(self.store.load, now=now, renew_interval=0)
        self.renew.append(await _microseconds(renew, self._drawn(draw)))
        keys = self._drawn(draw)
        began = time.thread_time()
        for key in keys:
            self.plain[key.session_id]
        self.look_up.append((time.thread_time() - began) / CALLS * 1e6)

    def _drawn(self, draw: random.Random) -> list[SessionKey]:
        users = [draw.randrange(len(self.ids) // ID) for _ in range(CALLS)]
        # Made anew, as a token's is: so what the store has is not in any cache for that.
        return [SessionKey(f"user-{u}", self.ids[u * ID : (u + 1) * ID].decode()) for u in users]


async def _microseconds(call: Callable[[Any], Awaitable[Any]], each: Iterable[Any]) -> float:
    began = time.thread_time()
    for argument in each:
        await call(argument)
    return (time.thread_time() - began) / CALLS * 1e6


def times(sizes: tuple[int, ...], rounds: int) -> Figures:
    """Time create, load, and a dict's look-up at all sizes, each in turns with the smallest."""
    small, *others = sizes
    found: Figures = {}
    for size in others:
        for kind, figures in in_fresh_process(times_of, (small, size), rounds).items():
            found.setdefault(kind, {}).update(figures)
    return found


async def times_of(sizes: tuple[int, ...], rounds: int) -> Figures:
    """Time them at these sizes, in turns. Run it in a fresh process."""
    shelves: dict[int, Shelves] = {}
    gc.disable()  # until everything is filled in, which is not what is measured
    for size in sizes:
        store = MemoryStore(max_sessions=10**9)
        ids, _ = await fill(store, size, expiration=10 * DAY)
        shelves[size] = Shelves(store, plain_dict(size, ids), ids)
    draw, order = random.Random(1), list(sizes)
    gc.freeze()
    gc.enable()
    for _ in range(rounds):
        draw.shuffle(order)
        for size in order:
            await shelves[size].turn(START + DAY - 1, draw)
    found: Figures = {}
    for kind in ("create", "load", "renew", "look_up"):
        taken = {size: Times(tuple(getattr(each, kind))) for size, each in shelves.items()}
        found[f"{kind}_us"] = {size: each.median for size, each in taken.items()}
        found[f"{kind}_ratio"] = {size: each.ratio(taken[sizes[0]]) for size, each in taken.items()}
    return found


def plain_dict(number: int, ids: bytes | None = None) -> dict[str, bytes]:
    """Return what a service would keep that does without a store: payloads by session id."""
    made = (new_session_id() for _ in range(number))
    names = (ids[at : at + ID].decode() for at in range(0, len(ids), ID)) if ids else made
    return {name: to_json(FIELDS) for name in names}


async def growth(number: int, *, plain: bool = False, device: bool = False) -> float:
    """Return by how many bytes a session this process grows. Run it in a fresh one."""
    gc.disable()  # there is nothing to collect, and looking for it takes long
    store = MemoryStore(max_sessions=10**9)
    await fill(store, 10)  # what is made at first use is no session's
    gc.collect()
    before = resident_bytes()
    kept: object = plain_dict(number) if plain else store
    if not plain:
        logins = Logins(**DEVICE) if device else Logins()
        for user in range(number):
            now = START + user * DAY / number
            await store.create(logins.record(10 + user, now), now=now, limit_per_user=None)
    gc.collect()
    grown = resident_bytes() - before
    del kept
    return grown / number


async def counted(number: int) -> float:
    """Return the bytes of a session's objects, added up one by one."""
    store = MemoryStore(max_sessions=10**9)
    empty = size_of(store)
    await fill(store, number)
    return (size_of(store) - empty) / number


def size_of(root: object) -> int:
    """Return the bytes of an object and of all that can be reached from it, but code."""
    seen, waiting, total = set[int](), [root], 0
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, type | types.ModuleType | types.FunctionType):
            continue
        seen.add(id(found))
        total += sys.getsizeof(found)
        waiting += gc.get_referents(found)
    return total


def resident_bytes() -> int:
    """Return the memory that this process has."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:  # not Linux
        told = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(getpid())], capture_output=True, text=True, check=True
        )
        return int(told.stdout) * 1024
    return int(pages) * sysconf("SC_PAGE_SIZE")


async def holds(many: int, dead: int) -> Figures:
    """Let `dead` of `many` sessions die, and sweep them beside a task that wants every turn."""
    gc.collect()
    gc.freeze()  # of a collection, only what sessions add is counted
    store = MemoryStore(max_sessions=10**9)
    living = {"expiration": 10 * DAY}
    _, longest_create = await fill(store, many - dead, **living)
    await fill(store, dead, first=many - dead)
    longest_work, longest_wall, turns = 0.0, 0.0, 0

    async def want_every_turn() -> None:
        nonlocal longest_work, longest_wall, turns
        work, wall = time.thread_time(), time.perf_counter()
        while True:
            await asyncio.sleep(0)
            work, before = time.thread_time(), work
            longest_work = max(longest_work, work - before)
            wall, before = time.perf_counter(), wall
            longest_wall = max(longest_wall, wall - before)
            turns += 1

    began = time.thread_time()
    gc.collect()
    collection = time.thread_time() - began
    waiting = asyncio.create_task(want_every_turn())
    await asyncio.sleep(0)
    began = time.thread_time()
    removed = await store.sweep(now=START + 2 * DAY, budget=SWEEP_BUDGET)
    took = time.thread_time() - began
    await asyncio.sleep(0)  # the last of the holds is told, too
    waiting.cancel()
    if removed != dead:
        raise RuntimeError(f"{removed} sessions were swept, not {dead}.")
    return {
        "sweep_longest_hold_ms": longest_work * 1e3,
        "sweep_longest_hold_wall_ms": longest_wall * 1e3,
        "sweep_ms": took * 1e3,
        "sweep_turns_of_others": turns,
        "create_longest_ms": longest_create * 1e3,
        "collection_ms": collection * 1e3,
    }


def in_fresh_process(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what an async function gives in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(_run, call, arguments, options).result()


def _run(call: Callable[..., Any], arguments: Any, options: Any) -> Any:
    return asyncio.run(call(*arguments, **options))


def measure(*, quick: bool = False) -> Figures:
    """Measure everything."""
    sizes, rounds = (QUICK_SIZES, 3) if quick else (SIZES, 40)
    many = sizes[-1]
    found: Figures = {"fields_bytes": FIELDS_BYTES}
    found |= times(sizes, rounds)
    # Smaller ones drown in what an allocator asks for at a time.
    found["bytes"] = {size: in_fresh_process(growth, size) for size in sizes[1:]}
    found["bytes_with_device"] = in_fresh_process(growth, many // 10, device=True)
    found["bytes_plain"] = {size: in_fresh_process(growth, size, plain=True) for size in sizes[1:]}
    found["bytes_counted"] = in_fresh_process(counted, min(COUNTED, many))
    return found | in_fresh_process(holds, many, many // 10)


def rows(found: Figures) -> list[Row]:
    """Return the lines of the table."""
    small, many = min(found["load_us"]), max(found["load_us"])
    work = f"the memory store at {_number(many)} sessions, compared with {_number(small)}"
    lines = []
    named = {
        "create": "create",
        "load": "load",
        "renew": "load, and renew",
        "look_up": "a plain dict: look up a payload",
    }
    for kind, name in named.items():
        taken = found[f"{kind}_us"]
        how = f"{taken[small]:.2f} us, {taken[many]:.2f} us"
        target = "<= 1.3" if kind in ("create", "load") else ""
        lines.append(Row(work, name, found[f"{kind}_ratio"][many], "x", target, how))
    work = f"memory a session, {_number(many)} of them, {found['fields_bytes']} bytes of JSON each"
    grown = "growth of a fresh process"
    lines += [
        Row(work, "fastapi-memsession", found["bytes"][many], "bytes", "<= 700", grown),
        Row(work, "a plain dict of payloads", found["bytes_plain"][many], "bytes", "", grown),
        Row(
            work,
            "fastapi-memsession, by objects",
            found["bytes_counted"],
            "bytes",
            how=f"{_number(min(COUNTED, many))} of them, each object's size added up",
        ),
        Row(
            work,
            "fastapi-memsession, with the device of the login",
            found["bytes_with_device"],
            "bytes",
            how=f"{grown}, {_number(many // 10)} of them",
        ),
    ]
    work = f"hold of the event loop at {_number(many)} sessions"
    how = (
        f"{found['sweep_longest_hold_wall_ms']:.2f} ms by the clock on the wall; all in "
        f"{found['sweep_ms']:.0f} ms, others had {found['sweep_turns_of_others']:,} turns"
    )
    sweep = f"the longest of a sweep of {_number(many // 10)} dead"
    longest = found["sweep_longest_hold_ms"]
    lines += [
        Row(work, sweep, longest, "ms", "<= 2", how),
        Row(work, "the longest create while they came", found["create_longest_ms"], "ms"),
        Row(work, "a full garbage collection", found["collection_ms"], "ms"),
    ]
    return lines


def _number(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="see that it runs; figures are noise")
    arguments = parser.parse_args()
    print(show(rows(measure(quick=arguments.quick))))


if __name__ == "__main__":
    main()
