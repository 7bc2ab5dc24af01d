"""RedisStore: sessions in Redis, alone, behind Sentinel or as a cluster.

How records lie in Redis is told in `redis_layout.py`. Each step is one script in `lua/`, which
declares every key it touches, and asks whether the record lives before it writes. Times come from
the caller; the time to live that Redis keeps is only the broom.
"""

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from fastapi_memsession.errors import SessionIdTaken, StoreUnavailable
from fastapi_memsession.records import SessionInfo, SessionKey, SessionRecord
from fastapi_memsession.stores.base import Change, ChangeResult, EndReason, Rotation, SessionStore
from fastapi_memsession.stores.changes import not_a_number, sum_out_of_range
from fastapi_memsession.stores.leases import LeaseTable, lease_ran_out, lock_lost, lock_not_free
from fastapi_memsession.stores.redis_client import (
    RedisClients,
    ResponseError,
    Script,
)
from fastapi_memsession.stores.redis_layout import Keys, fields_of, record_from, step_of
from fastapi_memsession.stores.redis_urls import Client, client_maker
from fastapi_memsession.values import too_large

logger = logging.getLogger("fastapi_memsession")

_SLACK = 60_000  # milliseconds that Redis keeps a dead record: callers' clocks differ
_LONGEST_PAUSE = 0.1  # seconds between two looks at a lock that another process holds


