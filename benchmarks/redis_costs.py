"""What sessions cost a Redis server: memory, its processor's time, and what it tells its replicas.

    python -m benchmarks.redis_costs [--quick]

The server says so itself, so it does not matter how fast the client is. What goes to the
append-only file goes to the replicas, command by command: its growth is the traffic of both.
"""

import argparse
import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.memory_store import DAY, DEVICE, START, Figures, Logins
from benchmarks.table import Row, absent, show
from fastapi_memsession import SessionRecord
from fastapi_memsession.stores.base import SetValue
from fastapi_memsession.stores.redis import RedisStore
from tests.redis_server import ADVICE, RedisServer, find

SESSIONS = 10_000
AT_ONCE = 16  # calls that are under way together
WORK = "a session in Redis"
PATIENCE = 30.0  # seconds for any call, however busy the machine is
_HOUR = 3600.0


@dataclass
class Costs:
    """What calls of one kind cost the server, each."""

    microseconds: float
    written: float  # bytes, to the append-only file and to each replica
    memory: float  # bytes by which the server has grown


@dataclass
class Bench:
    """A server and a store on it."""

    server: RedisServer
    store: RedisStore
    costs: dict[str, Costs] = field(default_factory=dict)

    async def note(
        self, name: str, each: Sequence[Any], call: Callable[[Any], Awaitable[Any]]
    ) -> None:
        """Do something with each, and note what that cost the server."""
        waiting = iter(each)

        async def work() -> None:
            for argument in waiting:
                await call(argument)

        processor, written, memory = self._told()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        after = self._told()
        self.costs[name] = Costs(
            (after[0] - processor) / len(each) * 1e6,
            (after[1] - written) / len(each),
            (after[2] - memory) / len(each),
        )

    def _told(self) -> tuple[float, int, int]:
        lines = self.server.command("INFO", "everything").splitlines()
        told = {name: value for name, _, value in (line.partition(":") for line in lines)}
        processor = float(told["used_cpu_user"]) + float(told["used_cpu_sys"])
        memory = int(told["used_memory"]) - int(told["mem_aof_buffer"])
        return processor, int(told["aof_current_size"]), memory


async def costs(number: int) -> dict[str, Costs]:
    """Return what each kind of call costs a server with that many sessions."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder), "--appendonly", "yes", "--appendfsync", "no") as server,
    ):
        bench = Bench(server, RedisStore(server.url, timeout=PATIENCE))
        try:
            await _calls(bench, number)
        finally:
            await bench.store.aclose()
    return bench.costs


async def _calls(bench: Bench, number: int) -> None:
    logins, store, now = Logins(), bench.store, START
    records = [logins.record(user, now) for user in range(number)]
    keys = [record.key for record in records]
    random.Random(1).shuffle(keys)
    with_device = [Logins(**DEVICE).record(number + user, now) for user in range(number // 10)]
    some = partial(store.create, now=now, limit_per_user=None)
    warm: list[SessionRecord] = [logins.record(2 * number + user, now) for user in range(AT_ONCE)]
    await bench.note("warm", warm, some)
    await bench.note("login", records, some)
    await bench.note("login with device", with_device, some)
    await bench.note("use", keys, partial(store.load, now=now, renew_interval=_HOUR))
    later = now + 2 * _HOUR
    await bench.note("use, renewed", keys, partial(store.load, now=later, renew_interval=_HOUR))
    value = [SetValue("theme", b'"light"')]

    async def write(key: Any) -> None:
        await store.change(key, value, now=later, max_bytes=65_536)

    await bench.note("write", keys, write)
    await bench.note("logout", keys, partial(store.delete, now=later, reason="logout"))
    del bench.costs["warm"]
    assert later < now + DAY


def measure(*, quick: bool = False) -> Figures:
    """Measure everything; nothing where there is no server to start."""
    if find() is None:
        return {}
    found = asyncio.run(costs(500 if quick else SESSIONS))
    return {
        "bytes": found["login"].memory,
        "bytes_with_device": found["login with device"].memory,
        "bytes_after_logout": found["login"].memory + found["logout"].memory,
        "server_us": {name: each.microseconds for name, each in found.items()},
        "written_bytes": {name: each.written for name, each in found.items()},
    }


def rows(found: Figures) -> list[Row]:
    """Return the lines of the table."""
    if not found:
        return [absent(WORK, "fastapi-memsession", ADVICE)]
    device = f"{found['bytes_with_device']:.0f} with the device of the login"
    ended = "why it ended, until its deadline"
    lines = [
        Row(WORK, "memory of the server", found["bytes"], "bytes", how=device),
        Row(WORK, "the same after a logout", found["bytes_after_logout"], "bytes", how=ended),
    ]
    for name, microseconds in found["server_us"].items():
        written = f"{found['written_bytes'][name]:.0f} bytes to each replica and to the file"
        lines.append(Row(WORK, f"time of the server, {name}", microseconds, "us", how=written))
    return lines


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="see that it runs; figures are noise")
    arguments = parser.parse_args()
    print(show(rows(measure(quick=arguments.quick))))


if __name__ == "__main__":
    main()
