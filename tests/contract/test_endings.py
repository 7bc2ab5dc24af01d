"""Endings: why a session is no more, for as long as its tokens could live, and no longer."""

from typing import get_args

import pytest

from fastapi_memsession import SessionEnded, SessionIdTaken, SessionKey
from fastapi_memsession.errors import EndReason
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.base import LOGIN_SECONDS, SetValue
from tests.contract.conftest import ODD_TEXTS, create, load


async def evict(store, key, clock, record):
    clock.advance(1)
    await create(store, record(), clock, limit=1)


async def rename(store, key, clock, record):
    await store.rename(key, new_session_id(), now=clock())


async def reuse(store, key, clock, record):
    for generation in (0, 1, 0):
        await store.rotate(key, generation, now=clock(), grace=10)


async def revoke_all(store, key, clock, record):
    await store.delete_user(key.user_id, now=clock(), reason="revoked")


async def log_out(store, key, clock, record):
    await store.delete(key, now=clock(), reason="logout")


WAYS = {
    "evicted": evict, "replaced": rename, "reused": reuse, "revoked": revoke_all, "logout": log_out
}  # fmt: skip


@pytest.fixture(params=WAYS)
def end(request, store, kept, clock, record):
    """End the session `kept` in one of the ways there are, and return the reason."""

    async def end():
        await WAYS[request.param](store, kept.key, clock, record)
        return request.param

    return end


@pytest.fixture
def reason_of(store, clock):
    async def reason_of(record):
        return await store.end_reason(record.key, now=clock())

    return reason_of


async def test_every_way_to_end_leaves_its_reason(store, kept, clock, end):
    """Told from then on, and by nothing before."""
    assert await store.end_reason(kept.key, now=clock()) is None
    reason = await end()
    assert await load(store, kept.key, clock) is None
    assert await store.end_reason(kept.key, now=clock()) == reason


@pytest.mark.parametrize("reason", get_args(EndReason))
async def test_any_reason_is_remembered_as_it_was_given(store, record, clock, reason):
    """By one session's end, and by the end of all of a user's."""
    one, other = record(), record("bert")
    await create(store, one, clock)
    await create(store, other, clock)
    await store.delete(one.key, now=clock(), reason=reason)
    await store.delete_user("bert", now=clock(), reason=reason)
    assert await store.end_reason(one.key, now=clock()) == reason
    assert await store.end_reason(other.key, now=clock()) == reason


async def test_a_reason_is_remembered_until_the_deadline(store, kept, clock, end):
    """By the caller's clock, long after the idle expiration, to the last instant."""
    reason = await end()
    clock.now = kept.deadline - 0.001
    await store.sweep(now=clock(), budget=100)
    assert await store.end_reason(kept.key, now=clock()) == reason
    clock.now = kept.deadline
    assert await store.end_reason(kept.key, now=clock()) is None
    await store.sweep(now=clock(), budget=100)
    assert await store.end_reason(kept.key, now=clock()) is None


async def test_a_session_that_merely_expired_has_no_reason(store, kept, reason_of, clock):
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


async def test_the_first_reason_stays(store, kept, clock, end):
    """Ending what has ended is quiet, whichever way it is tried."""
    reason = await end()
    assert not await store.delete(kept.key, now=clock(), reason="undone")
    assert kept.session_id not in await store.delete_user("anna", now=clock(), reason="undone")
    assert (await store.rotate(kept.key, 0, now=clock(), grace=10)) == ("gone", None)
    assert await store.end_reason(kept.key, now=clock()) == reason


async def test_a_session_of_another_user_has_no_reason(store, kept, clock):
    """An id alone tells nothing, nor does a session that never was."""
    await store.delete(kept.key, now=clock(), reason="logout")
    for user in ("bert", "", "ann", "anna "):
        assert await store.end_reason(SessionKey(user, kept.session_id), now=clock()) is None
    assert await store.end_reason(SessionKey("anna", "never-made"), now=clock()) is None


async def test_an_id_that_is_remembered_is_taken(store, kept, record, clock, end):
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


async def test_what_is_remembered_is_no_session(store, kept, clock, end):
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
    store, kept, record, reason_of, clock
):
    """It lives, and other users' sessions do."""
    others = [record(), record("bert")]
    for made in others:
        await create(store, made, clock)
    await store.delete_user("anna", now=clock(), keep=kept.session_id, reason="revoked")
    assert [await reason_of(made) for made in (kept, *others)] == [None, "revoked", None]


