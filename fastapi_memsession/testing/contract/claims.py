"""Claims in the record: replaced as a whole if they are the expected ones, and no use."""

import asyncio
from types import MappingProxyType
from typing import Any

import pytest

from fastapi_memsession import SessionKey, SessionRecord
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.base import SetValue
from fastapi_memsession.testing.contract.trial import ODD_TEXTS, Trial, TrialClock, create, load

CLAIMS = {"role": "admin"}  # as `record` makes them


class ClaimsOfSessions(Trial):
    """Claims in the record: replaced as a whole if they are the expected ones, and no use."""

    @pytest.fixture
    def set_claims(self, store: Any, kept: SessionRecord, clock: TrialClock) -> Any:
        async def set_claims(claims: Any, expected: Any = CLAIMS) -> Any:
            return await store.set_claims(kept.key, claims, expected=expected, now=clock())

        return set_claims

    async def test_expected_claims_are_replaced(
        self, store: Any, kept: SessionRecord, set_claims: Any, clock: TrialClock
    ) -> None:
        """All of them; the result is the record as it is then, with nothing else changed."""
        after = await set_claims({"plan": "free", "team": "7"})
        assert after.claims == {"plan": "free", "team": "7"}
        assert await load(store, kept.key, clock) == after
        back = await set_claims(CLAIMS, expected=after.claims)
        assert back == await load(store, kept.key, clock) == kept

    @pytest.mark.parametrize(
        "expected", [{}, {"role": "user"}, {"Role": "admin"}, {"role": "admin", "a": ""}]
    )
    async def test_other_claims_stay(
        self, store: Any, kept: SessionRecord, set_claims: Any, clock: TrialClock, expected: Any
    ) -> None:
        """The result tells what they are, for another attempt."""
        assert await set_claims({"role": "user"}, expected=expected) == kept
        assert await load(store, kept.key, clock) == kept

    async def test_the_order_of_names_does_not_matter(self, set_claims: Any) -> None:
        """Claims are a mapping, of whatever class."""
        names = ["b", "a", "ü", "", "A"]
        claims = dict.fromkeys(names, "x")
        await set_claims(claims)
        swapped = MappingProxyType(dict.fromkeys(reversed(names), "x"))
        assert (await set_claims({"done": "1"}, expected=swapped)).claims == {"done": "1"}

    async def test_there_may_be_none(
        self, store: Any, kept: SessionRecord, set_claims: Any, clock: TrialClock
    ) -> None:
        """Neither before nor after."""
        assert (await set_claims({})).claims == {}
        assert (await load(store, kept.key, clock)).claims == {}
        assert (await set_claims(CLAIMS, expected={})).claims == CLAIMS

    @pytest.mark.parametrize("odd", [*ODD_TEXTS, "k", "\u2028", '"', "\\", "null", ":role"])
    async def test_any_text_is_a_claim(
        self, store: Any, record: Any, clock: TrialClock, odd: Any
    ) -> None:
        """As name and as value, from the login on, and to be expected as it was given."""
        made = record(claims={odd: odd, "x": "1"})
        await create(store, made, clock)
        assert await load(store, made.key, clock) == made
        call = store.set_claims(made.key, {odd: odd + "!"}, expected=made.claims, now=clock())
        assert (await call).claims == {odd: odd + "!"}
        call = store.set_claims(made.key, {}, expected={odd: odd + "!"}, now=clock())
        assert (await call).claims == {}

    async def test_texts_that_only_look_equal_are_not(self, set_claims: Any) -> None:
        """An ü in one character and an ü in two; upper case; blanks."""
        await set_claims({"\u00fc": "a"})
        for other in ({"u\u0308": "a"}, {"\u00dc": "a"}, {"\u00fc": "a "}):
            assert (await set_claims({}, expected=other)).claims == {"\u00fc": "a"}

    async def test_changing_claims_is_no_use(
        self, store: Any, kept: SessionRecord, set_claims: Any, clock: TrialClock
    ) -> None:
        """It extends nothing."""
        clock.advance(99)
        after = await set_claims({"role": "user"})
        assert (after.last_seen_at, after.expires_at) == (kept.last_seen_at, kept.expires_at)
        clock.advance(1)
        assert await set_claims({"role": "admin"}, expected={"role": "user"}) is None

    async def test_an_absent_session_gets_no_claims(
        self, store: Any, kept: SessionRecord, set_claims: Any, clock: TrialClock
    ) -> None:
        """Of another user, unknown or ended; nothing is made."""
        for key in (SessionKey("bert", kept.session_id), SessionKey("anna", "never-made")):
            assert await store.set_claims(key, {}, expected=CLAIMS, now=clock()) is None
            assert await store.set_claims(key, {}, expected={}, now=clock()) is None
        await store.delete(kept.key, now=clock(), reason="logout")
        assert await set_claims({}) is None
        assert await store.count(now=clock()) == 0
        assert await store.end_reason(kept.key, now=clock()) == "logout"

    async def test_the_data_stay(
        self, store: Any, kept: SessionRecord, set_claims: Any, clock: TrialClock
    ) -> None:
        """Claims and data do not reach each other, whatever they are called."""
        for name in ("role", "k", ":role", "q"):
            changes = [SetValue(name, b'"data"')]
            await store.change(kept.key, changes, now=clock(), max_bytes=999)
        await set_claims(
            {"role": "claim", "k": "claim", ":role": "claim", "q": "claim", "b": "claim"}
        )
        loaded = await load(store, kept.key, clock)
        assert loaded.data == {**kept.data, **dict.fromkeys(["role", "k", ":role", "q"], b'"data"')}
        assert set(loaded.claims.values()) == {"claim"}

    async def test_what_was_handed_in_is_not_kept(
        self, store: Any, kept: SessionRecord, set_claims: Any, clock: TrialClock
    ) -> None:
        """The caller may go on using its dict."""
        claims = {"role": "user"}
        await set_claims(claims)
        claims["role"] = "root"
        assert (await load(store, kept.key, clock)).claims == {"role": "user"}

    async def test_one_of_many_wins(
        self, store: Any, kept: SessionRecord, set_claims: Any, clock: TrialClock
    ) -> None:
        """Of those who expect the same; the others are told what the winner wrote."""
        records = await asyncio.gather(*(set_claims({"n": str(number)}) for number in range(20)))
        (claims,) = {record.claims["n"] for record in records}
        assert (await load(store, kept.key, clock)).claims == {"n": claims}

    async def test_a_new_id_and_new_tokens_keep_them(
        self, store: Any, kept: SessionRecord, set_claims: Any, clock: TrialClock
    ) -> None:
        """Whatever else happens to the session."""
        await set_claims({"role": "user"})
        await store.rotate(kept.key, 0, now=clock(), grace=10)
        renamed = await store.rename(kept.key, new_session_id(), now=clock())
        assert renamed.claims == {"role": "user"}
        assert (await load(store, renamed.key, clock)).claims == {"role": "user"}
