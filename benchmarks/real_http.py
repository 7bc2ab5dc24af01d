"""Requests a second over real HTTP: uvicorn, sockets of the loopback, and wrk.

    python -m benchmarks.real_http [--quick]

Two servers run, one without sessions and one with; they are asked in turns, never at once. Each
is one process with uvicorn's defaults for speed, and a new one in each round: where things come to
lie in a process' memory makes it some percent faster or slower for as long as it lives. wrk takes
a core of its own: on a machine with one core only, the ratio tells little.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import sysconf
from pathlib import Path

from benchmarks.contenders import ANSWER
from benchmarks.table import Row, absent, show
from benchmarks.wrk import ADVICE, find, load

WORK = "requests a second over HTTP, memory (uvicorn, wrk)"
US = "fastapi-memsession, header"
BARE = "bare"
BARE_TOLD = "bare, sent the same header"
CONNECTIONS = 16
PATIENCE = 60  # seconds for a server to start
APPS = {BARE: "benchmarks.contenders:bare_app", US: "benchmarks.contenders:our_app"}


@dataclass
class Server:
    """A server, and the header that it gave at a login."""

    process: subprocess.Popen[bytes]
    url: str
    header: str | None

    def working(self) -> float:
        """Return for how many seconds its process has worked; 0 where that cannot be known."""
        try:
            told = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        except OSError:  # not Linux
            return 0.0
        in_user, in_system = told.rpartition(")")[2].split()[11:13]
        return (int(in_user) + int(in_system)) / sysconf("SC_CLK_TCK")


@dataclass
class Asked:
    """What came of asking servers in the same way each time.

    Attributes:
        rates: answers for each second, in each round.
        at_work: answers for each second that the process was working; where that can be known.
    """

    rates: list[float] = field(default_factory=list)
    at_work: list[float] = field(default_factory=list)

    def turn(self, server: Server, header: str | None, seconds: int) -> None:
        """Ask one for a while."""
        time.sleep(0.2)  # what the one before did is over
        before = server.working()
        url = f"{server.url}/theme"
        number, rate = load(url, header, seconds=seconds, connections=CONNECTIONS)
        self.rates.append(rate)
        if worked := server.working() - before:
            self.at_work.append(number / worked)


@contextmanager
def serving(factory: str) -> Iterator[Server]:
    """Serve an application, and log in."""
    listening = socket.create_server(("127.0.0.1", 0))
    # What is accepted has it, too; a server that is given a number does not set it by itself.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    command = [sys.executable, "-m", "uvicorn", "--factory", factory, "--no-access-log"]
    command += ["--fd", str(listening.fileno()), "--log-level", "warning"]
    process = subprocess.Popen(command, pass_fds=[listening.fileno()])
    try:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield Server(process, url, _logged_in(url))
    finally:
        process.kill()
        process.wait()
        listening.close()


def _logged_in(url: str) -> str | None:
    """Log in, see that the answer is right, and return the header that a client sends."""
    # The socket listens already, so the first request waits for the server.
    login = urllib.request.Request(f"{url}/login", method="POST")
    with urllib.request.urlopen(login, timeout=PATIENCE) as response:
        token = response.headers["Authorization"]
    request = urllib.request.Request(f"{url}/theme")
    if token:
        request.add_header("Authorization", token)
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        answer = json.load(response)
    if answer != ANSWER:
        raise RuntimeError(f"Logged in, the answer is {answer}")
    return f"Authorization: {token}" if token else None


def measure(*, quick: bool = False) -> list[Row]:
    """Return the lines of the table."""
    if find() is None:
        return [absent(WORK, US, ADVICE)]
    seconds, rounds = (1, 1) if quick else (2, 9)
    asked = {name: Asked() for name in (BARE, BARE_TOLD, US)}
    order = list(asked)
    for _ in range(rounds):
        with serving(APPS[BARE]) as bare, serving(APPS[US]) as ours:
            servers = {BARE: bare, BARE_TOLD: bare, US: ours}
            for name in order:
                header = None if name == BARE else ours.header
                asked[name].turn(servers[name], header, seconds)
        order.reverse()
    base, lines = asked[BARE], []
    for name, each in asked.items():
        how = f"{statistics.median(each.rates):,.0f} a second"
        target = ">= 0.9" if name == US else ""
        lines.append(Row(WORK, name, _ratio(each.rates, base.rates), "x", target, how))
    if base.at_work:
        for name in (BARE_TOLD, US):
            each = asked[name]
            how = f"{1e6 / statistics.median(each.at_work):.0f} us of work, "
            how += f"{1e6 / statistics.median(base.at_work):.0f} us without"
            ratio = _ratio(each.at_work, base.at_work)
            lines.append(Row(WORK, f"{name}, by work", ratio, "x", "", how))
    return lines


def _ratio(mine: list[float], base: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(mine, base, strict=True))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="see that it runs; figures are noise")
    arguments = parser.parse_args()
    print(show(measure(quick=arguments.quick)))


if __name__ == "__main__":
    main()
