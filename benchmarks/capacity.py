"""What so many sessions cost: memory, Redis shards, requests a second, bytes to the replicas.

    python -m benchmarks.capacity [--json FILE] [--active 0.05] [--every 10] [--days 7]

Arithmetic only. Figures come from what `make bench ARGS="--json FILE"` wrote, or else are those
below; what people do with their sessions is assumed, and can be assumed otherwise by options.
"""

import argparse
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.in_process import GET_REDIS, US

SESSIONS = (1_000, 1_000_000, 100_000_000)
SHARD_BYTES = 16 * 2**30
"""Memory of sessions that a shard is given: as much again is for the copy of a snapshot."""
SHARD_LOAD = 0.5
"""Of a shard's one core, the part that is used at the peak."""
_DAY = 86_400
_KB = 1000


@dataclass(frozen=True)
class Measured:
    """What one session or one call costs. In bytes, and microseconds of a processor."""

    memory_bytes: float = 651  # python -m benchmarks.memory_store: "memory a session"
    redis_bytes: float = 684  # python -m benchmarks.redis_costs: "memory of the server"
    use_us: float = 30  # the same: "time of the server, use"
    renewal_bytes: float = 284  # the same: "use, renewed", to each replica
    login_us: float = 116  # the same: "time of the server, login"
    login_bytes: float = 2208  # the same: "login", to each replica
    request_us: float = 725  # python -m benchmarks.in_process --redis: "at work for"

    @classmethod
    def read(cls, path: Path) -> "Measured":
        """Return the figures of a run; what it did not measure stays as it is above."""
        run = json.loads(path.read_text(encoding="utf-8"))
        memory, redis = run["figures"]["memory_store"], run["figures"]["redis_costs"]
        requests = [row for row in run["rows"] if (row["work"], row["who"]) == (GET_REDIS, US)]
        by_size = memory.get("bytes", {})
        told: dict[str, Any] = {
            "memory_bytes": by_size.get(max(by_size, key=int, default=None)),
            "redis_bytes": redis.get("bytes"),
            "use_us": redis.get("server_us", {}).get("use"),
            "renewal_bytes": redis.get("written_bytes", {}).get("use, renewed"),
            "login_us": redis.get("server_us", {}).get("login"),
            "login_bytes": redis.get("written_bytes", {}).get("login"),
            "request_us": requests[0]["work_us"] if requests else None,
        }
        return replace(cls(), **{name: value for name, value in told.items() if value})


@dataclass(frozen=True)
class Assumed:
    """What people do with their sessions.

    Attributes:
        active: of all live sessions, the part that is in use at the peak.
        every: seconds between two requests of one in use.
        days: how long a session lives, on the average.
        renewal: seconds between two uses that are written down: the default `RENEW_INTERVAL`.
    """

    active: float = 0.05
    every: float = 10
    days: float = 7
    renewal: float = _DAY / 20


@dataclass(frozen=True)
class Capacity:
    """What a number of sessions needs."""

    sessions: int
    in_memory: float  # bytes
    in_redis: float  # bytes
    requests: float  # a second
    logins: float  # a second
    shards: int
    replicated: float  # bytes a second, to each replica of all shards together
    cores: float  # of the application, at work all the time


def capacity(sessions: int, measured: Measured, assumed: Assumed) -> Capacity:
    """Do the sum."""
    active = sessions * assumed.active
    requests = active / assumed.every
    logins = sessions / (assumed.days * _DAY)
    # One in use is renewed once in an interval, or by each of its requests if they are rarer.
    renewals = active / max(assumed.renewal, assumed.every)
    in_redis = sessions * measured.redis_bytes
    redis_cores = (requests * measured.use_us + logins * measured.login_us) / 1e6
    return Capacity(
        sessions,
        sessions * measured.memory_bytes,
        in_redis,
        requests,
        logins,
        max(1, math.ceil(in_redis / SHARD_BYTES), math.ceil(redis_cores / SHARD_LOAD)),
        renewals * measured.renewal_bytes + logins * measured.login_bytes,
        requests * measured.request_us / 1e6,
    )


def show(all_: Iterable[Capacity]) -> str:
    """Return a table in Markdown."""
    heads = (
        "sessions", "memory store", "Redis", "requests a second", "logins a second",
        "Redis shards", "to each replica", "cores of the application",
    )  # fmt: skip
    lines = [heads, tuple("---:" for _ in heads)]
    lines += [
        (
            f"{each.sessions:,}".replace(",", " "),
            _bytes(each.in_memory),
            _bytes(each.in_redis),
            _rounded(each.requests),
            _rounded(each.logins),
            str(each.shards),
            f"{_bytes(each.replicated)} a second",
            _rounded(each.cores),
        )
        for each in all_
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bytes(number: float) -> str:
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = 0
    while number >= _KB and power < len(units) - 1:
        number, power = number / _KB, power + 1
    return f"{_rounded(number)} {units[power]}"


def _rounded(number: float) -> str:
    """Return two digits that count: more would be a promise."""
    if not number:
        return "0"
    digits = 1 - math.floor(math.log10(abs(number)))
    return f"{round(number, digits):,.{max(0, digits)}f}".replace(",", " ")


def main() -> None:
    """Print what the figures are, and what they come to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="what a run of the benchmarks wrote")
    for each in fields(Assumed):
        parser.add_argument(f"--{each.name}", type=float, default=each.default)
    parser.add_argument("--sessions", type=int, nargs="+", default=SESSIONS)
    arguments = parser.parse_args()
    measured = Measured.read(arguments.json) if arguments.json else Measured()
    assumed = Assumed(**{each.name: getattr(arguments, each.name) for each in fields(Assumed)})
    print(measured, assumed, "", sep="\n")
    print(show(capacity(each, measured, assumed) for each in arguments.sessions))


if __name__ == "__main__":
    main()
