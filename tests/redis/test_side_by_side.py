"""Redis and memory side by side: the same random program, and no difference to be seen."""

import asyncio
import hashlib
import secrets
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_memsession import (
    MemoryStore,
    SessionError,
    SessionKey,
    SessionRecord,
)
from fastapi_memsession.errors import EndReason
from fastapi_memsession.stores.base import (
    CompareAndSet,
    DeleteValue,
    Increment,
    SetDefault,
    SetValue,
)
from fastapi_memsession.stores.redis import RedisStore
from fastapi_memsession.values import encode_value
from tests.conftest import START

USERS = st.sampled_from(["anna", "bert", "", "}{", "x" * 200])
KEYS = st.sampled_from(["a", "b", "", ":a", "e", "ü"])
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-3, 3),
    st.sampled_from(
        [2**63 - 1, -(2**63), 2**53, 0.1, 0.5, 1e308, -1e308, 5e-324, 1e16, 1e-7, -0.0]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
)
VALUES = st.one_of(
    NUMBERS, st.none(), st.booleans(), st.sampled_from(["", "1", "text"]), st.just([1, {}])
).map(encode_value)
CHANGES = st.lists(
    st.one_of(
        st.builds(SetValue, KEYS, VALUES),
        st.builds(SetDefault, KEYS, VALUES),
        st.builds(DeleteValue, KEYS),
        st.builds(Increment, KEYS, NUMBERS),
        st.builds(CompareAndSet, KEYS, VALUES, VALUES),
    ),
    max_size=4,
)
CLAIMS = st.dictionaries(
    st.sampled_from(["role", "", "ü", "Role", "\0", '"']), st.sampled_from(["admin", "", "🦊"])
)
DEVICES = st.sampled_from([None, "", "ü\r\n\0", "Mozilla/5.0"])
REASONS = st.sampled_from(get_args(EndReason))
WHICH = st.sampled_from(
    [0, 0, 0, 0, 1, 1, 2, 3, 5, 9]
)  # of the sessions that were made, the last but so many
SECONDS = st.sampled_from([0.0, 0.25, 1.0, 4.75, 30.0, 60.0, 1 / 3, 600.0])

CREATE = st.tuples(
    st.just("create"),
    st.fixed_dictionaries(
        {
            "user_id": USERS,
            "expiration": st.sampled_from([5.0, 60.0, 0.1]),
            "data": st.dictionaries(KEYS, VALUES, max_size=2),
            "claims": CLAIMS,
            "user_agent": DEVICES,
            "address": DEVICES,
        }
    ),
    st.sampled_from([None, None, 1, 2]),
    st.one_of(st.none(), WHICH),
    st.one_of(st.none(), SECONDS),
)
STEPS = st.one_of(
    CREATE,
    st.tuples(st.just("create_again"), WHICH),
    st.tuples(st.just("load"), WHICH, st.sampled_from([None, 0, 3.0, 1000.0]), st.integers(0, 2)),
    st.tuples(st.just("change"), WHICH, CHANGES, st.sampled_from([40, 1000])),
    st.tuples(st.just("set_claims"), WHICH, CLAIMS, st.one_of(st.none(), CLAIMS)),
    st.tuples(st.just("rename"), WHICH, st.one_of(st.none(), WHICH), st.one_of(st.none(), SECONDS)),
    st.tuples(st.just("rotate"), WHICH, st.integers(-1, 4), st.sampled_from([0, 1, 10])),
    st.tuples(st.just("delete"), WHICH, REASONS),
    st.tuples(st.just("delete_user"), USERS, st.one_of(st.none(), WHICH), REASONS),
    st.tuples(st.just("list_user"), USERS),
    st.tuples(st.just("sweep"), st.sampled_from([1, 100])),
    st.tuples(
        st.just("let_time_pass"),
        st.sampled_from([*[0.25, 1.0, 4.75, 1 / 3] * 3, 30.0, 60.0, 600.0]),
    ),
)


