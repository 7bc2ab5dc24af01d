"""Changes to a session's data: atomic, all or none, never on a session that is over."""

import asyncio
from typing import Any

import pytest

from fastapi_memsession import SessionDataError, SessionKey, SessionRecord, SessionTooLarge
from fastapi_memsession.stores.base import (
    ChangeResult,
    CompareAndSet,
    DeleteValue,
    Increment,
    SetDefault,
    SetValue,
)
from fastapi_memsession.testing.contract.trial import Trial, TrialClock, create
from fastapi_memsession.values import decode_value, encode_value


class Changes(Trial):
    """Changes to a session's data: atomic, all or none, never on a session that is over."""

    @pytest.fixture
    def key(self, runner: Any, store: Any, record: Any, clock: TrialClock) -> SessionKey:
        """The key of a live session with the data {"n": 1}."""
        made: SessionRecord = record(data={"n": b"1"})
        runner.run(create(store, made, clock))
        return made.key

    @pytest.fixture
    def change(self, store: Any, key: SessionKey, clock: TrialClock) -> Any:
        async def change(*changes: Any, max_bytes: Any = 1000) -> Any:
            return await store.change(key, changes, now=clock(), max_bytes=max_bytes)

        return change

    @pytest.fixture
    def data(self, store: Any, key: SessionKey, clock: TrialClock) -> Any:
        async def data() -> Any:
            return dict((await store.load(key, now=clock(), renew_interval=None)).data)

        return data

    async def test_each_change_does_what_its_name_says(self, change: Any, data: Any) -> None:
        """And tells what is under the key then; for a removal what was."""
        assert await change(SetValue("a", b"2")) == ChangeResult(True, (b"2",))
        assert await change(SetDefault("a", b"3")) == ChangeResult(True, (b"2",))
        assert await change(SetDefault("b", b"3")) == ChangeResult(True, (b"3",))
        assert await change(Increment("b", 4)) == ChangeResult(True, (b"7",))
        assert await change(CompareAndSet("b", b"7", b"8")) == ChangeResult(True, (b"8",))
        assert await change(DeleteValue("a")) == ChangeResult(True, (b"2",))
        assert await change(DeleteValue("a")) == ChangeResult(True, (None,))
        assert await data() == {"n": b"1", "b": b"8"}

    async def test_changes_apply_in_order(self, change: Any, data: Any) -> None:
        """A later change sees the earlier ones."""
        result = await change(SetValue("a", b"1"), Increment("a", 2), DeleteValue("n"))
        assert result == ChangeResult(True, (b"1", b"3", b"1"))
        assert await data() == {"a": b"3"}

    async def test_a_failed_comparison_changes_nothing(self, change: Any, data: Any) -> None:
        """Nothing of all that was handed in with it; told is what is there."""
        result = await change(
            SetValue("a", b"1"),
            DeleteValue("n"),
            CompareAndSet("n", b"5", b"6"),
            SetValue("z", b"1"),
        )
        assert result == ChangeResult(False, (None, b"1", b"1", None))
        assert await data() == {"n": b"1"}

    async def test_an_absent_key_compares_as_null(self, change: Any, data: Any) -> None:
        """As it reads."""
        assert (await change(CompareAndSet("a", b"null", b"1"))).applied
        assert not (await change(CompareAndSet("a", b"null", b"2"))).applied
        assert await data() == {"n": b"1", "a": b"1"}

    async def test_a_failed_increment_changes_nothing(self, change: Any, data: Any) -> None:
        """Nothing of all that was handed in with it."""
        await change(SetValue("text", b'"1"'))
        with pytest.raises(SessionDataError, match="incremented"):
            await change(SetValue("a", b"1"), Increment("text", 1))
        assert await data() == {"n": b"1", "text": b'"1"'}

    @pytest.mark.parametrize("there", [b'"1"', b"null", b"true", b"[1]", b"{}"])
    async def test_only_numbers_can_be_incremented(self, change: Any, there: Any) -> None:
        """Text that looks like a number, null and booleans are none."""
        await change(SetValue("a", there))
        with pytest.raises(SessionDataError, match="incremented"):
            await change(Increment("a", 1))

    @pytest.mark.parametrize(
        ("there", "by", "total"),
        [
            (2**53, 1, 2**53 + 1),
            (2**63 - 2, 1, 2**63 - 1),
            (-(2**63) + 1, -1, -(2**63)),
            (1, 0.5, 1.5),
            (0.1, 0.2, 0.1 + 0.2),
            (0.5, 1, 1.5),
            (1.5, 0.5, 2.0),
        ],
    )
    async def test_sums_are_exact(self, change: Any, there: Any, by: Any, total: Any) -> None:
        """Integers of 64 bits beyond what a float can tell; floats as floats add; types kept."""
        await change(SetValue("a", repr(there).encode()))
        result = await change(Increment("a", by))
        value = decode_value(result.values[0])
        assert (value, type(value)) == (total, type(total))

    @pytest.mark.parametrize(
        "total",
        [0.5, -0.0, 100.0, 5e-324, 1e-5, 1.5e-7, 1e15, 1e16, -1.5e22, 2.0**-1017, 2.0**-44, 1e308],
    )
    async def test_a_sum_is_spelled_as_it_would_be_set(self, change: Any, total: Any) -> None:
        """To the byte, which is what is compared and counted."""
        await change(SetValue("a", b"-0.0"))
        summed = await change(Increment("a", total))
        assert summed.values == (encode_value(total),)
        assert (await change(CompareAndSet("a", encode_value(total), b"1"))).applied

    async def test_a_comparison_is_one_of_bytes(self, change: Any, data: Any) -> None:
        """Numbers that are equal are not the same if JSON tells them apart."""
        await change(SetValue("a", b"-0.0"))
        for expected in (b"0.0", b"0", b"-0"):
            assert not (await change(CompareAndSet("a", expected, b"1"))).applied
        assert (await data())["a"] == b"-0.0"

    @pytest.mark.parametrize(
        ("there", "by"),
        [
            (b"9223372036854775807", 1),
            (b"-9223372036854775808", -1),
            (b"9223372036854775808", 0),
            (b"0", 2**63),
            (b"1e308", 1e308),
            (b"1" + b"0" * 400, 0.5),
        ],
    )
    async def test_a_sum_out_of_range_changes_nothing(
        self, change: Any, data: Any, there: Any, by: Any
    ) -> None:
        """Beyond 64 bits, or beyond a float: an error, never a rounded number."""
        await change(SetValue("a", there))
        with pytest.raises(SessionDataError, match="out of range"):
            await change(Increment("a", by))
        assert (await data())["a"] == there

    async def test_too_much_data_changes_nothing(self, change: Any, data: Any) -> None:
        """Bytes of keys, in UTF-8, and of values together are bounded, to the byte."""
        await change(SetValue("ü", b"12345"), max_bytes=2 + 7)
        with pytest.raises(SessionTooLarge) as caught:
            await change(SetValue("ü", b"123456"), max_bytes=2 + 7)
        assert (caught.value.size, caught.value.limit) == (10, 9)
        assert await data() == {"n": b"1", "ü": b"12345"}

    @pytest.mark.parametrize("odd", ["", " ", ":", "e", "\0", "{}", "🦊", "k" * 500])
    async def test_any_key_is_a_key(self, change: Any, data: Any, odd: Any) -> None:
        """No key is special, and none reaches the record's own fields."""
        await change(SetValue(odd, b"5"))
        assert await data() == {"n": b"1", odd: b"5"}

    async def test_a_change_is_no_use(
        self, store: Any, key: SessionKey, change: Any, clock: TrialClock
    ) -> None:
        """Writing does not extend the life of a session."""
        clock.advance(99)
        await change(SetValue("a", b"1"))
        clock.advance(1)
        assert await store.load(key, now=clock(), renew_interval=None) is None

    async def test_a_change_never_creates(
        self, store: Any, key: SessionKey, change: Any, clock: TrialClock
    ) -> None:
        """What was deleted stays deleted, whatever is in flight."""
        await store.delete(key, now=clock(), reason="logout")
        assert await change(SetValue("a", b"1")) is None
        assert await change(Increment("n", 1)) is None
        assert await store.load(key, now=clock(), renew_interval=None) is None
        assert await store.count(now=clock()) == 0

    async def test_no_update_is_lost(self, change: Any, data: Any) -> None:
        """A thousand concurrent increments count to a thousand; each key of a thousand is kept."""
        await asyncio.gather(*(change(Increment("n", 1)) for _ in range(1000)))
        await asyncio.gather(
            *(change(SetValue(f"k{number}", b"1"), max_bytes=10**6) for number in range(1000))
        )
        after = await data()
        assert after["n"] == b"1001"
        assert len(after) == 1001

    async def test_a_delete_amid_writes_is_final(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """Whoever writes at the same moment, the session does not come back."""
        for _ in range(50):
            made = record(data={"n": b"0"})
            await store.create(made, now=clock(), limit_per_user=None)

            async def write(key: SessionKey = made.key) -> Any:
                return await store.change(key, [Increment("n", 1)], now=clock(), max_bytes=1000)

            ended = store.delete(made.key, now=clock(), reason="logout")
            *_, was_live = await asyncio.gather(*(write() for _ in range(5)), ended)
            assert was_live
            assert await write() is None
            assert await store.load(made.key, now=clock(), renew_interval=None) is None

    async def test_what_was_loaded_does_not_change(
        self, store: Any, key: SessionKey, change: Any, clock: TrialClock
    ) -> None:
        """A record that a request holds shows what was there when it was loaded."""
        before = await store.load(key, now=clock(), renew_interval=None)
        await change(SetValue("n", b"2"), SetValue("m", b"3"))
        assert dict(before.data) == {"n": b"1"}
