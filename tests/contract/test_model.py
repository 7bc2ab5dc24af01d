"""Random programs of calls, compared step by step with a model that is too simple to be wrong."""

import asyncio
import hashlib

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from fastapi_memsession import SessionDataError, SessionKey, SessionRecord, SessionTooLarge
from fastapi_memsession.stores.base import (
    CompareAndSet,
    DeleteValue,
    Increment,
    SetDefault,
    SetValue,
)
from fastapi_memsession.values import decode_value, encode_value

USERS = ["anna", "bert", ""]
KEYS = st.sampled_from(["a", "b", "", ":a"])
VALUES = st.sampled_from([b"1", b"2", b"null", b'"text"', b"[1,2]", b"9223372036854775807"])
MAX_BYTES = 40


class Model:
    """One session: a dict of plain values and three times."""

    def __init__(self, record: SessionRecord) -> None:
        self.user_id = record.user_id
        self.data = {key: decode_value(value) for key, value in record.data.items()}
        self.created_at = self.last_seen_at = record.created_at
        self.expires_at, self.deadline = record.expires_at, record.deadline
        self.expiration = record.expiration


def machine_for(new_store):
    class Comparison(RuleBasedStateMachine):
        sessions = Bundle("sessions")

        @initialize()
        def start(self):
            self.loop = asyncio.new_event_loop()
            self.store = new_store()
            self.run(self.store.open())
            self.now = 1_000_000.0
            self.models: dict[SessionKey, Model] = {}
            self.made = 0

        def teardown(self):
            if hasattr(self, "loop"):
                self.run(self.store.aclose())
                self.loop.close()

        def run(self, call):
            return self.loop.run_until_complete(call)

        def new_id(self):
            """Ids in no order, yet the same in each run of the same program."""
            self.made += 1
            return hashlib.sha256(bytes([self.made])).hexdigest()[:43]

        def live(self, key) -> Model | None:
            model = self.models.get(key)
            return model if model and self.now < model.expires_at else None

        def of_user(self, user):
            mine = [key for key in self.models if key.user_id == user and self.live(key)]
            return sorted(mine, key=lambda key: (self.models[key].created_at, key))

        @rule(
            target=sessions,
            user=st.sampled_from(USERS),
            expiration=st.sampled_from([5.0, 60.0]),
            limit=st.sampled_from([None, None, 1, 2]),
            data=st.dictionaries(KEYS, VALUES, max_size=2),
        )
        def create(self, user, expiration, limit, data):
            record = SessionRecord(
                user_id=user,
                session_id=self.new_id(),
                claims={},
                data=data,
                created_at=self.now,
                last_seen_at=self.now,
                expires_at=self.now + expiration,
                deadline=self.now + 100,
                expiration=expiration,
            )
            before = self.of_user(user)
            ended = self.run(self.store.create(record, now=self.now, limit_per_user=limit))
            expected = before[: max(0, len(before) + 1 - limit)] if limit else []
            assert sorted(ended) == sorted(key.session_id for key in expected)
            for key in expected:
                del self.models[key]
            self.models[record.key] = Model(record)
            return record.key

        @rule(seconds=st.sampled_from([0.25, 1.0, 4.75, 30.0, 60.0]))
        def let_time_pass(self, seconds):
            self.now += seconds

        @rule(key=sessions, interval=st.sampled_from([None, 0, 3.0, 1000.0]))
        def load(self, key, interval):
            record = self.run(self.store.load(key, now=self.now, renew_interval=interval))
            model = self.live(key)
            assert (record is None) == (model is None)
            if model is None:
                return
            if interval is not None and self.now - model.last_seen_at >= min(
                interval, model.expiration / 2
            ):
                model.last_seen_at = self.now
                model.expires_at = min(self.now + model.expiration, model.deadline)
            assert record.key == key
            assert {k: decode_value(v) for k, v in record.data.items()} == model.data
            assert (record.created_at, record.last_seen_at, record.expires_at) == (
                model.created_at,
                model.last_seen_at,
                model.expires_at,
            )

        @rule(
            key=sessions,
            changes=st.lists(
                st.one_of(
                    st.builds(SetValue, KEYS, VALUES),
                    st.builds(SetDefault, KEYS, VALUES),
                    st.builds(DeleteValue, KEYS),
                    st.builds(Increment, KEYS, st.sampled_from([1, -1, 0.5])),
                    st.builds(CompareAndSet, KEYS, VALUES, VALUES),
                ),
                max_size=3,
            ),
        )
        def change(self, key, changes):
            model = self.live(key)
            expected = expected_error = None
            if model is not None:
                try:
                    expected = expect(dict(model.data), changes)
                except SessionDataError as error:
                    expected_error = type(error)
            call = self.store.change(key, changes, now=self.now, max_bytes=MAX_BYTES)
            try:
                result = self.run(call)
            except SessionDataError as error:
                assert type(error) is expected_error
                return
            assert expected_error is None
            if model is None:
                assert result is None
                return
            applied, values, data = expected
            assert result.applied == applied
            assert [None if v is None else decode_value(v) for v in result.values] == values
            if applied:
                model.data = data

        @rule(target=sessions, key=sessions)
        def rename(self, key):
            new_id = self.new_id()
            record = self.run(self.store.rename(key, new_id, now=self.now))
            model = self.live(key)
            assert (record is None) == (model is None)
            if model is None:
                return multiple()
            del self.models[key]
            self.models[record.key] = model
            return record.key

        @rule(key=sessions)
        def delete(self, key):
            ended = self.run(self.store.delete(key, now=self.now, reason="logout"))
            assert ended == (self.live(key) is not None)
            self.models.pop(key, None)

        @rule(key=sessions, keep=st.booleans())
        def delete_user(self, key, keep):
            kept = key.session_id if keep else None
            call = self.store.delete_user(key.user_id, now=self.now, keep=kept, reason="revoked")
            ended = self.run(call)
            expected = [k for k in self.of_user(key.user_id) if k.session_id != kept]
            assert sorted(ended) == sorted(k.session_id for k in expected)
            for each in expected:
                del self.models[each]

        @rule(budget=st.sampled_from([1, 2, 100]))
        def sweep(self, budget):
            self.run(self.store.sweep(now=self.now, budget=budget))

        @invariant()
        def the_same_sessions_live(self):
            if not hasattr(self, "loop"):
                return
            living = {key for key in self.models if self.live(key)}
            assert self.run(self.store.count(now=self.now)) == len(living)
            for user in USERS:
                listed = self.run(self.store.list_user(user, now=self.now))
                assert [info.session_id for info in listed] == [
                    key.session_id for key in self.of_user(user)
                ]

    return Comparison


