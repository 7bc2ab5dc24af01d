"""One table of what was measured, for a person and for a machine. Measures nothing itself."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

_COLUMNS = ("", "measured", "target", "how")
_PACKAGES = (
    "fastapi", "starlette", "pydantic", "uvicorn", "redis", "hiredis",
    "starsessions", "pyjwt", "fastapi-users", "crudauth",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        work: what is done; lines of the same work stand together.
        who: who does it.
        measured: the number; None if there is none, and `how` then says why.
        unit: what it is a number of.
        target: the most it should be, or the least; shown, never asserted.
        how: the times behind a ratio, or what went wrong.
        work_us: microseconds for which the application was at work, where a request is timed.
    """

    work: str
    who: str
    measured: float | None
    unit: str
    target: str = ""
    how: str = ""
    work_us: float | None = None


def absent(work: str, who: str, reason: object) -> Row:
    """Return the line of a contender that could not be measured."""
    told = str(reason).partition("\n")[0] or type(reason).__name__
    return Row(work, who, None, "", how=told)


def show(rows: Sequence[Row]) -> str:
    """Return the table as text."""
    cells = [_COLUMNS]
    for work, lines in groupby(rows, lambda row: row.work):
        cells.append((work, "", "", ""))
        cells += [(f"  {row.who}", _measured(row), row.target, row.how) for row in lines]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS))]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * sum(widths), *lines[1:]])


def _measured(row: Row) -> str:
    if row.measured is None:
        return "not measured"
    digits = 0 if row.measured >= 100 else 2
    return f"{row.measured:,.{digits}f} {row.unit}"


def machine() -> dict[str, Any]:
    """Return what was measured on."""
    versions = {name: found for name in _PACKAGES if (found := _version(name))}
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "versions": versions,
    }


def describe(machine: dict[str, Any]) -> str:
    """Return that as a line or two."""
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}, load {machine['load']:.1f}\n{versions}"
    )


def write(path: Path, rows: Iterable[Row], **more: Any) -> None:
    """Write everything as JSON, for a machine."""
    command = " ".join(["python", "-m", "benchmarks", *sys.argv[1:]])
    found = {"command": command, **more, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(": ")[2] for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
