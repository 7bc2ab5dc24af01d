"""Find the Redis that the tests start, and start it; as a script, make sure that there is one.

Servers listen on the loopback only, keep nothing on disk and are killed when the block that
started them ends. Knows programs and ports, neither the package nor a client library.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from tests.debian import install, provide, rights, runs

NAMES = ("redis-server", "valkey-server")
ADVICE = (
    "The tests of the Redis store need redis-server or valkey-server, 6.2 or newer, and none was "
    "found. Install one (Debian: apt-get install redis-server; macOS: brew install redis; others: "
    "https://redis.io/docs/latest/get-started), or let REDIS_SERVER name its program."
)
SERVICE = "mymaster"  # what the sentinels call the master
PATIENCE = 30  # seconds for anything that is waited for
_PAUSE = 0.005  # seconds between two looks

# Below the ports that systems hand out: a client that knocks at the port of a killed server is
# then never connected to itself. The bus of a cluster takes the port 10000 above.
_PORTS = range(11_000, 22_000)
_BUS = 10_000


def find() -> str | None:
    """Return the path of a Redis or Valkey, None without one; REDIS_SERVER overrules the search."""
    chosen = os.environ.get("REDIS_SERVER")
    names = (chosen,) if chosen else NAMES
    return next((path for path in map(shutil.which, names) if path), None)


class RedisServer:
    """A server in a folder of its own. Enter it to start it; it is killed on the way out.

    Args:
        folder: where it runs and writes its log; made if need be.
        options: as on the command line, `"--appendonly", "yes"`; they overrule those given here.
        password: what clients must say.
        unix: whether it listens on a socket in the folder, and on no port.
    """

    def __init__(
        self, folder: Path, *options: str, password: str | None = None, unix: bool = False
    ) -> None:
        self.folder = folder
        self.password = password
        self.port = 0
        self.socket = folder / "socket" if unix else None
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the database 0, with the password if there is one."""
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"unix://{login}{self.socket}" if self.socket else f"redis://{login}{self.address}"

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> "RedisServer":
        self.folder.mkdir(parents=True, exist_ok=True)
        give_up = time.monotonic() + PATIENCE
        while True:
            self._start()
            try:
                wait_until(self._is_ready, self._told, give_up)
            except PortTaken:  # between choosing it and listening on it
                self.kill()
            except BaseException:
                self.kill()
                raise
            else:
                return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill it as a power cut would; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def command(self, *words: str | int, check: bool = True) -> str:
        """Give it a command with the command line client; return what it answers."""
        where = ["-s", str(self.socket)] if self.socket else ["-p", str(self.port)]
        return command_line(*where, *map(str, words), password=self.password, check=check)

    def _start(self) -> None:
        self.port = 0 if self.socket else free_port()
        options = ["--bind", "127.0.0.1", "--port", str(self.port)]
        options += ["--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        if self.socket:
            options += ["--unixsocket", str(self.socket)]
        if self.password:
            options += ["--requirepass", self.password, "--masterauth", self.password]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [_program(), *self._arguments(), *options, *self._options],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _arguments(self) -> list[str]:
        """Return what stands before the options."""
        return []

    def _is_ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            if "already in use" in self._told():
                raise PortTaken
            raise RuntimeError(f"Redis did not start: {self._told()}")
        with suppress(OSError), socket.socket(*self._family) as connection:
            connection.settimeout(1)
            connection.connect(str(self.socket) if self.socket else ("127.0.0.1", self.port))
            connection.sendall(b"PING\r\n")
            return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        return False

    @property
    def _family(self) -> tuple[int, int]:
        return (socket.AF_UNIX if self.socket else socket.AF_INET, socket.SOCK_STREAM)

    def _told(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


class _SentinelServer(RedisServer):
    """A sentinel that watches one master, and is quick to call it dead."""

    def __init__(self, folder: Path, master: RedisServer) -> None:
        super().__init__(folder)
        self._master = master

    def _arguments(self) -> list[str]:
        lines = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._master.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} 300",
            f"sentinel failover-timeout {SERVICE} 2000",
        ]
        if self._master.password:
            lines.append(f"sentinel auth-pass {SERVICE} {self._master.password}")
        configuration = self.folder / "sentinel.conf"  # which it rewrites
        configuration.write_text("".join(f"{line}\n" for line in lines))
        return [str(configuration), "--sentinel"]


class PortTaken(Exception):
    """Somebody else listens there."""


