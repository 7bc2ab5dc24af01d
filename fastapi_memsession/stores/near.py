"""NearStore: sessions in Redis, of which those that were loaded lately are answered from memory.

Who shows a token (`load` with a generation) may be answered with a copy: one that nobody changed
as far as this process has heard, and no older than the bound. Who asks without one wants what is
true now, as under a lock, and gets it from Redis. Whatever this process changes it sees at once.
"""

from collections.abc import Sequence
from typing import Any

from fastapi_memsession.records import SessionKey, SessionRecord
from fastapi_memsession.stores.redis import RedisStore
from fastapi_memsession.stores.redis_tracking import RedisTracking
from fastapi_memsession.stores.redis_urls import Client


class NearStore(RedisStore):
    """Keeps records in Redis, and copies of some for a moment in this process.

    Args:
        client: see RedisStore.
        prefix: what all keys begin with.
        timeout: seconds within which every call is answered or fails.
        staleness: seconds; no answer comes from a copy that was asked for longer ago.
    """

    def __init__(
        self,
        client: str | Client,
        *,
        prefix: str = "memsession",
        timeout: float = 1.0,
        staleness: float = 1.0,
    ) -> None:
        super().__init__(client, prefix=prefix, timeout=timeout)
        self._tracking = RedisTracking(self._clients, self._names, seconds=staleness)
        self._run = self._run_and_forget

    async def open(self) -> None:
        """Connect, and see that the server tells what changes."""
        await super().open()
        try:
            await self._tracking.here.open()
        except BaseException:
            await self.aclose()  # nobody closes what was never opened
            raise

    async def aclose(self) -> None:
        """Close the connections of the running loop, and drop what it holds."""
        await self._tracking.aclose()
        await super().aclose()

    async def load(
        self,
        key: SessionKey,
        *,
        now: float,
        renew_interval: float | None,
        generation: int | None = None,
    ) -> SessionRecord | None:
        """See SessionStore. With a generation, the record may be a copy."""
        here = self._tracking.here
        if generation is not None:
            copy = here.copies.get(key, now)
            if (
                copy is not None
                and generation <= copy.used_generation  # a newer token is noted, or not known here
                and copy.used(now, renew_interval, None) is copy
            ):
                return copy
        name, kept = self._names.session(*key), None
        ear = here.ear(name)
        load = here.copies.begin(key.session_id, now)
        try:
            record = await super().load(
                key, now=now, renew_interval=renew_interval, generation=generation
            )
            if ear is not None and here.ear(name) is ear:  # else it was another server that told
                kept = record
        finally:
            here.copies.end(load, kept)
        return record

    def version(self, key: SessionKey, now: float) -> object | None:
        """See SessionStore. That is the copy, as long as it may be shown."""
        return self._tracking.here.copies.get(key, now)

    async def _run_and_forget(
        self, name: str, keys: Sequence[str], *arguments: Any, idempotent: bool = False
    ) -> Any:
        """Run a script, and show what it may have changed no more as it was.

        Also if it failed: nobody knows then whether it did.
        """
        try:
            return await self._clients.script(name, keys, *arguments, idempotent=idempotent)
        finally:
            self._tracking.forget(keys)
