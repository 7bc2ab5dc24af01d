"""Watching: whoever watches a session is told when it ends, at once and without asking."""

import asyncio
from typing import Any

import pytest

from fastapi_memsession import SessionKey, SessionRecord
from fastapi_memsession.records import Ended, new_session_id
from fastapi_memsession.testing.contract.endings import WAYS
from fastapi_memsession.testing.contract.trial import ODD_TEXTS, Trial, TrialClock, create

_PATIENCE = 20  # seconds until a trial gives up to be told


class _Heard:
    """What somebody was told."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Ended | None] = asyncio.Queue()
        self.tell = self._queue.put_nowait

    @property
    def nothing(self) -> bool:
        return self._queue.empty()

    async def next(self) -> Ended:
        """Wait for what is told next, but that an end may have been missed."""
        async with asyncio.timeout(_PATIENCE):
            while (ended := await self._queue.get()) is None:
                pass
            return ended


class Watching(Trial):
    """Watching: whoever watches a session is told when it ends, at once and without asking."""

    @pytest.fixture
    def log_out(self, store: Any, clock: TrialClock) -> Any:
        async def log_out(key: SessionKey) -> None:
            await store.delete(key, now=clock(), reason="logout")

        return log_out

    @pytest.mark.parametrize("reason", sorted(WAYS.keys() - {"replaced"}))
    async def test_each_end_is_told(
        self, store: Any, kept: SessionRecord, clock: TrialClock, record: Any, reason: Any
    ) -> None:
        """With its reason, to everybody who watches the session, once."""
        one, other = _Heard(), _Heard()
        async with store.watch(kept.key, one.tell), store.watch(kept.key, other.tell):
            await WAYS[reason](store, kept.key, clock, record)
            for heard in (one, other):
                assert await heard.next() == Ended(kept.session_id, reason)
                assert heard.nothing

    async def test_a_new_id_is_told_and_followed(
        self, store: Any, kept: SessionRecord, clock: TrialClock, log_out: Any
    ) -> None:
        """And what becomes of the session under it."""
        heard, renamed = _Heard(), new_session_id()
        async with store.watch(kept.key, heard.tell):
            await store.rename(kept.key, renamed, now=clock())
            assert await heard.next() == Ended(kept.session_id, "replaced", renamed)
            await log_out(SessionKey("anna", renamed))
            assert await heard.next() == Ended(renamed, "logout")

    async def test_only_what_is_watched_is_told(
        self, store: Any, kept: SessionRecord, clock: TrialClock, record: Any, log_out: Any
    ) -> None:
        """Neither another session of the user, nor what was over already, nor a use."""
        others, heard = [record(), record("bert")], _Heard()
        for each in others:
            await create(store, each, clock)
        async with store.watch(kept.key, heard.tell):
            for each in others * 2:
                await log_out(each.key)
            await store.load(kept.key, now=clock(), renew_interval=0)
            await store.rotate(kept.key, 0, now=clock(), grace=0)
            await log_out(kept.key)
            await log_out(kept.key)
            assert await heard.next() == Ended(kept.session_id, "logout")
            assert heard.nothing

    async def test_who_has_left_is_not_told(
        self, store: Any, kept: SessionRecord, log_out: Any
    ) -> None:
        """While another who watches the same session is."""
        gone, there = _Heard(), _Heard()
        async with store.watch(kept.key, there.tell):
            async with store.watch(kept.key, gone.tell):
                pass
            await log_out(kept.key)
            await there.next()
            assert gone.nothing

    async def test_who_leaves_is_not_told_what_is_on_its_way(
        self, store: Any, kept: SessionRecord, clock: TrialClock, record: Any, log_out: Any
    ) -> None:
        """Nothing is called after leaving."""
        other, gone, there = record(), _Heard(), _Heard()
        await create(store, other, clock)
        async with store.watch(other.key, there.tell):
            async with store.watch(kept.key, gone.tell):
                await log_out(kept.key)
                nothing = gone.nothing
            await log_out(other.key)
            await there.next()
            assert gone.nothing == nothing

    async def test_who_comes_back_is_told(
        self, store: Any, kept: SessionRecord, log_out: Any
    ) -> None:
        """However quickly: nothing is lost between leaving and entering."""
        heard = _Heard()
        for _ in range(20):
            async with store.watch(kept.key, heard.tell):
                pass
        async with store.watch(kept.key, heard.tell):
            await log_out(kept.key)
            assert await heard.next() == Ended(kept.session_id, "logout")

    async def test_expiry_is_not_told(
        self, store: Any, kept: SessionRecord, clock: TrialClock, record: Any, log_out: Any
    ) -> None:
        """Nor that the dead are swept."""
        living, heard, reference = record(expires_at=clock() + 500), _Heard(), _Heard()
        await create(store, living, clock)
        async with store.watch(kept.key, heard.tell), store.watch(living.key, reference.tell):
            clock.advance(100)
            await store.sweep(now=clock(), budget=100)
            await log_out(kept.key)
            await log_out(living.key)
            await reference.next()
            assert heard.nothing

    @pytest.mark.parametrize("user_id", [*ODD_TEXTS, "}:s:x", ":ended"])
    async def test_odd_users_are_told(
        self, store: Any, clock: TrialClock, record: Any, log_out: Any, user_id: str
    ) -> None:
        """Whatever their names do to the names of what the store keeps."""
        made, heard = record(user_id), _Heard()
        await create(store, made, clock)
        async with store.watch(made.key, heard.tell):
            await log_out(made.key)
            assert await heard.next() == Ended(made.session_id, "logout")

    async def test_ends_in_other_threads_are_told_on_the_own_loop(
        self, store: Any, clock: TrialClock, record: Any, log_out: Any
    ) -> None:
        """Ended on loops that come and go, told on the one that watches."""
        made, heard, here = [record() for _ in range(5)], _Heard(), asyncio.get_running_loop()
        for each in made:
            await create(store, each, clock)

        async def end(key: SessionKey) -> None:
            await log_out(key)
            await store.aclose()

        def tell(ended: Ended | None) -> None:
            assert asyncio.get_running_loop() is here
            heard.tell(ended)

        first, last = made[0], made[4]
        async with store.watch(first.key, tell), store.watch(last.key, tell):
            for each in made:
                await asyncio.to_thread(asyncio.run, end(each.key))
            told = {await heard.next(), await heard.next()}
        assert told == {Ended(each.session_id, "logout") for each in (first, last)}