class RedisStore(SessionStore):
    """Keeps records in Redis.

    Args:
        client: a URL (see `client_maker`), or a client of `redis.asyncio` of your own, which
            is used as it is and not closed.
        prefix: what all keys begin with.
        timeout: seconds within which every call is answered or fails.
    """

    def __init__(
        self, client: str | Client, *, prefix: str = "memsession", timeout: float = 1.0
    ) -> None:
        owned = isinstance(client, str)
        make = client_maker(client, timeout=timeout) if isinstance(client, str) else lambda: client
        self._clients = RedisClients(make, timeout=timeout, owned=owned)
        self._names = Keys(prefix)
        self._scripts = {
            name: Script(name)
            for name in (
                "change", "create", "delete", "delete_user", "list_user", "load", "lock",
                "rename", "rotate", "unlock",
            )
        }  # fmt: skip
        self._here = LeaseTable()  # who of this process waits for a lock: first come first served

    async def open(self) -> None:
        """Connect, and warn if this server may lose sessions."""
        try:
            await self._clients.connect()
        except BaseException:
            await self._clients.aclose()  # nobody closes what was never opened
            raise

    async def aclose(self) -> None:
        """Close the client of the running loop."""
        await self._clients.aclose()

    async def create(
        self,
        record: SessionRecord,
        *,
        now: float,
        limit_per_user: int | None,
        replacing: SessionKey | None = None,
    ) -> list[str]:
        """See SessionStore."""
        session_id, user_id = record.session_id, record.user_id
        ours = replacing is not None and replacing.user_id == user_id
        arguments = (
            repr(now),
            session_id,
            "" if limit_per_user is None else limit_per_user,
            replacing.session_id if replacing and ours else "",
            _milliseconds(record.deadline - now),
            _milliseconds(record.expires_at - now),
        )
        fields = fields_of(record)
        known: list[str] = []
        while True:
            keys = [self._names.index(user_id), self._names.session(user_id, session_id)]
            keys += [self._names.session(user_id, each) for each in known]
            done, *ids = await self._run("create", keys, *arguments, *known, *fields)
            if done == -1:
                raise SessionIdTaken
            listed = [each.decode() for each in ids[0]]
            if done == 1:
                return listed
            known = listed

    async def load(
        self,
        key: SessionKey,
        *,
        now: float,
        renew_interval: float | None,
        generation: int | None = None,
    ) -> SessionRecord | None:
        """See SessionStore."""
        interval = "" if renew_interval is None else repr(float(renew_interval))
        shown = "" if generation is None else generation
        keys = [self._names.session(*key)]
        reply = await self._run("load", keys, repr(now), interval, shown, idempotent=True)
        return record_from(key, reply)

    async def change(
        self,
        key: SessionKey,
        changes: Sequence[Change],
        *,
        now: float,
        max_bytes: int,
        lease: str | None = None,
    ) -> ChangeResult | None:
        """See SessionStore."""
        keys = [self._names.session(*key)]
        if lease is not None:
            keys.append(self._names.lock(key))
        steps = [part for change in changes for part in step_of(change)]
        reply = await self._run("change", keys, repr(now), max_bytes, lease or "", *steps)
        if reply is None:
            return None
        outcome, *rest = reply
        if outcome == b"lease":
            raise lease_ran_out()
        if outcome == b"large":
            raise too_large(rest[0], max_bytes)
        if outcome == b"text":
            raise not_a_number()
        if outcome == b"range":
            raise sum_out_of_range()
        return ChangeResult(applied=outcome == 1, values=tuple(rest[0]))

    async def rename(self, key: SessionKey, session_id: str, *, now: float) -> SessionRecord | None:
        """See SessionStore."""
        renamed = SessionKey(key.user_id, session_id)
        keys = [
            self._names.index(key.user_id),
            self._names.session(*key),
            self._names.session(*renamed),
        ]
        reply = await self._run("rename", keys, repr(now), key.session_id, session_id)
        if reply == [-1]:
            raise SessionIdTaken
        return record_from(renamed, reply)

    async def rotate(
        self, key: SessionKey, generation: int, *, now: float, grace: float
    ) -> Rotation:
        """See SessionStore."""
        keys = [self._names.index(key.user_id), self._names.session(*key)]
        reply = await self._run(
            "rotate", keys, repr(now), generation, repr(float(grace)), key.session_id
        )
        return reply.decode()  # type: ignore[no-any-return]

    async def delete(self, key: SessionKey, *, now: float, reason: EndReason) -> bool:
        """See SessionStore."""
        keys = [self._names.index(key.user_id), self._names.session(*key)]
        reply = await self._run("delete", keys, repr(now), key.session_id, idempotent=True)
        return bool(reply)

    async def list_user(self, user_id: str, *, now: float) -> list[SessionInfo]:
        """See SessionStore."""
        _, living = await self._sift(self._names.index(user_id), now)
        infos = [SessionInfo(user_id, each.decode(), *map(float, times)) for each, *times in living]
        return sorted(infos, key=lambda info: (info.created_at, info.session_id))

    async def delete_user(
        self, user_id: str, *, now: float, keep: str | None = None, reason: EndReason
    ) -> list[str]:
        """See SessionStore."""
        index = self._names.index(user_id)
        known = await self._ids(index)
        while True:
            keys = [index, *(self._names.session(user_id, each) for each in known)]
            done, ids = await self._run("delete_user", keys, repr(now), keep or "", *known)
            listed = [each.decode() for each in ids]
            if done:
                return listed
            known = listed

    async def count(self, *, now: float) -> int:
        """See SessionStore. Walks all keys: not for every request."""
        return sum([1 async for _ in self.scan(now=now)])

    async def scan(self, *, now: float) -> AsyncIterator[SessionInfo]:
        """See SessionStore."""
        async for key in self._keys("s:*"):
            name, *times = await self._clients.call(partial(self._times_of, key), idempotent=True)
            if times[2] is not None and now < float(times[2]):
                yield SessionInfo(*self._names.parts(key, name), *map(float, times))

    async def _times_of(self, key: str) -> Any:
        return await self._clients.client.hmget(key, ["n", "c", "l", "e"])

    async def sweep(self, *, now: float, budget: int) -> int:
        """See SessionStore.

        Redis lets the dead go by itself: this is for those that are dead by the caller's clock,
        and prunes the indexes.
        """
        removed = 0
        async for index in self._keys("idx"):
            removed += (await self._sift(index, now))[0]
        return removed

    @asynccontextmanager
    async def lock(
        self, key: SessionKey, *, timeout: float, clock: Callable[[], float]
    ) -> AsyncIterator[str]:
        """See SessionStore. First come first served within a process."""
        async with self._here.hold(key.session_id, timeout=timeout, clock=clock):
            lease = await self._take(key, timeout, clock)
            unlock = partial(self._run, "unlock", [self._names.lock(key)])
            try:
                yield lease
            except BaseException:
                with suppress(StoreUnavailable):  # it runs out by itself; the error matters more
                    await unlock(repr(clock()), lease)
                raise
            in_time = await unlock(repr(clock()), lease)
        if not in_time:
            raise lock_lost(timeout)

    async def _take(self, key: SessionKey, timeout: float, clock: Callable[[], float]) -> str:
        lease, loop = secrets.token_hex(16), asyncio.get_running_loop()
        give_up, pause = loop.time() + timeout, 0.005
        while True:
            now = clock()
            until = repr(now + timeout)
            till = await self._run(
                "lock", [self._names.lock(key)], repr(now), lease, until, _milliseconds(timeout)
            )
            if till == b"":
                return lease
            if loop.time() >= give_up:
                raise lock_not_free(timeout)
            await asyncio.sleep(min(pause, give_up - loop.time()))
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _run(
        self, name: str, keys: Sequence[str], *arguments: Any, idempotent: bool = False
    ) -> Any:
        try:
            return await self._clients.run(
                self._scripts[name], keys, *arguments, idempotent=idempotent
            )
        except ResponseError:
            logger.error("A key of the sessions holds something else; it is taken as absent.")
            return None

    async def _sift(self, index: str, now: float) -> tuple[int, list[Any]]:
        """Remove a user's dead sessions; return how many, and the times of the living."""
        ids = await self._ids(index)
        keys = [index, *(self._names.of_index(index, each) for each in ids)]
        removed, living = await self._run("list_user", keys, repr(now), *ids, idempotent=True)
        return removed, living

    async def _ids(self, index: str) -> list[str]:
        found = await self._clients.call(
            lambda: self._clients.client.zrange(index, 0, -1), idempotent=True
        )
        return [each.decode() for each in found]

    async def _keys(self, ending: str) -> AsyncIterator[str]:
        found = self._clients.client.scan_iter(match=self._names.pattern(ending), count=500)
        while (
            key := await self._clients.call(partial(anext, found, None), idempotent=False)
        ) is not None:
            yield key.decode()


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000) + _SLACK
