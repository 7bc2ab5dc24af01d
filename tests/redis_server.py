"""Find the Redis that the tests start, and start it; as a script, make sure that there is one.

Servers listen on the loopback only, keep nothing on disk and are killed when the block that
started them ends. Knows programs and ports, neither the package nor a client library.
"""

import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from tests.authority import Authority
from tests.debian import install, provide, rights, runs

NAMES = ("redis-server", "valkey-server")
ADVICE = (
    "The tests of the Redis store need redis-server or valkey-server, 6.2 or newer, and none was "
    "found. Install one (Debian: apt-get install redis-server; macOS: brew install redis; others: "
    "https://redis.io/docs/latest/get-started), or let REDIS_SERVER name its program."
)
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
        authority: who signed its certificate; it then speaks nothing but TLS.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        password: str | None = None,
        unix: bool = False,
        authority: Authority | None = None,
    ) -> None:
        self.folder = folder
        self.password = password
        self.port = 0
        self.socket = folder / "socket" if unix else None
        self.authority = authority
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the database 0, with the password if there is one."""
        if self.socket:
            return f"unix://{self.login}{self.socket}"
        return f"redis{self.tls}://{self.login}{self.address}{self.trust}"

    @property
    def login(self) -> str:
        """What stands before the host in a URL."""
        return f":{quote(self.password, safe='')}@" if self.password else ""

    @property
    def tls(self) -> str:
        """What the scheme of a URL has at its end."""
        return "s" if self.authority else ""

    @property
    def trust(self) -> str:
        """What stands at the end of a URL."""
        if self.authority is None:
            return ""
        return f"?ssl_ca_certs={quote(str(self.authority.certificate), safe='')}"

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
                self.port = 0
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

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Let it accept connections and answer nothing."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is None:
            raise RuntimeError("It was not started.")
        self._process.send_signal(number)

    def command(self, *words: str | int, check: bool = True) -> str:
        """Give it a command with the command line client; return what it answers."""
        where = ["-s", str(self.socket)] if self.socket else ["-p", str(self.port)]
        if self.authority:
            where += ["--tls", "--cacert", str(self.authority.certificate)]
        return command_line(*where, *map(str, words), password=self.password, check=check)

    def _start(self) -> None:
        if not self.socket:  # when it is started again, it is where it was
            self.port = self.port or free_port()
        options = ["--bind", "127.0.0.1", *self._listening()]
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

    def _listening(self) -> list[str]:
        if self.authority is None:
            return ["--port", str(self.port)]
        return [
            *("--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"),
            *("--tls-replication", "yes", "--tls-cluster", "yes"),
            *("--tls-ca-cert-file", str(self.authority.certificate)),
            *("--tls-cert-file", str(self.authority.server_certificate)),
            *("--tls-key-file", str(self.authority.server_key)),
        ]

    def _is_ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            if "already in use" in self._told():
                raise PortTaken
            raise RuntimeError(f"Redis did not start: {self._told()}")
        with suppress(OSError), self._connection() as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100).startswith((b"+PONG", b"-NOAUTH", b"-LOADING"))
        return False

    def _connection(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX if self.socket else socket.AF_INET)
        try:
            connection.settimeout(1)
            connection.connect(str(self.socket) if self.socket else ("127.0.0.1", self.port))
            if self.authority is None:
                return connection
            context = ssl.create_default_context(cafile=self.authority.certificate)
            return context.wrap_socket(connection, server_hostname="127.0.0.1")
        except BaseException:
            connection.close()
            raise

    def _told(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


class PortTaken(Exception):
    """Somebody else listens there."""


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
