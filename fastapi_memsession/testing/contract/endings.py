"""Endings: why a session is no more, for as long as its tokens could live, and no longer."""

from typing import Any, get_args

import pytest

from fastapi_memsession import SessionEnded, SessionIdTaken, SessionKey, SessionRecord
from fastapi_memsession.errors import EndReason
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.base import SetValue
from fastapi_memsession.testing.contract.trial import ODD_TEXTS, Trial, TrialClock, create, load


async def evict(store: Any, key: SessionKey, clock: TrialClock, record: Any) -> None:
    clock.advance(1)
    await create(store, record(), clock, limit=1)


async def rename(store: Any, key: SessionKey, clock: TrialClock, record: Any) -> None:
    await store.rename(key, new_session_id(), now=clock())


async def rename_twice(store: Any, key: SessionKey, clock: TrialClock) -> Any:
    """Return the session as it is after its first new id, and after its second."""
    second = await store.rename(key, new_session_id(), now=clock())
    return second, await store.rename(second.key, new_session_id(), now=clock())


async def reuse(store: Any, key: SessionKey, clock: TrialClock, record: Any) -> None:
    for generation in (0, 1, 0):
        await store.rotate(key, generation, now=clock(), grace=10)


async def revoke_all(store: Any, key: SessionKey, clock: TrialClock, record: Any) -> None:
    await store.delete_user(key.user_id, now=clock(), reason="revoked")


async def log_out(store: Any, key: SessionKey, clock: TrialClock, record: Any) -> None:
    await store.delete(key, now=clock(), reason="logout")


WAYS = {
    "evicted": evict, "replaced": rename, "reused": reuse, "revoked": revoke_all, "logout": log_out
}  # fmt: skip


