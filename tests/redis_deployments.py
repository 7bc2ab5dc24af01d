"""Redis as it is deployed: starts a cluster, or a master with a replica and sentinels.

Knows the servers of `redis_server.py`, neither the package nor a client library.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.authority import Authority
from tests.redis_server import RedisServer, wait_until

SERVICE = "mymaster"  # what the sentinels call the master


class _SentinelServer(RedisServer):
    """A sentinel that watches one master."""

    def __init__(
        self, folder: Path, master: RedisServer, *, password: str | None, down_after: int
    ) -> None:
        super().__init__(folder, authority=master.authority, password=password)
        self._down_after = down_after
        self._master = master

    def _arguments(self) -> list[str]:
        lines = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._master.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {self._down_after}",
            f"sentinel failover-timeout {SERVICE} 2000",
        ]
        if self._master.password:
            lines.append(f"sentinel auth-pass {SERVICE} {self._master.password}")
        if self.password:
            lines.append(f"sentinel sentinel-pass {self.password}")
        configuration = self.folder / "sentinel.conf"  # which it rewrites
        configuration.write_text("".join(f"{line}\n" for line in lines))
        return [str(configuration), "--sentinel"]


class Cluster:
    """Three masters that share the slots."""

    def __init__(self, nodes: list[RedisServer]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        """The URL of all of them."""
        first, hosts = self.nodes[0], ",".join(node.address for node in self.nodes)
        return f"redis{first.tls}+cluster://{first.login}{hosts}{first.trust}"

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

    @property
    def url(self) -> str:
        """The URL of the master, whichever it is, by the word of the sentinels."""
        first, hosts = self.master, ",".join(sentinel.address for sentinel in self.sentinels)
        return f"redis{first.tls}+sentinel://{first.login}{hosts}/{SERVICE}{first.trust}"

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
def cluster(
    folder: Path,
    *options: str,
    password: str | None = None,
    authority: Authority | None = None,
) -> Iterator[Cluster]:
    """Run a cluster of three masters."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", *options)
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                RedisServer(folder / f"node-{n}", *options, password=password, authority=authority)
            )
            for n in range(3)
        ]
        made = Cluster(nodes)
        addresses = [node.address for node in nodes]
        nodes[0].command("--cluster", "create", *addresses, "--cluster-yes")
        wait_until(made.is_whole, lambda: nodes[0].command("cluster", "nodes"))
        yield made


@contextmanager
def sentinel(
    folder: Path,
    *options: str,
    password: str | None = None,
    sentinel_password: str | None = None,
    authority: Authority | None = None,
    down_after: int = 60_000,
) -> Iterator[Deployment]:
    """Run a master, a replica and three sentinels, who take it for dead after milliseconds."""
    options = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *options)
    with ExitStack() as stack:

        def run(name: str, *options: str) -> RedisServer:
            server = RedisServer(folder / name, *options, password=password, authority=authority)
            return stack.enter_context(server)

        master = run("master", *options)
        replica = run("replica", *options, "--replicaof", f"127.0.0.1 {master.port}")
        watch = [
            stack.enter_context(
                _SentinelServer(
                    folder / f"sentinel-{number}",
                    master,
                    password=sentinel_password,
                    down_after=down_after,
                )
            )
            for number in range(3)
        ]
        for each in watch:  # by default they talk to each other every two seconds
            each.command("sentinel", "debug", "publish-period", 100, "info-period", 100)
        made = Deployment(master, replica, watch)
        wait_until(made.is_whole, lambda: watch[0].command("sentinel", "master", SERVICE))
        yield made
