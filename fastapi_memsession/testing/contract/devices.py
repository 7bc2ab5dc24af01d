"""Where a session comes from, and when its user proved who they are: kept, and told in lists."""

from typing import Any

import pytest

from fastapi_memsession import SessionRecord
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.base import SetValue
from fastapi_memsession.testing.contract.trial import ODD_TEXTS, Trial, TrialClock, create, load


class Devices(Trial):
    """Where a session comes from, and when its user proved who they are."""

    @pytest.mark.parametrize("odd", [None, *ODD_TEXTS, "::1", "fe80::1%eth0", "Mozilla/5.0 (X11)"])
    async def test_any_text_is_a_device(
        self, store: Any, record: Any, clock: TrialClock, odd: Any
    ) -> None:
        """Nothing recorded is not the same as nothing said."""
        agent, address = record(user_agent=odd, address="192.0.2.1"), record(address=odd)
        for made in (agent, address):
            await create(store, made, clock)
            assert await load(store, made.key, clock) == made
        expected = sorted([agent.info, address.info], key=lambda info: info.session_id)
        assert await store.list_user("anna", now=clock()) == expected
        scanned = [info async for info in store.scan(now=clock())]
        assert sorted(scanned, key=lambda info: info.session_id) == expected

    async def test_a_device_stays_as_it_was_at_login(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """Through uses, new tokens, other claims, data of the same name and a new id."""
        made = record(user_agent="Firefox", address="192.0.2.1")
        await create(store, made, clock)
        clock.advance(10)
        now = clock()
        await load(store, made.key, clock, renew=0)
        await store.rotate(made.key, 0, now=now, grace=10)
        await store.set_claims(made.key, {"a": "1", "i": "2"}, expected=made.claims, now=now)
        changes = [SetValue("a", b"1"), SetValue("i", b"2"), SetValue("user_agent", b"3")]
        await store.change(made.key, changes, now=now, max_bytes=999)
        renamed = await store.rename(made.key, new_session_id(), now=now)
        assert (renamed.user_agent, renamed.address) == ("Firefox", "192.0.2.1")
        (info,) = await store.list_user("anna", now=now)
        assert info == renamed.info
        assert (info.user_agent, info.address, info.last_seen_at) == ("Firefox", "192.0.2.1", now)
        assert [info async for info in store.scan(now=now)] == [renamed.info]

    async def test_a_confirmation_comes_with_a_new_id(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """It is when the user proved who they are; the rest is as it was."""
        made = record(confirmed_at=clock(), data={"a": b"1"}, user_agent="Firefox")
        await create(store, made, clock)
        clock.advance(50)
        confirmed = await store.rename(made.key, "n" * 43, now=clock(), confirmed_at=clock() - 0.25)
        assert confirmed == await load(store, confirmed.key, clock)
        assert confirmed.confirmed_at == clock() - 0.25
        for name in made._fields:
            if name not in {"session_id", "confirmed_at"}:
                assert getattr(confirmed, name) == getattr(made, name), name

    async def test_a_new_id_alone_confirms_nothing(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """Nor does anything else that happens to a session."""
        made = record(confirmed_at=clock() - 7.5)
        await create(store, made, clock)
        clock.advance(10)
        await load(store, made.key, clock, renew=0)
        await store.rotate(made.key, 0, now=clock(), grace=10)
        renamed = await store.rename(made.key, new_session_id(), now=clock())
        assert renamed.confirmed_at == made.confirmed_at
        assert (await load(store, renamed.key, clock)).confirmed_at == made.confirmed_at

    @pytest.mark.parametrize("moment", [0.0, -1.5, 0.1, 1e-7, 1_764_000_000.123457, 1e15 + 0.25])
    async def test_a_confirmation_is_kept_to_the_bit(
        self, store: Any, record: Any, clock: TrialClock, moment: Any
    ) -> None:
        """Whenever it was; the epoch is a time, too."""
        made = record(confirmed_at=clock())
        await create(store, made, clock)
        renamed = await store.rename(made.key, new_session_id(), now=clock(), confirmed_at=moment)
        assert renamed.confirmed_at == moment
        assert (await load(store, renamed.key, clock)).confirmed_at == moment

    async def test_a_confirmation_that_fails_is_none(
        self, store: Any, kept: SessionRecord, record: Any, clock: TrialClock
    ) -> None:
        """A taken id, or a session that is over."""
        other = record()
        await create(store, other, clock)
        clock.advance(1)
        with pytest.raises(Exception, match="taken"):
            await store.rename(kept.key, other.session_id, now=clock(), confirmed_at=clock())
        assert await load(store, kept.key, clock) == kept
        assert await load(store, other.key, clock) == other
        clock.advance(100)
        call = store.rename(kept.key, new_session_id(), now=clock(), confirmed_at=clock())
        assert await call is None
