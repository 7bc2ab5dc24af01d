"""Rotation: each generation of tokens is exchanged once, and a stolen one ends the session."""

import asyncio
from typing import Any

import pytest

from fastapi_memsession import SessionKey, SessionRecord
from fastapi_memsession.records import new_session_id
from fastapi_memsession.testing.contract.trial import Trial, TrialClock, create, load

NEVER = [1, 2, 2**31, 2**53 + 1, 2**63, 10**30, -1, -2, -(2**63), -(10**30)]


class Rotations(Trial):
    """Rotation: each generation of tokens is exchanged once, and a stolen one ends the session."""

    @pytest.fixture
    def rotate(self, store: Any, kept: SessionRecord, clock: TrialClock) -> Any:
        async def rotate(generation: Any, grace: Any = 10) -> Any:
            return await store.rotate(kept.key, generation, now=clock(), grace=grace)

        return rotate

    async def test_a_rotation_advances_the_generation_once(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """Of many who show the same token at once, one rotates it; the others repeat."""
        results = await asyncio.gather(*(rotate(0) for _ in range(20)))
        assert sorted(each.outcome for each in results) == ["repeated"] * 19 + ["rotated"]
        assert (await load(store, kept.key, clock)).generation == 1

    async def test_a_lost_successor_can_be_fetched_again(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """Long after the grace period, as long as the successor was never used."""
        assert (await rotate(0)).outcome == "rotated"
        clock.advance(90)
        assert (await rotate(0)).outcome == "repeated"

    async def test_a_parent_is_refused_once_its_child_was_seen(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """After the grace period; inside it two tabs may still race. The session ends."""
        await rotate(0)
        assert await load(store, kept.key, clock, generation=1) is not None
        clock.advance(9.999)
        assert (await rotate(0)).outcome == "repeated"
        clock.advance(0.001)
        assert (await rotate(0)).outcome == "reused"
        assert await load(store, kept.key, clock) is None

    async def test_a_grandparent_is_refused_inside_the_grace_period(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """Two generations back is theft, however fast."""
        for generation in (0, 1):
            assert (await rotate(generation)).outcome == "rotated"
        assert (await rotate(0)).outcome == "reused"
        assert await load(store, kept.key, clock) is None

    @pytest.mark.parametrize("generation", NEVER)
    async def test_a_generation_that_never_was_changes_nothing(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock, generation: Any
    ) -> None:
        """Neither rotating nor loading with it, however far away it is."""
        clock.advance(1)
        assert await rotate(generation) == ("gone", None)
        assert await load(store, kept.key, clock, generation=generation) == kept
        assert await store.end_reason(kept.key, now=clock()) is None

    @pytest.mark.parametrize("generation", NEVER[4:])
    async def test_a_generation_that_never_was_is_no_reuse(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock, generation: Any
    ) -> None:
        """Also where earlier ones were, and were used."""
        before = kept
        for current in range(3):
            before = (await rotate(current)).record
        assert await rotate(generation) == ("gone", None)
        assert await load(store, kept.key, clock) == before

    async def test_a_rotation_gives_the_record_as_it_is_then(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """The one that is stored: its generation grew, and the token that was shown had arrived."""
        clock.advance(7)
        outcome, record = await rotate(0)
        assert outcome == "rotated"
        assert (record.generation, record.used_generation, record.rotated_at) == (1, 0, clock())
        assert record == await load(store, kept.key, clock)
        assert record.data == kept.data
        clock.advance(7)
        assert (await rotate(1)).record.used_generation == 1

    async def test_a_repetition_gives_the_record_of_the_first_time(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """Same generation, same time of rotation: the caller can issue the same tokens again."""
        _, first = await rotate(0)
        clock.advance(3)
        outcome, again = await rotate(0)
        assert outcome == "repeated"
        assert again == first.renewed(clock())
        assert again == await load(store, kept.key, clock)

    async def test_a_rotation_is_a_use(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """The idle expiration starts again, whenever the last use was; at a repetition, too."""
        clock.advance(1)
        _, record = await rotate(0)
        assert (record.last_seen_at, record.expires_at) == (clock(), clock() + 100)
        clock.advance(99.999)
        _, record = await rotate(0)
        assert (record.last_seen_at, record.expires_at) == (clock(), clock() + 100)
        clock.advance(100)
        assert await rotate(1) == ("gone", None)

    async def test_a_rotation_never_passes_the_deadline(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """A session that is rotated all the time dies at its deadline all the same."""
        record = kept
        for generation in range(19):
            clock.advance(50)
            _, record = await rotate(generation)
        assert record.expires_at == kept.deadline
        clock.advance(50)
        assert await rotate(19) == ("gone", None)
        assert await load(store, kept.key, clock) is None

    async def test_a_reused_token_is_told_once(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """The session is gone from then on, for every generation."""
        await rotate(0)
        await rotate(1)
        assert await rotate(0) == ("reused", None)
        for generation in (0, 1, 2):
            assert await rotate(generation) == ("gone", None)
        assert await store.list_user("anna", now=clock()) == []

    async def test_without_grace_a_token_is_repeated_until_its_successor_is_used(
        self, rotate: Any
    ) -> None:
        """Exchanging the successor uses it."""
        await rotate(0, grace=0)
        assert (await rotate(0, grace=0)).outcome == "repeated"
        await rotate(1, grace=0)
        assert (await rotate(1, grace=0)).outcome == "repeated"
        assert (await rotate(0, grace=0)).outcome == "reused"

    async def test_a_use_of_an_older_token_takes_nothing_back(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """Once the current token has arrived, it has."""
        await rotate(0)
        for generation in (1, 0, None):
            record = await load(store, kept.key, clock, generation=generation)
            assert record.used_generation == 1
        clock.advance(10)
        assert (await rotate(0)).outcome == "reused"

    async def test_far_generations_are_counted_exactly(
        self, store: Any, record: Any, clock: TrialClock
    ) -> None:
        """One by one, as far as a session that is rotated each microsecond for a century."""
        far = 2**52
        made = record(generation=far, used_generation=far - 1, rotated_at=clock())
        await create(store, made, clock)
        clock.advance(20)
        for generation in (far, far + 1):
            outcome, after = await store.rotate(made.key, generation, now=clock(), grace=10)
            assert (outcome, after.generation) == ("rotated", generation + 1)
        assert await load(store, made.key, clock) == after
        assert (await store.rotate(made.key, far, now=clock(), grace=10)).outcome == "reused"

    async def test_a_new_id_keeps_the_generation(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """A token of the old id is gone; one of the new id is exchanged where the old one was."""
        await rotate(0)
        renamed = await store.rename(kept.key, new_session_id(), now=clock())
        assert await rotate(1) == ("gone", None)
        assert (renamed.generation, renamed.rotated_at) == (1, clock())
        assert (await store.rotate(renamed.key, 1, now=clock(), grace=10)).outcome == "rotated"

    async def test_nobody_else_can_end_a_session_by_reuse(
        self, store: Any, kept: SessionRecord, rotate: Any, clock: TrialClock
    ) -> None:
        """The user of the key must be the session's own."""
        await rotate(0)
        await rotate(1)
        key = SessionKey("bert", kept.session_id)
        assert await store.rotate(key, 0, now=clock(), grace=10) == ("gone", None)
        assert await load(store, kept.key, clock) is not None
