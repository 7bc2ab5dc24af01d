"""Clients for Redis: one for each event loop, with every fault as one error.

Knows connections and deadlines, neither sessions nor keys. A command is answered within the
deadline or fails; the client itself retries nothing, because it cannot know what may be repeated.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from fastapi_memsession.deadline import Deadline, Deadlines
from fastapi_memsession.errors import SettingsError, StoreUnavailable

try:
    from redis import exceptions
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ImportError:  # pragma: no cover - a test without the client runs in its own process
    raise SettingsError(
        "Sessions in Redis need its client; run: pip install 'fastapi-memsession[redis]'"
    ) from None

from fastapi_memsession.stores.redis_pooled import Pooled
from fastapi_memsession.stores.redis_urls import MAX_CONNECTIONS, Client

logger = logging.getLogger("fastapi_memsession")

NoScriptError = exceptions.NoScriptError
"""The server has no script of that hash."""

_FAULTS = (exceptions.RedisError, exceptions.RedisClusterException, OSError, TimeoutError)
_CONFIGURATION_FAULTS = (
    exceptions.AuthenticationError,
    exceptions.AuthenticationWrongNumberOfArgsError,
    exceptions.NoPermissionError,
)


class _OfOneLoop(NamedTuple):
    client: Client
    command: Callable[..., Awaitable[Any]]
    asks_replicas: bool
    most: int  # calls that may be under way at once
    gate: asyncio.Semaphore  # some pools refuse a crowd instead of letting it wait: it waits here
    deadlines: Deadlines


class RedisClients:
    """One client for each running event loop, closed on its own loop.

    Args:
        make: makes a client; called on the loop that will use it.
        timeout: seconds within which every call is answered or fails.
        owned: whether clients are ours to close.
    """

    def __init__(self, make: Callable[[], Client], *, timeout: float, owned: bool = True) -> None:
        self._make = make
        self._owned = owned
        self.timeout = timeout
        self._clients: dict[asyncio.AbstractEventLoop, _OfOneLoop] = {}

    @property
    def client(self) -> Client:
        """The client of the running loop."""
        return self._of_this_loop().client

    @property
    def asks_replicas(self) -> bool:
        """Whether it may ask a replica for what is only read."""
        return self._of_this_loop().asks_replicas

    def deadline(self) -> Deadline:
        """Return what ends a block on the running loop after `timeout` seconds."""
        return Deadline(self._of_this_loop().deadlines)

    def _of_this_loop(self) -> _OfOneLoop:
        loop = asyncio.get_running_loop()
        found = self._clients.get(loop)
        if found is None:
            for gone in [each for each in list(self._clients) if each.is_closed()]:
                abandoned = self._clients.pop(gone, None)
                if abandoned is not None and self._owned:
                    _abandon(abandoned.client)
            found = self._clients[loop] = self._new()
        return found

    def _new(self) -> _OfOneLoop:
        client = self._make()
        pool: Any = getattr(client, "connection_pool", None)
        # Whoever watches a client of their own sees all that goes through it.
        direct = self._owned and pool is not None
        command = Pooled(pool).ask if direct else client.execute_command
        most = min(MAX_CONNECTIONS, getattr(pool, "max_connections", MAX_CONNECTIONS))
        gate, deadlines = asyncio.Semaphore(most), Deadlines(self.timeout)
        return _OfOneLoop(client, command, _asks_replicas(client), most, gate, deadlines)

    async def aclose(self) -> None:
        """Close the client of the running loop; the next call makes a new one.

        Calls that are under way end first, within their deadline: they would connect once more.
        """
        found = self._clients.pop(asyncio.get_running_loop(), None)
        if found is None or not self._owned:
            return
        try:
            for _ in range(found.most):
                await found.gate.acquire()
        finally:
            closing = [each.aclose() for each in (found.client, *_sentinels(found.client))]
            await asyncio.gather(*closing, return_exceptions=True)

    async def connect(self) -> None:
        """Connect now, and warn of settings of the server that lose sessions.

        Raises:
            StoreUnavailable: it cannot be reached, or refuses us.
        """
        client = self.client
        if isinstance(client, RedisCluster):
            await self.call(client.initialize, idempotent=True)
        await self.ask("PING")
        try:
            found = await self.call(lambda: client.config_get("maxmemory-policy"), idempotent=True)
            saving = await self.call(lambda: client.config_get("appendonly"), idempotent=True)
        except StoreUnavailable:
            return  # managed servers let nobody look
        policy = found.get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            logger.warning(
                "Redis evicts keys (maxmemory-policy %s): under pressure users are logged out. "
                "Set it to noeviction.",
                policy,
            )
        if saving.get("appendonly") == "no":
            logger.warning(
                "Redis keeps no append-only file: a restart logs users out, or brings sessions "
                "back that were ended. Set appendonly yes."
            )

    async def connect_apart(self, place: str = "") -> Any:
        """Return a connection outside of the pool, to one node of a cluster. Close it yourself.

        That is the one of a name, see `redis_places.py`; any, if there is none of that name.

        Raises:
            StoreUnavailable: it cannot be made.
        """
        client: Any = self.client
        if isinstance(client, RedisCluster):
            await self.call(client.initialize, idempotent=True)
            pool = (place and client.get_node(node_name=place)) or client.get_random_node()
        else:
            pool = client.connection_pool
        options = {
            name: value
            for name, value in pool.connection_kwargs.items()
            if not name.startswith("maint_")  # they are for connections of the pool
        }
        options |= {"protocol": 2, "retry": Retry(NoBackoff(), 0)}
        connection = pool.connection_class(**options)
        try:
            await self.call(connection.connect, idempotent=False)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    @property
    def command(self) -> Callable[..., Awaitable[Any]]:
        """What gives one command to Redis, once; for `call`. Clients word some answers anew."""
        return self._of_this_loop().command

    async def ask(self, *command: Any) -> Any:
        """Give a command that is idempotent; see `call`."""
        return await self.call(partial(self.command, *command), idempotent=True)

    async def call(self, command: Callable[[], Awaitable[Any]], *, idempotent: bool) -> Any:
        """Await what `command` returns, under the deadline.

        What is idempotent is tried a second time if the connection broke. Returns None if a key
        holds something of another type, as if there were nothing.

        Raises:
            StoreUnavailable: the server did not answer in time, or cannot do it now.
        """
        here = self._of_this_loop()
        asked = _times_asked_to_stop()
        try:
            with Deadline(here.deadlines):
                async with here.gate:
                    try:
                        return await self._attempt(command)
                    except (exceptions.ConnectionError, exceptions.TimeoutError, TimeoutError):
                        if not idempotent or _times_asked_to_stop() > asked:
                            raise
                        return await self._attempt(command)
        except _FAULTS as error:
            if "WRONGTYPE" in str(error):  # what is there is not ours; the server is well
                logger.error("A key of the sessions holds something else; it is taken as absent.")
                return None
            raise _unavailable(error) from None
        finally:
            if _times_asked_to_stop() > asked:
                raise asyncio.CancelledError

    async def _attempt(self, command: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await command()
        except (AttributeError, KeyError):
            client = self.client
            if not isinstance(client, RedisCluster):
                raise
            # Its way to tell that nobody holds a slot, or that it closed a connection while that
            # was in use; by itself it would not look again who is there.
            client._initialize = True
            raise exceptions.ConnectionError from None


@contextmanager
def faults_told() -> Iterator[None]:
    """Raise StoreUnavailable instead of what the client raises."""
    try:
        yield
    except _FAULTS as error:
        raise _unavailable(error) from None


def _times_asked_to_stop() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _unavailable(error: Exception) -> StoreUnavailable:
    kind = type(error).__name__
    told = str(error)
    # A cluster's client and a socket's wrap what went wrong into an error of one class for all.
    if any(isinstance(each, _CONFIGURATION_FAULTS) for each in (error, error.__cause__)):
        return StoreUnavailable(
            f"Redis refuses these credentials or rights ({kind}): look at MEMSESSION_REDIS_URL and "
            "at the server's ACL.",
            retry_after=5,
        )
    _, tls, reason = f"{told} {error.__cause__}".partition("[SSL: ")
    if tls:
        reason = reason.partition("]")[0]  # the rest may name hosts and files
        return StoreUnavailable(
            f"The TLS connection to Redis failed ({reason}): look at MEMSESSION_REDIS_URL, at its "
            "ssl_ca_certs and at the server's certificate.",
            retry_after=5,
        )
    word = told.partition(" ")[0]
    kind = f"{kind} {word}" if word.isupper() else kind
    return StoreUnavailable(
        f"Redis cannot answer ({kind}). Is it running where MEMSESSION_REDIS_URL says, reachable "
        "and not overloaded?"
    )


def _asks_replicas(client: Any) -> bool:
    names = "load_balancing_strategy", "read_from_replicas"  # which only a cluster's client has
    return any(getattr(client, name, None) for name in names)


def _sentinels(client: Client) -> list[Redis]:
    """Return the clients by which this one asks for its master, which it does not close itself."""
    pool = getattr(client, "connection_pool", None)
    return list(getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()))


def _abandon(client: Client) -> None:
    """Close the sockets of a client whose loop is gone, so that no file stays open.

    Nothing public does that without the loop; a test client makes a loop for each request.
    """
    pools: list[Any]
    if isinstance(client, RedisCluster):
        pools = [*client.get_nodes(), *client.nodes_manager.startup_nodes.values()]
        client._initialize = True  # as its own aclose() does: closed until it is used again
    else:
        pools = [each.connection_pool for each in (client, *_sentinels(client))]
    for pool in pools:
        free = getattr(pool, "_available_connections", None) or getattr(pool, "_free", None) or ()
        for connection in free:
            writer, connection._writer, connection._reader = connection._writer, None, None
            if writer is not None:  # pragma: no branch - else it was closed before
                _close_without_loop(writer.transport)


def _close_without_loop(transport: Any) -> None:
    with suppress(RuntimeError):  # "Event loop is closed": noted as closing all the same
        transport.close()
    opened = getattr(transport, "_sock", None)
    if opened is not None:  # pragma: no branch - else it is uvloop's, or was closed before
        transport._sock = None
        opened.close()
