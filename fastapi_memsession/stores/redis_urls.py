"""Which client a URL asks for: one server, Sentinel, Cluster. Connects nothing.

The settings of the clients are those with which a call fails in time: short time-outs, no retries
of their own, and pools that are bounded. Options in the URL (`?ssl_ca_certs=/path&client_name=app`)
are those of redis-py, and go before ours.
"""

import asyncio
import sys
from codecs import lookup
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    RedisClusterException,
    RedisError,
    SlotNotCoveredError,
)

from fastapi_memsession.errors import SessionUsageError, SettingsError

Client = Redis | RedisCluster
MAX_CONNECTIONS = 50
_BETWEEN_LOOKS = 0.2  # seconds between two looks at who is in a cluster
_DEFAULT_PORTS = {"cluster": 6379, "sentinel": 26379}
_OURS = {"decode_responses", "encoding", "protocol", "legacy_responses"}  # how replies are read


def client_maker(url: str, *, timeout: float) -> Callable[[], Client]:
    """Return what makes a client for a URL.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://host:port,.../service` or
            `redis+cluster://host:port,...`, with TLS `rediss+sentinel://`, `rediss+cluster://`;
            user and password stand before the first host, options after `?`. Sentinels that ask
            for a password of their own get it by `sentinel_username`, `sentinel_password`.
        timeout: seconds within which every call is answered or fails.

    Raises:
        SettingsError: the URL is none of these; it is not quoted, for it may hold a password.
    """
    make = _maker_of(url, timeout)
    if make is None:  # raised out here, it does not hold the other error, which quotes the URL
        raise SettingsError(
            "MEMSESSION_REDIS_URL must be redis://, rediss:// or unix://, or "
            "redis+sentinel://host:port,host:port/service, or redis+cluster://host:port,host:port "
            "(rediss+... for TLS), and its options must be those of redis-py."
        )
    return make


def _maker_of(url: str, timeout: float) -> Callable[[], Client] | None:
    """See `client_maker`. None if the URL is none of these."""
    try:
        parts = urlsplit(url)
        make = _MAKERS[parts.scheme.partition("+")[2]](parts, timeout)
        # Whatever is wrong with the URL is told now; nothing is connected yet.
        client = make()
        if isinstance(client, Redis):
            pool: Any = client.connection_pool
            pool.make_connection()
    except (KeyError, ValueError, TypeError, RedisClusterException):
        return None
    return make


def given(client: Client) -> Callable[[], Client]:
    """Return what gives a client of the user's own.

    Raises:
        SessionUsageError: it reads or writes text as we do not.
    """
    encoder = client.get_encoder()
    if encoder.decode_responses:
        raise SessionUsageError(
            "This client of Redis decodes replies, which are bytes to us: make it without "
            "decode_responses=True, or give sessions a client of their own."
        )
    if lookup(encoder.encoding).name != "utf-8":
        raise SessionUsageError(
            f"This client of Redis writes text as {encoder.encoding}, and sessions are UTF-8: make "
            'it without encoding=..., or with encoding="utf-8"; or give sessions their own.'
        )
    return lambda: client


def _server(parts: SplitResult, timeout: float) -> Callable[[], Client]:
    options = _options(parts.geturl(), timeout)
    # Waits for a free connection, where other pools refuse.
    pooled: dict[str, Any] = {"max_connections": MAX_CONNECTIONS, "timeout": timeout} | options
    return lambda: Redis.from_pool(BlockingConnectionPool(**pooled))


def _cluster(parts: SplitResult, timeout: float) -> Callable[[], Client]:
    hosts, options = _several(parts, "", timeout)
    pooled: dict[str, Any] = {"max_connections": MAX_CONNECTIONS} | options

    def make() -> Client:
        return _Steady(
            startup_nodes=[ClusterNode(host, port) for host, port in hosts],
            reinitialize_steps=0,
            require_full_coverage=False,
            **pooled,
        )

    return make


class _Steady(RedisCluster):
    """Lets what is well in a cluster go on while something in it is not.

    By itself it looks again who is there after every call that fails, which takes as long as a
    hundred calls; and when it hears of a slot that nobody holds, it closes what others are using.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._looking = asyncio.Lock()
        self._look_again = 0.0

    async def initialize(self, *arguments: Any, **options: Any) -> "_Steady":
        now = asyncio.get_running_loop().time
        async with self._looking:
            if self._initialize and now() >= self._look_again:
                await super().initialize(*arguments, **options)
                self._look_again = now() + _BETWEEN_LOOKS
            self._initialize = False
        return self

    async def aclose(self) -> None:
        if isinstance(sys.exception(), ClusterDownError | SlotNotCoveredError):
            self._initialize = True
            return
        self._initialize = False  # or it would take itself for closed, and close nothing
        await super().aclose()
        self._look_again = 0.0


class _OneAtATime(Sentinel):
    """Asks for the master one caller after another.

    Callers at once would reorder the list of sentinels under each other: one is then in it twice,
    and another is lost, with its connections open.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()

    async def discover_master(self, service_name: str) -> Any:
        async with self._asking:
            try:
                return await super().discover_master(service_name)
            except MasterNotFoundError as error:
                raise error from await self._refusal()

    async def _refusal(self) -> RedisError | None:
        """Return why a sentinel could not be asked, which the error does not say."""
        try:
            await self.sentinels[0].ping()
        except RedisError as error:
            return error
        return None


def _sentinel(parts: SplitResult, timeout: float) -> Callable[[], Client]:
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("no service")
    hosts, options = _several(parts, str(int(database or 0)), timeout)
    login = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    asking = {name: value for name, value in options.items() if name != "db"} | login

    def make() -> Client:
        sentinel: Any = _OneAtATime(hosts, sentinel_kwargs=asking, **options)
        return sentinel.master_for(service)  # type: ignore[no-any-return]

    return make


_MAKERS = {"": _server, "cluster": _cluster, "sentinel": _sentinel}


def _options(url: str, timeout: float) -> dict[str, Any]:
    asked: dict[str, Any] = dict(parse_url(url))
    if _OURS & asked.keys():
        raise ValueError("options that are ours")
    ours = {"socket_timeout": timeout / 2, "socket_connect_timeout": timeout / 2, "protocol": 2}
    return ours | asked | {"retry": Retry(NoBackoff(), 0)}


def _several(
    parts: SplitResult, database: str, timeout: float
) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Return the hosts of a URL with several, and the options that hold for all of them."""
    base, _, kind = parts.scheme.partition("+")
    login, at, names = parts.netloc.rpartition("@")
    hosts = []
    for name in names.split(","):
        split = urlsplit(f"//{name.strip()}")
        if not split.hostname:
            raise ValueError("no host")
        hosts.append((split.hostname, split.port or _DEFAULT_PORTS[kind]))
    options = _options(f"{base}://{login}{at}localhost/{database}?{parts.query}", timeout)
    del options["host"]
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
    return hosts, options