class Cluster:
    """Three masters that share the slots."""

    def __init__(self, nodes: list[RedisServer]) -> None:
        self.nodes = nodes
        self.password = nodes[0].password

    @property
    def url(self) -> str:
        """The URL of all of them."""
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis+cluster://{login}{','.join(node.address for node in self.nodes)}"

    def names(self) -> list[str]:
        """Return the name of each node, as the cluster calls it."""
        return [node.command("cluster", "myid").strip() for node in self.nodes]

    def owner(self, slot: int) -> int:
        """Return which of the nodes a slot belongs to, by its own word."""
        for number, node in enumerate(self.nodes):
            mine = next(
                line.split()[8:]
                for line in node.command("cluster", "nodes").splitlines()
                if "myself" in line
            )
            for part in mine:
                first, _, last = part.partition("-")
                if first.isdigit() and int(first) <= slot <= int(last or first):
                    return number
        raise LookupError(slot)

    def is_whole(self) -> bool:
        """Whether every node knows the others and an owner for every slot."""
        for node in self.nodes:
            information = node.command("cluster", "info", check=False)
            if "cluster_state:ok" not in information:
                return False
            if f"cluster_known_nodes:{len(self.nodes)}" not in information.split():
                return False
        return True


class Deployment:
    """One master and one replica, watched by three sentinels."""

    def __init__(
        self, master: RedisServer, replica: RedisServer, sentinels: list[RedisServer]
    ) -> None:
        self.master = master
        self.replica = replica
        self.sentinels = sentinels
        self.password = master.password

    @property
    def url(self) -> str:
        """The URL of the master, whichever it is, by the word of the sentinels."""
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        hosts = ",".join(sentinel.address for sentinel in self.sentinels)
        return f"redis+sentinel://{login}{hosts}/{SERVICE}"

    def is_whole(self) -> bool:
        """Whether the replica follows, and every sentinel knows it and the other sentinels."""
        if "master_link_status:up" not in self.replica.command("info", "replication", check=False):
            return False
        for sentinel in self.sentinels:
            words = sentinel.command("sentinel", "master", SERVICE, check=False).split("\n")
            known = dict(zip(words[::2], words[1::2], strict=False))
            wanted = {"num-slaves": "1", "num-other-sentinels": "2", "flags": "master"}
            if wanted != {name: known.get(name) for name in wanted}:
                return False
        return True


@contextmanager
def cluster(folder: Path, *options: str, password: str | None = None) -> Iterator[Cluster]:
    """Run a cluster of three masters."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", *options)
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(RedisServer(folder / f"node-{number}", *options, password=password))
            for number in range(3)
        ]
        made = Cluster(nodes)
        addresses = [node.address for node in nodes]
        command_line("--cluster", "create", *addresses, "--cluster-yes", password=password)
        wait_until(made.is_whole, lambda: nodes[0].command("cluster", "nodes"))
        yield made


@contextmanager
def sentinel(folder: Path, *options: str, password: str | None = None) -> Iterator[Deployment]:
    """Run a master, a replica and three sentinels that fail over within a second or two."""
    options = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *options)
    with ExitStack() as stack:

        def run(server: RedisServer) -> RedisServer:
            return stack.enter_context(server)

        master = run(RedisServer(folder / "master", *options, password=password))
        follow = ("--replicaof", f"127.0.0.1 {master.port}")
        replica = run(RedisServer(folder / "replica", *options, *follow, password=password))
        watch = [run(_SentinelServer(folder / f"sentinel-{n}", master)) for n in range(3)]
        for each in watch:  # by default they talk to each other every two seconds
            each.command("sentinel", "debug", "publish-period", 100, "info-period", 100)
        made = Deployment(master, replica, watch)
        wait_until(made.is_whole, lambda: watch[0].command("sentinel", "master", SERVICE))
        yield made


def free_port() -> int:
    """Return a port on which nobody listens, nor on the one for the bus of a cluster."""
    while True:
        port = random.choice(_PORTS)
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + _BUS))
            return port


def command_line(*words: str, password: str | None = None, check: bool = True) -> str:
    """Run the command line client that came with the server; return what it prints."""
    program = Path(_program())
    client = program.with_name(program.name.replace("-server", "-cli"))
    done = subprocess.run(
        [str(client), *words],
        env=os.environ | ({"REDISCLI_AUTH": password} if password else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        text=True,
        check=False,
    )
    if check and (done.returncode or done.stdout.startswith(("ERR", "NOAUTH"))):
        raise RuntimeError(f"{client.name} {' '.join(words)}: {done.stdout}")
    return done.stdout


def wait_until(
    happened: Callable[[], bool], told: Callable[[], str], give_up: float | None = None
) -> None:
    """Look again and again, but not for ever; say what was told last if it never happens."""
    give_up = give_up or time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > give_up:
            raise TimeoutError(f"Redis did not get there within {PATIENCE} seconds: {told()}")
        time.sleep(_PAUSE)


def main() -> int:
    """Print the path of the server, installing it if that can be done; return the exit status."""
    return provide(find, _install, ADVICE)


def _install() -> bool:
    """Install Debian's Redis, unless another one was asked for; the tests start their own."""
    if os.environ.get("REDIS_SERVER") or not install("redis-server", "the tests of the store"):
        return False
    if shutil.which("service"):
        runs(*(rights() or []), "service", "redis-server", "stop")
    return True


def _program() -> str:
    path = find()
    if path is None:
        raise RuntimeError(ADVICE)
    return path


if __name__ == "__main__":
    sys.exit(main())