class Endings(Trial):
    """Endings: why a session is no more, for as long as its tokens could live, and no longer."""

    @pytest.fixture(params=WAYS)
    def end(
        self, request: Any, store: Any, kept: SessionRecord, clock: TrialClock, record: Any
    ) -> Any:
        """End the session `kept` in one of the ways there are, and return the reason."""

        async def end() -> Any:
            await WAYS[request.param](store, kept.key, clock, record)
            return request.param

        return end

    @pytest.fixture
    def reason_of(self, store: Any, clock: TrialClock) -> Any:
        async def reason_of(record: Any) -> Any:
            return await store.end_reason(record.key, now=clock())

        return reason_of

    async def test_every_way_to_end_leaves_its_reason(
        self, store: Any, kept: SessionRecord, clock: TrialClock, end: Any
    ) -> None:
        """Told from then on, and by nothing before."""
        assert await store.end_reason(kept.key, now=clock()) is None
        reason = await end()
        assert await load(store, kept.key, clock) is None
        assert await store.end_reason(kept.key, now=clock()) == reason

    @pytest.mark.parametrize("reason", get_args(EndReason))
    async def test_any_reason_is_remembered_as_it_was_given(
        self, store: Any, record: Any, clock: TrialClock, reason: Any
    ) -> None:
        """By one session's end, and by the end of all of a user's."""
        one, other = record(), record("bert")
        await create(store, one, clock)
        await create(store, other, clock)
        await store.delete(one.key, now=clock(), reason=reason)
        await store.delete_user("bert", now=clock(), reason=reason)
        assert await store.end_reason(one.key, now=clock()) == reason
        assert await store.end_reason(other.key, now=clock()) == reason

    async def test_a_reason_is_remembered_until_the_deadline(
        self, store: Any, kept: SessionRecord, clock: TrialClock, end: Any
    ) -> None:
        """By the caller's clock, long after the idle expiration, to the last instant."""
        reason = await end()
        clock.now = kept.deadline - 0.001
        await store.sweep(now=clock(), budget=100)
        assert await store.end_reason(kept.key, now=clock()) == reason
        clock.now = kept.deadline
        assert await store.end_reason(kept.key, now=clock()) is None
        await store.sweep(now=clock(), budget=100)
        assert await store.end_reason(kept.key, now=clock()) is None

    async def test_a_session_that_merely_expired_has_no_reason(
        self, store: Any, kept: SessionRecord, reason_of: Any, clock: TrialClock
    ) -> None:
        """Whoever tries to end it then, before a sweep or after."""
        clock.advance(100)
        assert await reason_of(kept) is None
        assert not await store.delete(kept.key, now=clock(), reason="logout")
        assert await store.delete_user("anna", now=clock(), reason="revoked") == []
        assert (await store.rotate(kept.key, 5, now=clock(), grace=10)).outcome == "gone"
        assert await store.rename(kept.key, new_session_id(), now=clock()) is None
        assert await reason_of(kept) is None
        await store.sweep(now=clock(), budget=100)
        assert await reason_of(kept) is None

    async def test_the_first_reason_stays(
        self, store: Any, kept: SessionRecord, clock: TrialClock, end: Any
    ) -> None:
        """Ending what has ended is quiet, whichever way it is tried; it may live on elsewhere."""
        reason = await end()
        ended = await store.delete(kept.key, now=clock(), reason="undone")
        assert (ended is not None) == (reason == "replaced")
        assert await store.delete(kept.key, now=clock(), reason="undone") is None
        assert kept.session_id not in await store.delete_user("anna", now=clock(), reason="undone")
        assert (await store.rotate(kept.key, 0, now=clock(), grace=10)) == ("gone", None)
        assert await store.end_reason(kept.key, now=clock()) == reason

    async def test_a_session_of_another_user_has_no_reason(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """An id alone tells nothing, nor does a session that never was."""
        await store.delete(kept.key, now=clock(), reason="logout")
        for user in ("bert", "", "ann", "anna "):
            assert await store.end_reason(SessionKey(user, kept.session_id), now=clock()) is None
        assert await store.end_reason(SessionKey("anna", "never-made"), now=clock()) is None

    async def test_an_id_that_is_remembered_is_taken(
        self, store: Any, kept: SessionRecord, record: Any, clock: TrialClock, end: Any
    ) -> None:
        """For a login and for a new id; neither brings the session back, and nothing is changed."""
        reason = await end()
        other = record(data={"a": b"1"})
        await create(store, other, clock)
        before = await store.list_user("anna", now=clock())
        clock.advance(1)
        with pytest.raises(SessionIdTaken, match="taken"):
            await create(store, record(session_id=kept.session_id), clock, limit=1)
        with pytest.raises(SessionIdTaken, match="taken"):
            await store.rename(other.key, kept.session_id, now=clock(), confirmed_at=clock())
        assert await load(store, other.key, clock) == other
        assert await load(store, kept.key, clock) is None
        assert await store.list_user("anna", now=clock()) == before
        assert await store.end_reason(kept.key, now=clock()) == reason

    async def test_what_is_remembered_is_no_session(
        self, store: Any, kept: SessionRecord, clock: TrialClock, end: Any
    ) -> None:
        """For no call there is: it is not listed, counted, changed, swept or swept into life."""
        reason = await end()
        now = clock()
        assert await load(store, kept.key, clock, renew=0, generation=1) is None
        assert await store.change(kept.key, [SetValue("a", b"1")], now=now, max_bytes=99) is None
        assert await store.set_claims(kept.key, {}, expected=kept.claims, now=now) is None
        assert await store.rename(kept.key, new_session_id(), now=now) is None
        listed = {info.session_id for info in await store.list_user("anna", now=now)}
        assert kept.session_id not in listed
        assert {info.session_id async for info in store.scan(now=now)} == listed
        assert await store.count(now=now) == len(listed)
        assert await store.sweep(now=now, budget=100) == 0
        assert await load(store, kept.key, clock) is None
        assert await store.end_reason(kept.key, now=clock()) == reason

    async def test_ending_the_others_leaves_the_kept_one_without_a_reason(
        self, store: Any, kept: SessionRecord, record: Any, reason_of: Any, clock: TrialClock
    ) -> None:
        """It lives, and other users' sessions do."""
        others = [record(), record("bert")]
        for made in others:
            await create(store, made, clock)
        await store.delete_user("anna", now=clock(), keep=kept.session_id, reason="revoked")
        assert [await reason_of(made) for made in (kept, *others)] == [None, "revoked", None]

    async def test_the_dead_are_not_evicted(
        self, store: Any, kept: SessionRecord, record: Any, reason_of: Any, clock: TrialClock
    ) -> None:
        """Only a live session makes room, and is told why."""
        clock.advance(100)
        await create(store, record(), clock, limit=1)
        assert await reason_of(kept) is None

    @pytest.mark.parametrize("user", ODD_TEXTS)
    async def test_a_logout_ends_a_session_that_has_a_new_id(
        self, store: Any, record: Any, clock: TrialClock, user: Any
    ) -> None:
        """By any id that it had: whoever found it under that one could not know of the next."""
        made, bystander = record(user), record(user)
        await create(store, made, clock)
        await create(store, bystander, clock)
        second, third = await rename_twice(store, made.key, clock)
        ended = await store.delete(made.key, now=clock(), reason="logout")
        assert ended == third.session_id
        assert await load(store, third.key, clock) is None
        keys = (made.key, second.key, third.key)
        reasons = [await store.end_reason(key, now=clock()) for key in keys]
        assert reasons == ["replaced", "replaced", "logout"]
        for key in keys:
            assert await store.delete(key, now=clock(), reason="undone") is None
        assert await store.list_user(user, now=clock()) == [bystander.info]

    async def test_a_session_is_found_under_its_last_id(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """By any that it had, and by nobody else; until its deadline, ended or not."""
        assert await store.successor(kept.key, now=clock()) is None
        second, third = await rename_twice(store, kept.key, clock)
        for _ in range(2):
            for key in (kept.key, second.key):
                assert await store.successor(key, now=clock()) == third.session_id
            foreign = SessionKey("bert", kept.session_id)
            for key in (third.key, foreign, SessionKey("anna", "unknown")):
                assert await store.successor(key, now=clock()) is None
            await store.delete(third.key, now=clock(), reason="logout")
        clock.now = kept.deadline
        assert await store.successor(kept.key, now=clock()) is None

    async def test_whoever_asks_again_for_the_same_new_id_gets_it(
        self, store: Any, kept: SessionRecord, record: Any, clock: TrialClock
    ) -> None:
        """The first answer may have been lost. Another one is not there to be had."""
        first = await store.rename(kept.key, "n" * 43, now=clock(), confirmed_at=clock())
        heard = await store.rename(kept.key, "n" * 43, now=clock(), confirmed_at=clock())
        assert heard == first
        assert [info.session_id for info in await store.list_user("anna", now=clock())] == [
            "n" * 43
        ]
        assert await store.rename(kept.key, "m" * 43, now=clock()) is None
        second = await store.rename(first.key, "m" * 43, now=clock())
        for session_id in ("n" * 43, "m" * 43):  # neither is now the one it was given first
            assert await store.rename(kept.key, session_id, now=clock()) is None
        await store.delete(second.key, now=clock(), reason="logout")
        assert await store.rename(first.key, "m" * 43, now=clock()) is None

    async def test_an_old_id_ends_nothing_once_its_session_has_expired(
        self, store: Any, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """And another user's id ends nothing at all."""
        renamed = await store.rename(kept.key, new_session_id(), now=clock())
        foreign = SessionKey("bert", kept.session_id)
        assert await store.delete(foreign, now=clock(), reason="logout") is None
        assert await load(store, renamed.key, clock) == renamed
        clock.now = renamed.expires_at
        assert await store.delete(kept.key, now=clock(), reason="logout") is None
        assert await store.end_reason(renamed.key, now=clock()) is None

    async def test_a_session_is_spared_by_the_id_that_it_had(
        self, store: Any, kept: SessionRecord, record: Any, clock: TrialClock
    ) -> None:
        """A new id amid "log all others out" costs nobody the session they work with."""
        other = record()
        await create(store, other, clock)
        _, renamed = await rename_twice(store, kept.key, clock)
        call = store.delete_user("anna", now=clock(), keep=kept.session_id, reason="revoked")
        assert await call == [other.session_id]
        assert await load(store, renamed.key, clock) == renamed

    async def test_a_login_replaces_a_session_by_the_id_that_it_had(
        self, store: Any, kept: SessionRecord, record: Any, clock: TrialClock
    ) -> None:
        """It counts as gone, so that the limit costs no other session."""
        other = record()
        await create(store, other, clock)
        _, renamed = await rename_twice(store, kept.key, clock)
        new = record()
        assert await store.create(new, now=clock(), limit_per_user=2, replacing=kept.key) == []
        assert {info.session_id for info in await store.list_user("anna", now=clock())} == {
            other.session_id,
            renamed.session_id,
            new.session_id,
        }

    @pytest.mark.parametrize("user", ODD_TEXTS)
    async def test_any_user_id_has_its_own_endings(
        self, store: Any, record: Any, clock: TrialClock, user: Any
    ) -> None:
        """And its own logins that are stopped."""
        mine, other = record(user), record("anna")
        await create(store, mine, clock)
        await create(store, other, clock)
        began = clock()
        clock.advance(1)
        await store.delete_user(user, now=clock(), reason="revoked")
        assert await store.end_reason(mine.key, now=clock()) == "revoked"
        assert await store.end_reason(other.key, now=clock()) is None
        with pytest.raises(SessionEnded):
            await create(store, record(user), clock, since=began)
        await create(store, record("anna"), clock, since=began)
