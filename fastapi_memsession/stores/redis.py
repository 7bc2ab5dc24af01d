"""RedisStore: sessions in Redis, alone, behind Sentinel or as a cluster.

How records lie in Redis is told in `redis_layout.py`. Each step is one script in `lua/`, which
declares every key it touches, and asks whether the record lives before it writes. Times come from
the caller; the time to live that Redis keeps is only the broom.
"""

import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from fastapi_memsession.errors import EndReason, SessionEnded, SessionIdTaken, StoreUnavailable
from fastapi_memsession.records import Ended, SessionInfo, SessionKey, SessionRecord, SessionStats
from fastapi_memsession.stores.base import (
    LOGIN_SECONDS,
    Change,
    ChangeResult,
    Rotation,
    SessionStore,
)
from fastapi_memsession.stores.redis_calls import RedisCalls
from fastapi_memsession.stores.redis_layout import (
    INFO,
    Keys,
    claims_text,
    fields_of,
    info_from,
    milliseconds_kept,
    record_from,
    remembered,
    result_of,
    sendable,
    steps_of,
)
from fastapi_memsession.stores.redis_listening import RedisListening
from fastapi_memsession.stores.redis_locks import RedisLocks
from fastapi_memsession.stores.redis_urls import Client, client_maker, given


class RedisStore(SessionStore):
    """Keeps records in Redis.

    Args:
        client: a URL (see `client_maker`), or a client of `redis.asyncio` of your own, which
            is used as it is and not closed. It must not decode replies, nor encode but as UTF-8.
        prefix: what all keys begin with.
        timeout: seconds within which every call is answered or fails.
    """

    def __init__(
        self, client: str | Client, *, prefix: str = "memsession", timeout: float = 1.0
    ) -> None:
        owned = isinstance(client, str)
        make = client_maker(client, timeout=timeout) if isinstance(client, str) else given(client)
        self._clients = RedisCalls(make, timeout=timeout, owned=owned)
        self._run = self._clients.script
        self._locks = RedisLocks(self._clients)
        self._names = Keys(prefix)
        self._listening = RedisListening(self._clients, self._names)
        self._sweeping = threading.Lock()
        self._sweeps = 0
        self._swept = 0

    async def open(self) -> None:
        """Connect, and warn if this server may lose sessions."""
        try:
            await self._clients.connect()
        except BaseException:
            await self._clients.aclose()  # nobody closes what was never opened
            raise

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._listening.aclose()
        await self._clients.aclose()

    async def create(
        self,
        record: SessionRecord,
        *,
        now: float,
        limit_per_user: int | None,
        replacing: SessionKey | None = None,
        since: float | None = None,
    ) -> list[str]:
        """See SessionStore."""
        names, session_id, user_id = self._names, record.session_id, record.user_id
        ours = replacing is not None and replacing.user_id == user_id
        replaced = sendable(replacing.session_id) if replacing and ours else session_id
        arguments = (
            repr(now),
            session_id,
            "" if limit_per_user is None else limit_per_user,
            "" if since is None else repr(since),
            LOGIN_SECONDS,
            milliseconds_kept(record.deadline - now),
            milliseconds_kept(record.expires_at - now),
        )
        fields = fields_of(record)
        known: list[str] = []
        while True:
            keys = [names.index(user_id), names.session(*record.key), names.revocation(user_id)]
            keys += [names.session(user_id, each) for each in (replaced, *known)]
            done, *ids = await self._run("create", keys, *arguments, replaced, *known, *fields)
            if done == b"taken":
                raise SessionIdTaken
            if done == b"stopped":
                raise SessionEnded("revoked")
            if done == b"renamed":
                replaced = ids[0].decode()
                continue
            known = [each.decode() for each in ids[0]]
            if done == b"done":
                return known

    async def load(
        self,
        key: SessionKey,
        *,
        now: float,
        renew_interval: float | None,
        generation: int | None = None,
    ) -> SessionRecord | None:
        """See SessionStore."""
        name = self._names.session(*key)
        # Most uses are not written down, and reading alone costs the server half of a script. Each
        # use that may be is left to the script, which looks again and writes in one step.
        found = await self._clients.fields(name) if renew_interval != 0 else None
        if found is not None:
            record = record_from(key, found)
            if record is None or now >= record.expires_at:
                return None
            if record.used(now, renew_interval, generation) is record:
                return record
        interval = "" if renew_interval is None else repr(float(renew_interval))
        shown = "" if generation is None else generation
        arguments = ([name], repr(now), interval, shown)
        return record_from(key, await self._run("load", *arguments, idempotent=True))

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
        steps = steps_of(changes)
        reply = await self._run("change", keys, repr(now), max_bytes, lease or "", *steps)
        return None if reply is None else result_of(reply, max_bytes)

    async def set_claims(
        self,
        key: SessionKey,
        claims: Mapping[str, str],
        *,
        expected: Mapping[str, str],
        now: float,
    ) -> SessionRecord | None:
        """See SessionStore."""
        keys, texts = [self._names.session(*key)], (claims_text(expected), claims_text(claims))
        return record_from(key, await self._run("set_claims", keys, repr(now), *texts))

    async def rename(
        self, key: SessionKey, session_id: str, *, now: float, confirmed_at: float | None = None
    ) -> SessionRecord | None:
        """See SessionStore."""
        names, renamed = self._names, SessionKey(key.user_id, session_id)
        keys = [names.index(key.user_id), names.session(*key), names.session(*renamed)]
        confirmed = "" if confirmed_at is None else repr(confirmed_at)
        # A server that was held up must not do it after the caller gave up, and cannot tell anyone.
        keys.append(names.ticket(renamed))
        await self._clients.ticket(keys[-1])
        arguments = repr(now), sendable(key.session_id), session_id, confirmed
        reply = await self._run("rename", keys, *arguments, idempotent=True)
        if reply == [-1]:
            raise SessionIdTaken
        if reply == [-2]:
            raise StoreUnavailable(f"Redis took longer than {self._clients.timeout:g} seconds.")
        return record_from(renamed, reply)

    async def rotate(
        self, key: SessionKey, generation: int, *, now: float, grace: float
    ) -> Rotation:
        """See SessionStore."""
        keys = [self._names.index(key.user_id), self._names.session(*key)]
        arguments = (repr(now), generation, repr(float(grace)), sendable(key.session_id))
        reply: list[Any] | None = await self._run("rotate", keys, *arguments)
        if reply is None:
            return Rotation("gone", None)
        record = record_from(key, reply[1]) if len(reply) > 1 else None
        return Rotation(reply[0].decode(), record)

    async def delete(self, key: SessionKey, *, now: float, reason: EndReason) -> str | None:
        """See SessionStore."""
        user_id, session_id = key.user_id, sendable(key.session_id)
        while True:
            keys = [self._names.index(user_id), self._names.session(user_id, session_id)]
            reply = await self._run("delete", keys, repr(now), session_id, reason, idempotent=True)
            if not isinstance(reply, bytes):
                return session_id if reply else None
            session_id = reply.decode()

    async def end_reason(self, key: SessionKey, *, now: float) -> EndReason | None:
        """See SessionStore."""
        found = await self._clients.some(self._names.session(*key), "q", "d")
        return cast("EndReason | None", remembered(found, now))

    async def successor(self, key: SessionKey, *, now: float) -> str | None:
        """See SessionStore."""
        found, name = None, self._names.session(*key)
        while (later := remembered(await self._clients.some(name, "s", "d"), now)) is not None:
            name = self._names.session(key.user_id, found := later)
        return found

    def watch(
        self, key: SessionKey, tell: Callable[[Ended | None], None]
    ) -> AbstractAsyncContextManager[None]:
        """See SessionStore."""
        return self._listening.listening(key, tell)

    async def list_user(self, user_id: str, *, now: float) -> list[SessionInfo]:
        """See SessionStore."""
        _, living = await self._sift(self._names.index(user_id), now)
        found = [info_from(user_id, each.decode(), fields) for each, *fields in living]
        infos = [info for info in found if info is not None]
        return sorted(infos, key=lambda info: (info.created_at, info.session_id))

    async def delete_user(
        self, user_id: str, *, now: float, keep: str | None = None, reason: EndReason
    ) -> list[str]:
        """See SessionStore."""
        index, arguments = self._names.index(user_id), (repr(now), reason, LOGIN_SECONDS * 1000)
        known, kept = await self._clients.members(index), sendable(keep or "")
        while True:
            keys = [index, self._names.revocation(user_id)]
            keys += [self._names.session(user_id, each) for each in (kept, *known)]
            done, ids = await self._run("delete_user", keys, *arguments, kept, *known)
            if done == b"renamed":
                kept = ids.decode()
                continue
            known = [each.decode() for each in ids]
            if done == b"done":
                return known

    async def count(self, *, now: float) -> int:
        """See SessionStore. Walks all keys."""
        return sum([1 async for _ in self.scan(now=now)])

    async def stats(self) -> SessionStats:
        """See SessionStore. How many sessions there are only a walk could tell: see `count`."""
        used = await self._clients.used_bytes()
        return SessionStats(server_bytes=used, sweeps=self._sweeps, swept=self._swept)

    async def scan(self, *, now: float) -> AsyncIterator[SessionInfo]:
        """See SessionStore."""
        async for key in self._clients.keys(self._names.pattern("s:*")):
            found = await self._clients.some(key, "n", *INFO)
            info = info_from(*self._names.parts(key, found[0]), found[1:]) if found else None
            if info is not None and now < info.expires_at:
                yield info

    async def sweep(self, *, now: float, budget: int) -> int:
        """See SessionStore. Redis lets the dead go by itself; this also prunes the indexes."""
        if not self._sweeping.acquire(blocking=False):
            return 0
        try:
            removed = 0
            async for index in self._clients.keys(self._names.pattern("idx")):
                removed += (await self._sift(index, now))[0]
            self._sweeps += 1
            self._swept += removed
            return removed
        finally:
            self._sweeping.release()

    def lock(
        self, key: SessionKey, *, timeout: float, clock: Callable[[], float]
    ) -> AbstractAsyncContextManager[str]:
        """See SessionStore. First come first served within a process."""
        return self._locks.hold(self._names.lock(key), timeout=timeout, clock=clock)

    async def _sift(self, index: str, now: float) -> tuple[int, list[Any]]:
        """Remove a user's dead sessions; return how many, and what may be shown of the living."""
        ids = await self._clients.members(index)
        while True:
            keys = [index, *(self._names.of_index(index, each) for each in ids)]
            found = await self._run("list_user", keys, repr(now), *ids, idempotent=True)
            removed, listed = found or (0, [])
            if removed >= 0:
                return removed, listed
            ids = [each.decode() for each in listed]
