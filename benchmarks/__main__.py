"""Everything in one table: `python -m benchmarks [--quick] [--json FILE] [--svg FILE]`.

What `make bench` runs. --quick only shows that it all works: its figures are noise.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks import in_process, memory_store, near_cache, real_http, redis_costs
from benchmarks.plot import draw
from benchmarks.table import describe, machine, show, write

T = TypeVar("T")


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that it runs; figures are noise")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--svg", type=Path, help="draw cost and memory against sessions")
    arguments = parser.parse_args()
    quick = arguments.quick
    measured_on = machine()  # before the load is ours
    rows = _part(
        "requests in process",
        lambda: asyncio.run(in_process.in_memory(quick=quick, peers=True)),
    )
    rows += _part(
        "requests in process, on Redis",
        lambda: asyncio.run(in_process.in_redis(quick=quick, peers=True)),
    )
    rows += _part("the near cache", lambda: near_cache.measure(quick=quick))
    rows += _part("requests over HTTP", lambda: real_http.measure(quick=quick))
    memory = _part("the memory store", lambda: memory_store.measure(quick=quick))
    redis = _part("a Redis server", lambda: redis_costs.measure(quick=quick))
    rows += memory_store.rows(memory) + redis_costs.rows(redis)
    print(show(rows), describe(measured_on), sep="\n\n")
    figures = {"memory_store": memory, "redis_costs": redis}
    if arguments.json:
        write(arguments.json, rows, machine=measured_on, figures=figures)
    if arguments.svg:
        drawn = draw(json.loads(json.dumps(memory)))  # its numbers are names then, as in the file
        arguments.svg.write_text(drawn, encoding="utf-8")


def _part(name: str, measure: Callable[[], T]) -> T:
    print(f"Measuring {name}", file=sys.stderr)
    return measure()


if __name__ == "__main__":
    main()
