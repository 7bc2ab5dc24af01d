"""Which server answers for a key, as far as a client knows. Asks nobody and connects nothing.

A place is the name of such a server: that of a node of a cluster, that of the master which the
sentinels named last, nothing where there is only one.
"""

from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import SlotNotCoveredError

from fastapi_memsession.stores.redis_urls import Client


def place_of(client: Client, name: str) -> str | None:
    """Return where a key is; None if the client does not know yet."""
    if not isinstance(client, RedisCluster):
        return next(iter(places_of(client)), None)
    try:
        node = client.get_node_from_key(name)
    except SlotNotCoveredError:
        return None
    return None if node is None else str(node.name)


def places_of(client: Client) -> set[str]:
    """Return where keys may be."""
    if isinstance(client, RedisCluster):
        return {str(node.name) for node in client.get_primaries()}
    pool: Any = client.connection_pool
    if not hasattr(pool, "sentinel_manager"):
        return {""}
    address = pool.master_address  # None until it has connected
    return {"{}:{}".format(*address)} if address else set()