def expect(data, changes):
    """Apply changes to plain values, by the words of the contract."""
    before, values = dict(data), []
    for change in changes:
        key = change.key
        match change:
            case DeleteValue():
                values.append(data.pop(key, None))
                continue
            case SetValue():
                data[key] = decode_value(change.value)
            case SetDefault():
                data.setdefault(key, decode_value(change.value))
            case Increment():
                if type(data.get(key, 0)) not in (int, float):
                    raise SessionDataError("not a number")
                data[key] = data.get(key, 0) + change.by
                if type(data[key]) is int and not -(2**63) <= data[key] < 2**63:
                    raise SessionDataError("out of range")
            case CompareAndSet():
                if data.get(key) != decode_value(change.expected):
                    return False, [before.get(c.key) for c in changes], before
                data[key] = decode_value(change.value)
        values.append(data[key])
    size = sum(len(key.encode()) + len(encode_value(value)) for key, value in data.items())
    if size > MAX_BYTES:
        raise SessionTooLarge("too large", size=size, limit=MAX_BYTES)
    return True, values, data


def test_a_store_does_what_the_model_does(new_store, programs):
    """Whatever the order of calls and the passing of time."""
    run_state_machine_as_test(
        machine_for(new_store),
        settings=settings(max_examples=programs, stateful_step_count=40, deadline=None),
    )
