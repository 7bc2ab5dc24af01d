"""The sessions of a user: listed, ended together, limited in number."""

import asyncio
from typing import Any

import pytest

from fastapi_memsession.records import SessionInfo
from fastapi_memsession.testing.contract.trial import ODD_TEXTS, Trial, TrialClock, create, load


class Users(Trial):
    """The sessions of a user: listed, ended together, limited in number."""

    @pytest.mark.parametrize("user", ODD_TEXTS)
    async def test_any_user_id_names_its_own_sessions(
        self, store: Any, record: Any, clock: TrialClock, user: Any
    ) -> None:
        """A user id may be any text; none is taken for another's."""
        mine, other = record(user), record("anna")
        await create(store, mine, clock)
        await create(store, other, clock)
        assert await load(store, mine.key, clock) == mine
        assert [info.session_id for info in await store.list_user(user, now=clock())] == [
            mine.session_id
        ]
        assert await store.delete_user(user, now=clock(), reason="revoked") == [mine.session_id]
        assert await load(store, other.key, clock) == other

    async def test_list_user_shows_the_living_oldest_first(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """Each with its times, and nothing else of it."""
        records = []
        for _ in range(4):
            records.append(record())
            await create(store, records[-1], clock)
            clock.advance(1)
        await store.delete(records[1].key, now=clock(), reason="logout")
        expected = [
            SessionInfo(r.user_id, r.session_id, r.created_at, r.last_seen_at, r.expires_at)
            for r in (records[0], records[2], records[3])
        ]
        assert await store.list_user("anna", now=clock()) == expected
        assert await store.list_user("nobody", now=clock()) == []

    async def test_delete_user_may_keep_one(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """Logging out everywhere else leaves the session that asks for it, and other users'."""
        mine = [record() for _ in range(3)]
        for made in [*mine, record("bert")]:
            await create(store, made, clock)
        ended = await store.delete_user(
            "anna", now=clock(), keep=mine[1].session_id, reason="revoked"
        )
        assert sorted(ended) == sorted([mine[0].session_id, mine[2].session_id])
        assert [i.session_id for i in await store.list_user("anna", now=clock())] == [
            mine[1].session_id
        ]
        assert len(await store.list_user("bert", now=clock())) == 1

    async def test_a_limit_ends_the_oldest(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """The newest stay, also when the limit was lowered since."""
        records = []
        for _ in range(4):
            records.append(record())
            assert await create(store, records[-1], clock) == []
            clock.advance(1)
        newest = record()
        assert await create(store, newest, clock, limit=2) == [r.session_id for r in records[:3]]
        left = [info.session_id for info in await store.list_user("anna", now=clock())]
        assert left == [records[3].session_id, newest.session_id]

    async def test_the_dead_do_not_count_for_a_limit(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """Only live sessions are ended for a new one."""
        await create(store, record(), clock)
        clock.advance(100)
        assert await create(store, record(), clock, limit=1) == []

    async def test_a_limit_holds_under_concurrent_logins(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """However many log in at once, no more than the limit are live."""
        await asyncio.gather(*(create(store, record(), clock, limit=3) for _ in range(50)))
        assert len(await store.list_user("anna", now=clock())) == 3

    async def test_a_session_that_is_replaced_counts_as_gone(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """Its end is left to the caller: a login that fails later has cost nobody a session."""
        old = record()
        await create(store, old, clock)
        clock.advance(1)
        await create(store, record(), clock)
        clock.advance(1)
        new = record()
        call = store.create(new, now=clock(), limit_per_user=2, replacing=old.key)
        assert await call == []
        assert len(await store.list_user("anna", now=clock())) == 3
        newer = record()
        call = store.create(newer, now=clock(), limit_per_user=2, replacing=new.key)
        assert await call == [old.session_id]
        foreign = record("bert")
        call = store.create(foreign, now=clock(), limit_per_user=1, replacing=newer.key)
        assert await call == []

    async def test_a_renamed_session_keeps_its_age_in_the_list(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """The oldest is who logged in first, not who was renamed last."""
        old = record()
        await create(store, old, clock)
        clock.advance(1)
        young = record()
        await create(store, young, clock)
        renamed = await store.rename(old.key, "n" * 43, now=clock())
        assert [i.session_id for i in await store.list_user("anna", now=clock())] == [
            renamed.session_id,
            young.session_id,
        ]
