"""Find wrk, the client of the benchmark over HTTP; as a script, make sure that there is one."""

import os
import re
import shutil
import subprocess
import sys

from tests.debian import install, provide

ADVICE = (
    "The benchmark over HTTP needs wrk, and none was found: it is not measured. Install it "
    "(Debian: apt-get install wrk; macOS: brew install wrk), or let WRK name its program."
)


def find() -> str | None:
    """Return the path of wrk, None without one; WRK overrules the search."""
    return shutil.which(os.environ.get("WRK", "wrk"))


def load(url: str, header: str | None, *, seconds: int, connections: int) -> tuple[int, float]:
    """Ask for the same page as fast as it is answered, over connections that are kept.

    Returns how many answers there were, and how many a second.

    Raises:
        RuntimeError: some answers were not what they should be, or there were none.
    """
    program = find()
    if program is None:
        raise RuntimeError(ADVICE)
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["-H", header] if header else []
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
    number = re.search(r"(\d+) requests in", done.stdout)
    if (
        done.returncode
        or rate is None
        or number is None
        or re.search("Non-2xx|Socket errors", done.stdout)
    ):
        raise RuntimeError(f"wrk says: {done.stdout}{done.stderr}")
    return int(number[1]), float(rate[1])


if __name__ == "__main__":
    provide(find, lambda: install("wrk", "the benchmark over HTTP"), ADVICE)
    sys.exit(0)  # without it, everything else is measured