class Player:
    """Plays one program on one store, by a clock and with ids of its own."""

    def __init__(self, store):
        self.store = store
        self.now = START
        self.records: list[SessionRecord] = []

    def which(self, number) -> SessionKey:
        """Name a session that was made, or one that never was."""
        if number is None or number >= len(self.records):
            return SessionKey("anna", "never-made")
        return self.records[-1 - number].key

    def new_id(self) -> str:
        """Ids in no order, yet the same in each run of the same program."""
        return hashlib.sha256(str(len(self.records)).encode()).hexdigest()[:43]

    async def play(self, step):
        """Return what one step gives, or the error that it raises."""
        name, *arguments = step
        try:
            return await getattr(self, name)(*arguments)
        except SessionError as error:
            return type(error), str(error)

    async def create(self, parts, limit, replacing, ago):
        made = SessionRecord(
            **parts,
            session_id=self.new_id(),
            created_at=self.now,
            last_seen_at=self.now,
            expires_at=self.now + parts["expiration"],
            deadline=self.now + 100,
            confirmed_at=self.now,
        )
        replaced = None if replacing is None else self.which(replacing)
        self.records.append(made)
        since = None if ago is None else self.now - ago
        return await self.store.create(
            made, now=self.now, limit_per_user=limit, replacing=replaced, since=since
        )

    async def create_again(self, which):
        """Create what was created, if it can be told that its id is taken."""
        key = self.which(which)
        if not await self.is_taken(key):
            return None
        again = next(made for made in self.records if made.key == key)
        return await self.store.create(again, now=self.now, limit_per_user=1)

    async def is_taken(self, key):
        """Whether it lives or is remembered: one that expired may be swept, or not yet."""
        alive = await self.store.load(key, now=self.now, renew_interval=None)
        return alive is not None or await self.store.end_reason(key, now=self.now) is not None

    async def load(self, which, interval, generation):
        return await self.store.load(
            self.which(which), now=self.now, renew_interval=interval, generation=generation
        )

    async def change(self, which, changes, max_bytes):
        return await self.store.change(
            self.which(which), changes, now=self.now, max_bytes=max_bytes
        )

    async def set_claims(self, which, claims, expected):
        """Expect what is there, or something else."""
        key = self.which(which)
        if expected is None:
            there = await self.store.load(key, now=self.now, renew_interval=None)
            expected = there.claims if there else {}
        return await self.store.set_claims(key, claims, expected=expected, now=self.now)

    async def rename(self, which, taken, ago):
        key = self.which(which)
        if taken is None:
            new_id = self.new_id()
        else:
            other = self.which(taken)
            if other.user_id != key.user_id or not await self.is_taken(other):
                return None
            new_id = other.session_id
        confirmed_at = None if ago is None else self.now - ago
        renamed = await self.store.rename(key, new_id, now=self.now, confirmed_at=confirmed_at)
        if renamed is not None:
            self.records.append(renamed)
        return renamed

    async def rotate(self, which, generation, grace):
        outcome, record = await self.store.rotate(
            self.which(which), generation, now=self.now, grace=grace
        )
        return outcome, record

    async def delete(self, which, reason):
        return await self.store.delete(self.which(which), now=self.now, reason=reason)

    async def delete_user(self, user, keep, reason):
        kept = None if keep is None else self.which(keep).session_id
        return sorted(await self.store.delete_user(user, now=self.now, keep=kept, reason=reason))

    async def list_user(self, user):
        return await self.store.list_user(user, now=self.now)

    async def sweep(self, budget):
        """How many were removed is not compared: memory sweeps in passing, too."""
        await self.store.sweep(now=self.now, budget=budget)

    async def let_time_pass(self, seconds):
        self.now += seconds

    async def all_there_is(self):
        """Return every session that was ever made, as it is now, and the living by themselves."""
        keys = [made.key for made in self.records]
        loads = (self.store.load(key, now=self.now, renew_interval=None) for key in keys)
        loaded = await asyncio.gather(*loads)
        reasons = (self.store.end_reason(key, now=self.now) for key in keys)
        ended = await asyncio.gather(*reasons)
        living = sorted([info async for info in self.store.scan(now=self.now)], key=repr)
        sweeps = (await self.store.stats()).sweeps
        return loaded, ended, living, sweeps, await self.store.count(now=self.now)


async def compare(url, *programs):
    """Play programs, and look at all there is after each."""
    redis = RedisStore(url, prefix=f"side-{secrets.token_hex(8)}", timeout=20)
    await redis.open()
    try:
        players = [Player(MemoryStore()), Player(redis)]
        for program in programs:
            for step in program:
                expected, found = [await player.play(step) for player in players]
                assert found == expected, step
            expected, found = [await player.all_there_is() for player in players]
            assert found == expected, program
    finally:
        await redis.aclose()


def test_redis_does_what_memory_does(server):
    """Results, errors and their words, data, expiry: the same after every step."""

    @settings(max_examples=100, deadline=None)
    @given(st.tuples(CREATE, CREATE), st.lists(STEPS, min_size=5, max_size=25))
    def check(first, steps):
        asyncio.run(compare(server.url, first, *([step] for step in steps)))

    check()


def test_redis_adds_as_memory_does(server):
    """Any number to any number: the same sum to the last bit, or the same error."""
    parts = {"user_id": "anna", "expiration": 60.0, "data": {}, "claims": {}}

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20))
    def check(pairs):
        program = [("create", parts, None, None, None)]
        for there, by in pairs:
            changes = [SetValue("a", encode_value(there)), Increment("a", by)]
            program.append(("change", 0, changes, 1000))
        asyncio.run(compare(server.url, program))

    check()


@pytest.mark.parametrize(("plus", "total"), [("+", b"3e+16"), ("", b"3e16")])
async def test_a_sum_is_spelled_as_this_version_of_pydantic_does(
    store, kept, monkeypatch, plus, total
):
    """What another one wrote, as in a rolling deployment, is the same number."""
    monkeypatch.setattr("fastapi_memsession.stores.redis_layout._PLUS", plus)
    add = [SetValue("n", encode_value(1e16)), Increment("n", 2e16)]
    result = await store.change(kept.key, add, now=START, max_bytes=999)
    assert result.values[1] == total
    for spelled in (b"3e+16", b"3e16"):
        compare = [CompareAndSet("n", spelled, total)]
        assert (await store.change(kept.key, compare, now=START, max_bytes=999)).applied
