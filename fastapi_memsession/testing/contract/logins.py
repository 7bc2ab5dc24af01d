"""What `delete_user` means for logins that began before."""

from typing import Any

import pytest

from fastapi_memsession import SessionEnded, SessionRecord
from fastapi_memsession.stores.base import LOGIN_SECONDS
from fastapi_memsession.testing.contract.trial import Trial, TrialClock, create, load


class LoginsUnderWay(Trial):
    """What `delete_user` means for logins that began before."""

    @pytest.fixture
    def revoked_at(self, runner: Any, store: Any, clock: TrialClock) -> float:
        """A moment at which all sessions of a user were ended, of whom there was none."""
        runner.run(store.delete_user("anna", now=clock(), reason="logout"))
        return clock()

    async def test_one_that_began_before_is_stopped(
        self, store: Any, revoked_at: float, record: Any, clock: TrialClock
    ) -> None:
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
        self, store: Any, revoked_at: float, record: Any, clock: TrialClock, later: Any
    ) -> None:
        """Whoever ends all sessions and then logs in does so on purpose."""
        await create(store, record(), clock, since=revoked_at + later)
        assert await store.count(now=clock()) == 1

    async def test_nor_one_that_may_not_be_stopped(
        self, store: Any, revoked_at: float, record: Any, clock: TrialClock
    ) -> None:
        """A login that tells no beginning."""
        await create(store, record(), clock, since=None)
        assert await store.count(now=clock()) == 1

    async def test_nor_one_of_another_user(
        self, store: Any, revoked_at: float, record: Any, clock: TrialClock
    ) -> None:
        """Users do not stop each other's logins."""
        await create(store, record("bert"), clock, since=revoked_at - 1)
        assert await store.count(now=clock()) == 1

    async def test_a_kept_session_does_not_let_logins_pass(
        self, store: Any, kept: SessionRecord, record: Any, clock: TrialClock
    ) -> None:
        """The others are ended, and so are those to come."""
        began = clock()
        clock.advance(1)
        await store.delete_user("anna", now=clock(), keep=kept.session_id, reason="revoked")
        with pytest.raises(SessionEnded):
            await create(store, record(), clock, since=began)
        assert await load(store, kept.key, clock) == kept

    async def test_it_is_remembered_for_as_long_as_a_login_may_take(
        self, store: Any, revoked_at: float, record: Any, clock: TrialClock
    ) -> None:
        """Then logins are under way no longer, and nobody is locked out."""
        clock.now = revoked_at + LOGIN_SECONDS - 0.001
        with pytest.raises(SessionEnded):
            await create(store, record(), clock, since=revoked_at - 0.001)
        clock.now = revoked_at + LOGIN_SECONDS
        await create(store, record(), clock, since=revoked_at - 0.001)

    async def test_the_latest_one_counts(
        self, store: Any, revoked_at: float, record: Any, clock: TrialClock
    ) -> None:
        """Also if one that was decided on before comes after it."""
        await store.delete_user("anna", now=revoked_at + 10, reason="revoked")
        await store.delete_user("anna", now=revoked_at + 5, reason="revoked")
        clock.advance(10)
        with pytest.raises(SessionEnded):
            await create(store, record(), clock, since=revoked_at + 7)
        await create(store, record(), clock, since=revoked_at + 10)

    async def test_one_that_is_stopped_evicts_nobody(
        self, store: Any, revoked_at: float, record: Any, clock: TrialClock
    ) -> None:
        """And is told so, rather than that its id is taken."""
        living = record()
        await create(store, living, clock)
        for made in (record(), living):
            with pytest.raises(SessionEnded):
                await create(store, made, clock, limit=1, since=revoked_at - 1)
        assert await load(store, living.key, clock) == living

    async def test_a_login_of_the_past_is_stopped(
        self, store: Any, revoked_at: float, record: Any, clock: TrialClock
    ) -> None:
        """Made before all sessions were ended, and stored after."""
        clock.advance(-0.5)
        with pytest.raises(SessionEnded):
            await create(store, record(), clock, since=revoked_at - 1)