async def test_the_dead_are_not_evicted(store, kept, record, reason_of, clock):
    """Only a live session makes room, and is told why."""
    clock.advance(100)
    await create(store, record(), clock, limit=1)
    assert await reason_of(kept) is None


@pytest.mark.parametrize("user", ODD_TEXTS)
async def test_any_user_id_has_its_own_endings(store, record, clock, user):
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


class TestLoginsUnderWay:
    """What `delete_user` means for logins that began before."""

    @pytest.fixture
    async def revoked_at(self, store, clock):
        """A moment at which all sessions of a user were ended, of whom there was none."""
        await store.delete_user("anna", now=clock(), reason="logout")
        return clock()

    async def test_one_that_began_before_is_stopped(self, store, revoked_at, record, clock):
        """Whatever the reason was, as a revocation; nothing is changed, nor remembered."""
        made = record()
        with pytest.raises(SessionEnded, match="ended") as caught:
            await create(store, made, clock, since=revoked_at - 0.001)
        assert caught.value.reason == "revoked"
        assert await load(store, made.key, clock) is None
        assert await store.end_reason(made.key, now=clock()) is None
        await create(store, made, clock)
        assert await load(store, made.key, clock) == made

    @pytest.mark.parametrize("later", [0, 0.001, 5])
    async def test_one_that_began_then_or_later_is_not(
        self, store, revoked_at, record, clock, later
    ):
        """Whoever ends all sessions and then logs in does so on purpose."""
        await create(store, record(), clock, since=revoked_at + later)
        assert await store.count(now=clock()) == 1

    async def test_nor_one_that_may_not_be_stopped(self, store, revoked_at, record, clock):
        """A login that tells no beginning."""
        await create(store, record(), clock, since=None)
        assert await store.count(now=clock()) == 1

    async def test_nor_one_of_another_user(self, store, revoked_at, record, clock):
        """Users do not stop each other's logins."""
        await create(store, record("bert"), clock, since=revoked_at - 1)
        assert await store.count(now=clock()) == 1

    async def test_a_kept_session_does_not_let_logins_pass(self, store, kept, record, clock):
        """The others are ended, and so are those to come."""
        began = clock()
        clock.advance(1)
        await store.delete_user("anna", now=clock(), keep=kept.session_id, reason="revoked")
        with pytest.raises(SessionEnded):
            await create(store, record(), clock, since=began)
        assert await load(store, kept.key, clock) == kept

    async def test_it_is_remembered_for_as_long_as_a_login_may_take(
        self, store, revoked_at, record, clock
    ):
        """Then logins are under way no longer, and nobody is locked out."""
        clock.now = revoked_at + LOGIN_SECONDS - 0.001
        with pytest.raises(SessionEnded):
            await create(store, record(), clock, since=revoked_at - 0.001)
        clock.now = revoked_at + LOGIN_SECONDS
        await create(store, record(), clock, since=revoked_at - 0.001)

    async def test_the_latest_one_counts(self, store, revoked_at, record, clock):
        """Also if one that was decided on before comes after it."""
        await store.delete_user("anna", now=revoked_at + 10, reason="revoked")
        await store.delete_user("anna", now=revoked_at + 5, reason="revoked")
        clock.advance(10)
        with pytest.raises(SessionEnded):
            await create(store, record(), clock, since=revoked_at + 7)
        await create(store, record(), clock, since=revoked_at + 10)

    async def test_one_that_is_stopped_evicts_nobody(self, store, revoked_at, record, clock):
        """And is told so, rather than that its id is taken."""
        living = record()
        await create(store, living, clock)
        for made in (record(), living):
            with pytest.raises(SessionEnded):
                await create(store, made, clock, limit=1, since=revoked_at - 1)
        assert await load(store, living.key, clock) == living

    async def test_a_login_of_the_past_is_stopped(self, store, revoked_at, record, clock):
        """Made before all sessions were ended, and stored after."""
        clock.advance(-0.5)
        with pytest.raises(SessionEnded):
            await create(store, record(), clock, since=revoked_at - 1)
