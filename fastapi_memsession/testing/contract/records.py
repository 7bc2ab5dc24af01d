"""Records of a store: made, found, renewed, renamed, ended. See stores/base.py for the contract."""

from typing import Any

import pytest

from fastapi_memsession import SessionIdTaken, SessionKey, SessionRecord
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.base import SetValue
from fastapi_memsession.testing.contract.trial import Trial, TrialClock, create, load

AGES = 1e9


class Records(Trial):
    """Records of a store: made, found, renewed, renamed, ended."""

    async def test_load_gives_back_what_was_created(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """All fields of a record survive the store."""
        assert await load(store, kept.key, clock) == kept

    async def test_an_unknown_session_is_absent(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """Absence is a value."""
        assert await load(store, record().key, clock) is None

    async def test_a_session_of_another_user_is_absent(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """An id alone opens nothing: the user must be its own (ASVS 7.4.1)."""
        key = SessionKey("bert", kept.session_id)
        assert await load(store, key, clock) is None
        assert not await store.delete(key, now=clock(), reason="logout")
        assert await store.change(key, (), now=clock(), max_bytes=1000) is None
        assert await store.rename(key, "new", now=clock()) is None
        assert (await store.rotate(key, 0, now=clock(), grace=10)).outcome == "gone"
        assert await load(store, kept.key, clock) == kept

    async def test_a_user_who_cannot_be_has_no_session(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """A lone surrogate comes in by JSON as well, and is nobody's name."""
        for user in ("\ud800", "\udfff" * 1000):
            key, now = SessionKey(user, kept.session_id), clock()
            assert await load(store, key, clock) is None
            assert await store.list_user(user, now=now) == []
            assert await store.delete_user(user, now=now, reason="revoked") == []
            assert await store.delete(key, now=now, reason="logout") is None
            assert await store.end_reason(key, now=now) is None
        assert await load(store, kept.key, clock) == kept

    async def test_an_id_that_cannot_be_is_no_sessions(
        self, store: Any, kept: SessionRecord, record: Any, clock: TrialClock
    ) -> None:
        """A lone surrogate comes in by JSON as well, and is absent for every call."""
        key, now = kept.key._replace(session_id="\ud800"), clock()
        assert await load(store, key, clock) is None
        assert await load(store, key, clock, 0, generation=0) is None
        assert await store.change(key, [SetValue("a", b"1")], now=now, max_bytes=1000) is None
        assert await store.set_claims(key, {}, expected={}, now=now) is None
        assert await store.rename(key, "new", now=now) is None
        assert (await store.rotate(key, 0, now=now, grace=10)).outcome == "gone"
        assert await store.delete(key, now=now, reason="logout") is None
        assert await store.end_reason(key, now=now) is None
        assert await store.successor(key, now=now) is None
        async with store.watch(key, pytest.fail), store.lock(key, timeout=10, clock=clock):
            pass
        assert await load(store, kept.key, clock) == kept
        newer = record()
        assert await create(store, newer, clock, 1, replacing=key) == [kept.session_id]
        ended = await store.delete_user("anna", now=now, keep=key.session_id, reason="revoked")
        assert ended == [newer.session_id]

    async def test_what_never_was_is_absent_at_any_time(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """Also before 1970, where a clock may stand that was never set."""
        clock.advance(-2 * clock())
        key, now = record().key, clock()
        assert await load(store, key, clock) is None
        assert await load(store, key, clock, 0) is None
        assert await store.change(key, [SetValue("a", b"1")], now=now, max_bytes=1000) is None
        assert await store.set_claims(key, {}, expected={}, now=now) is None
        assert await store.rename(key, "new", now=now) is None
        assert (await store.rotate(key, 0, now=now, grace=10)).outcome == "gone"
        assert await store.delete(key, now=now, reason="logout") is None

    async def test_create_never_overwrites(
        self, store: Any, kept: SessionRecord, record: Any, clock: TrialClock
    ) -> None:
        """A taken id is an error, and what was there stays."""
        with pytest.raises(SessionIdTaken, match="taken"):
            await create(store, record(session_id=kept.session_id), clock)
        assert await load(store, kept.key, clock) == kept

    async def test_a_record_dies_at_its_expiry_and_not_before(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """Live while now < expires_at, to the last instant that a float can tell."""
        clock.advance(99.999)
        assert await load(store, kept.key, clock) is not None
        clock.advance(0.001)
        assert await load(store, kept.key, clock) is None

    async def test_a_dead_record_is_absent_for_every_call(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """Nothing can be done with a dead record, swept or not."""
        clock.advance(100)
        now = clock()
        assert await load(store, kept.key, clock, renew=0) is None
        assert await store.change(kept.key, (), now=now, max_bytes=1000) is None
        assert await store.rename(kept.key, "new", now=now) is None
        assert (await store.rotate(kept.key, 0, now=now, grace=10)).outcome == "gone"
        assert not await store.delete(kept.key, now=now, reason="logout")
        assert await store.list_user("anna", now=now) == []
        assert await store.delete_user("anna", now=now, reason="revoked") == []
        assert await store.count(now=now) == 0
        assert [info async for info in store.scan(now=now)] == []

    async def test_a_use_extends_the_life(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """Loading with renewal starts the idle expiration again."""
        clock.advance(60)
        renewed = await load(store, kept.key, clock, renew=50)
        assert (renewed.last_seen_at, renewed.expires_at) == (clock(), clock() + 100)
        clock.advance(60)
        assert await load(store, kept.key, clock) == renewed

    async def test_a_use_soon_after_the_last_writes_nothing(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """Closer than the renew interval: the record is as it was. At the interval: renewed."""
        clock.advance(19.999)
        assert await load(store, kept.key, clock, renew=20) == kept
        clock.advance(0.001)
        assert (await load(store, kept.key, clock, renew=20)).last_seen_at == clock()

    async def test_a_short_session_slides_under_a_long_interval(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """A session is renewed after half its idle expiration, whatever the interval says."""
        clock.advance(50)
        assert (await load(store, kept.key, clock, renew=AGES)).last_seen_at == clock()

    async def test_a_look_is_no_use(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """Without an interval a load extends nothing, however late."""
        clock.advance(99)
        assert await load(store, kept.key, clock, renew=None) == kept

    async def test_renewal_never_passes_the_deadline(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """The absolute lifetime ends a session that is used all the time (ASVS 7.3.2)."""
        renewed = kept
        for _ in range(19):
            clock.advance(50)
            renewed = await load(store, kept.key, clock, renew=0)
        assert renewed.expires_at == kept.deadline
        clock.advance(49.999)
        assert await load(store, kept.key, clock, renew=0) is not None
        clock.advance(0.001)
        assert await load(store, kept.key, clock, renew=0) is None

    async def test_delete_ends_once(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """The first delete says that it was live, the second is quiet."""
        assert await store.delete(kept.key, now=clock(), reason="logout") == kept.session_id
        assert not await store.delete(kept.key, now=clock(), reason="logout")
        assert await load(store, kept.key, clock) is None
        assert await store.list_user("anna", now=clock()) == []

    async def test_rename_moves_all_there_is(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """The new id opens what the old one did; the old one is absent."""
        renamed = await store.rename(kept.key, "n" * 43, now=clock())
        assert await load(store, renamed.key, clock) == renamed
        assert (renamed.data, renamed.created_at, renamed.deadline) == (
            kept.data,
            kept.created_at,
            kept.deadline,
        )
        assert await load(store, kept.key, clock) is None
        assert [i.session_id for i in await store.list_user("anna", now=clock())] == ["n" * 43]

    async def test_rename_to_a_taken_id_changes_nothing(
        self, store: Any, kept: SessionRecord, record: Any, clock: TrialClock
    ) -> None:
        """Two sessions never become one."""
        other = record()
        await create(store, other, clock)
        with pytest.raises(SessionIdTaken, match="taken"):
            await store.rename(kept.key, other.session_id, now=clock())
        assert await load(store, kept.key, clock) == kept
        assert await load(store, other.key, clock) == other

    async def test_count_and_scan_see_the_living(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """The dead are left out before any sweep."""
        for _ in range(3):
            await create(store, record(), clock)
        clock.advance(50.5)
        young = record("bert")
        await create(store, young, clock)
        assert await store.count(now=clock()) == 4
        clock.advance(49.6)
        assert await store.count(now=clock()) == 1
        assert [info async for info in store.scan(now=clock())] == [young.info]

    async def test_sweep_leaves_the_living(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """Also those who would be dead had they not been used."""
        records = [record(f"user-{number}") for number in range(30)]
        for made in records:
            await create(store, made, clock)
        clock.advance(60)
        for made in records[::3]:
            await load(store, made.key, clock, renew=0)
        clock.advance(60)
        await store.sweep(now=clock(), budget=7)
        for number, made in enumerate(records):
            assert (await load(store, made.key, clock) is not None) == (number % 3 == 0)
        assert await store.count(now=clock()) == 10

    async def test_sessions_survive_a_restart_of_the_lifespan(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """Closing and opening again lets go of connections, not of sessions."""
        await store.aclose()
        await store.open()
        assert await load(store, kept.key, clock) == kept

    async def test_much_data_is_data(self, store: Any, record: Any, clock: TrialClock) -> None:
        """Thousands of keys at a login survive whatever happens to the session."""
        data = {f"key-{number}": b"%d" % number for number in range(5000)}
        made = record(data=data)
        await create(store, made, clock)
        assert await load(store, made.key, clock) == made
        _, rotated = await store.rotate(made.key, 0, now=clock(), grace=10)
        claimed = await store.set_claims(made.key, {}, expected=made.claims, now=clock())
        renamed = await store.rename(made.key, "n" * 43, now=clock())
        assert rotated.data == claimed.data == renamed.data == data
        assert await store.delete(renamed.key, now=clock(), reason="logout")
        assert await store.count(now=clock()) == 0

    @pytest.mark.parametrize(
        "write",
        ["change", "set_claims", "rename", "rotate", "a use", "delete", "delete_user", "replacing"],
    )
    async def test_a_version_is_gone_with_what_it_was_of(
        self, store: Any, kept: SessionRecord, record: Any, clock: TrialClock, write: str
    ) -> None:
        """A look leaves it; whatever changes or ends the record does not."""
        key, now = kept.key, clock()
        await load(store, key, clock)
        before = store.version(key, now)
        await load(store, key, clock)
        assert store.version(key, now) is before
        await {
            "change": lambda: store.change(key, [SetValue("a", b"1")], now=now, max_bytes=999),
            "set_claims": lambda: store.set_claims(key, {"a": "b"}, expected=kept.claims, now=now),
            "rename": lambda: store.rename(key, new_session_id(), now=now),
            "rotate": lambda: store.rotate(key, 0, now=now, grace=10),
            "a use": lambda: store.load(key, now=now, renew_interval=0),
            "delete": lambda: store.delete(key, now=now, reason="logout"),
            "delete_user": lambda: store.delete_user(key.user_id, now=now, reason="revoked"),
            "replacing": lambda: store.create(record(), now=now, limit_per_user=1),
        }[write]()
        assert before is None or store.version(key, now) is not before
