"""What a store asks Redis: scripts by their names, and what is read without one. No sessions."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from fastapi_memsession.stores.redis_client import NoScriptError, RedisClients
from fastapi_memsession.stores.redis_urls import Client

_SCRIPTS = (
    "change", "create", "delete", "delete_user", "list_user", "load", "lock", "rename", "rotate",
    "set_claims", "unlock",
)  # fmt: skip


class _Script:
    """A Lua file that is run as one atomic step; sent once, and named by its hash from then on."""

    def __init__(self, name: str) -> None:
        folder = files("fastapi_memsession.stores") / "lua"
        self.text = "".join((folder / f"{each}.lua").read_text("utf-8") for each in ("life", name))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, command: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        try:
            return await command("EVALSHA", self.sha, *arguments)
        except NoScriptError:
            return await command("EVAL", self.text, *arguments)


class RedisCalls(RedisClients):
    """Clients, and the calls of a store. Each raises StoreUnavailable as `call` does."""

    def __init__(self, make: Callable[[], Client], *, timeout: float, owned: bool) -> None:
        super().__init__(make, timeout=timeout, owned=owned)
        self._scripts = {name: _Script(name) for name in _SCRIPTS}

    async def script(
        self, name: str, keys: Sequence[str], *arguments: Any, idempotent: bool = False
    ) -> Any:
        """Run a script. One that is idempotent is tried a second time if the connection broke."""
        run = self._scripts[name].run
        run_once = partial(run, self.command, len(keys), *keys, *arguments)
        return await self.call(run_once, idempotent=idempotent)

    async def fields(self, name: str) -> Mapping[bytes, bytes] | list[bytes] | None:
        """Return all fields of a hash, none of one that is absent, as its primary has them.

        None if this client would ask a replica, which may be behind.
        """
        if self.asks_replicas:
            return None
        return await self.ask("HGETALL", name) or {}

    async def some(self, name: str, *fields: str) -> list[Any] | None:
        """Return some fields of a hash; None if a key of that name is no hash."""
        return await self.ask("HMGET", name, *fields)  # type: ignore[no-any-return]

    async def ticket(self, name: str) -> None:
        """Make a key that is gone before a call that begins now or later is given up."""
        await self.ask("SET", name, "", "PX", int(self.timeout * 1000))

    async def members(self, index: str) -> list[str]:
        """Return the members of a sorted set, in its order."""
        found = await self.ask("ZRANGE", index, 0, -1)
        return [each.decode() for each in found or ()]

    async def keys(self, pattern: str) -> AsyncIterator[str]:
        """Iterate over the names of keys, of all masters, without holding any of them up."""
        found = self.client.scan_iter(match=pattern, count=500)
        while (key := await self.call(partial(anext, found, None), idempotent=False)) is not None:
            yield key.decode()

    async def used_bytes(self) -> int:
        """Return the bytes of memory that all masters use."""
        client: Any = self.client
        primaries = getattr(client, "PRIMARIES", None)  # which only a cluster's client has
        if primaries is None:
            told = await self.call(lambda: client.info("memory"), idempotent=True)
            return int(told["used_memory"])
        look = partial(client.info, "memory", target_nodes=primaries)
        by_node = await self.call(look, idempotent=True)
        return sum(int(told["used_memory"]) for told in by_node.values())
