"""Makes clients for Redis from a URL: one server, Sentinel, Cluster. Connects nothing.

The settings of the clients are those with which a call fails in time: short time-outs, no retries
of their own, and pools that are bounded.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fastapi_memsession.errors import SettingsError

Client = Redis | RedisCluster
MAX_CONNECTIONS = 50
_DEFAULT_PORTS = {"redis+cluster": 6379, "redis+sentinel": 26379}


def client_maker(url: str, *, timeout: float) -> Callable[[], Client]:
    """Return what makes a client for a URL.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://host:port,.../service` or
            `redis+cluster://host:port,...`; user and password stand before the first host.
        timeout: seconds within which every call is answered or fails.

    Raises:
        SettingsError: the URL is none of these; it is not quoted, for it may hold a password.
    """
    try:
        parts = urlsplit(url)
        make = _MAKERS[parts.scheme](url, timeout)
        make()  # whatever is wrong with the URL is told now; nothing is connected yet
    except (KeyError, ValueError, IndexError, TypeError):
        raise SettingsError(
            "MEMSESSION_REDIS_URL must be redis://, rediss:// or unix://, or "
            "redis+sentinel://host:port,host:port/service, or redis+cluster://host:port,host:port."
        ) from None
    return make


def _options(timeout: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout / 2,
        "socket_connect_timeout": timeout / 2,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }


def _server(url: str, timeout: float) -> Callable[[], Client]:
    def make() -> Client:
        pool = BlockingConnectionPool.from_url(
            url, max_connections=MAX_CONNECTIONS, timeout=timeout, **_options(timeout)
        )
        return Redis.from_pool(pool)

    return make


def _cluster(url: str, timeout: float) -> Callable[[], Client]:
    credentials, hosts, _ = _several(url)

    def make() -> Client:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in hosts],
            reinitialize_steps=0,
            require_full_coverage=False,
            max_connections=MAX_CONNECTIONS,
            **credentials,
            **_options(timeout),
        )

    return make


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
            return await super().discover_master(service_name)


def _sentinel(url: str, timeout: float) -> Callable[[], Client]:
    credentials, hosts, path = _several(url)
    service, _, database = path.strip("/").partition("/")
    if not service:
        raise ValueError("no service")

    def make() -> Client:
        options = _options(timeout)
        sentinel: Any = _OneAtATime(hosts, sentinel_kwargs=options, **credentials, **options)
        return sentinel.master_for(service, db=int(database or 0))  # type: ignore[no-any-return]

    return make


_MAKERS = {
    "redis": _server,
    "rediss": _server,
    "unix": _server,
    "redis+cluster": _cluster,
    "redis+sentinel": _sentinel,
}


def _several(url: str) -> tuple[dict[str, Any], list[tuple[str, int]], str]:
    """Split a URL with several hosts into credentials, hosts and path."""
    parts = urlsplit(url)
    login, _, names = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    credentials = {"username": unquote(user), "password": unquote(password)}
    hosts = []
    for name in names.split(","):
        host, _, port = name.strip().rpartition(":") if ":" in name else (name.strip(), "", "")
        if not host:
            raise ValueError("no host")
        hosts.append((host, int(port or _DEFAULT_PORTS[parts.scheme])))
    return {name: value for name, value in credentials.items() if value}, hosts, parts.path
