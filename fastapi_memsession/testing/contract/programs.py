"""Random programs of calls, compared step by step with a model that is too simple to be wrong."""

import asyncio
import hashlib
from typing import Any

import pytest
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

import fastapi_memsession.testing.contract.strategies as some
from fastapi_memsession import (
    SessionDataError,
    SessionEnded,
    SessionIdTaken,
    SessionKey,
    SessionRecord,
)
from fastapi_memsession.testing.contract.model import MAX_BYTES, Model, Sessions, expect
from fastapi_memsession.testing.contract.trial import Trial
from fastapi_memsession.values import decode_value


def machine_for(new_store: Any) -> Any:
    class Comparison(RuleBasedStateMachine):
        sessions = Bundle("sessions")

        @initialize()
        def start(self) -> None:
            self.loop = asyncio.new_event_loop()
            self.store = new_store()
            self.run(self.store.open())
            self.model = Sessions()
            self.made: list[SessionKey] = []

        def teardown(self) -> None:
            if hasattr(self, "loop"):
                self.run(self.store.aclose())
                self.loop.close()

        def run(self, call: Any) -> Any:
            return self.loop.run_until_complete(call)

        def new_id(self) -> Any:
            """Ids in no order, yet the same in each run of the same program."""
            return hashlib.sha256(bytes([len(self.made)])).hexdigest()[:43]

        def ago(self, seconds: Any) -> Any:
            return None if seconds is None else self.model.now - seconds

        @rule(
            target=sessions,
            user=st.sampled_from(some.USERS),
            expiration=st.sampled_from([5.0, 60.0]),
            limit=st.sampled_from([None, None, 1, 2]),
            data=st.dictionaries(some.KEYS, some.VALUES, max_size=2),
            claims=some.CLAIMS,
            began=some.AGES,
            back=st.integers(0, 9),
        )
        def create(
            self,
            *,
            user: Any,
            expiration: Any,
            limit: Any,
            data: Any,
            claims: Any,
            began: Any,
            back: Any,
        ) -> Any:
            """Over the session that was made so many before, if there is one."""
            now, since = self.model.now, self.ago(began)
            replaced = self.made[-back] if 0 < back <= len(self.made) else None
            record = SessionRecord(
                user_id=user,
                session_id=self.new_id(),
                claims=claims,
                data=data,
                created_at=now,
                last_seen_at=now,
                expires_at=now + expiration,
                deadline=now + 100,
                expiration=expiration,
                confirmed_at=now,
                user_agent=user or None,
            )
            self.made.append(record.key)
            call = self.store.create(
                record, now=now, limit_per_user=limit, replacing=replaced, since=since
            )
            if self.model.stops(user, since):
                with pytest.raises(SessionEnded) as caught:
                    self.run(call)
                assert caught.value.reason == "revoked"
                return record.key
            spared = self.model.latest(replaced) if replaced else None
            before = [each for each in self.model.of_user(user) if each != spared]
            expected = before[: max(0, len(before) + 1 - limit)] if limit else []
            assert sorted(self.run(call)) == sorted(key.session_id for key in expected)
            for key in expected:
                self.model.end(key, "evicted")
            self.model.models[record.key] = Model(record)
            return record.key

        @rule(key=sessions, other=sessions)
        def offer_an_id_that_is_taken(self, key: SessionKey, other: Any) -> None:
            """Of a dead session, it may be swept or not yet: nobody knows."""
            taken = SessionKey(key.user_id, other.session_id)
            if not (self.model.live(taken) or self.model.reason(taken)):
                return
            now = self.model.now
            model = self.model.live(key)
            if model is not None:
                with pytest.raises(SessionIdTaken):
                    self.run(self.store.rename(key, taken.session_id, now=now, confirmed_at=now))
                record = self.run(self.store.load(key, now=now, renew_interval=None))
                again = record._replace(session_id=taken.session_id)
                with pytest.raises(SessionIdTaken):
                    self.run(self.store.create(again, now=now, limit_per_user=1))

        @rule(seconds=st.sampled_from([*[0.25, 1.0, 4.75] * 4, 30.0, 60.0, 540.0]))
        def let_time_pass(self, seconds: Any) -> None:
            self.model.now += seconds

        @rule(
            key=sessions,
            interval=st.sampled_from([None, 0, 3.0, 1000.0]),
            generation=st.sampled_from([None, 0, 1, 2]),
        )
        def load(self, key: SessionKey, interval: Any, generation: Any) -> None:
            key = self.model.mostly_live(key)
            now = self.model.now
            call = self.store.load(key, now=now, renew_interval=interval, generation=generation)
            record, model = self.run(call), self.model.live(key)
            assert (record is None) == (model is None)
            if model is None:
                return
            idle = now - model.last_seen_at
            if interval is not None and idle >= min(interval, model.expiration / 2):
                model.use(now)
            if generation is not None and generation <= model.generation:
                model.used_generation = max(generation, model.used_generation)
            assert (record.key, model.matches(record)) == (key, True)

        @rule(key=sessions, changes=some.CHANGES)
        def change(self, key: SessionKey, changes: Any) -> None:
            key = self.model.mostly_live(key)
            model = self.model.live(key)
            expected: Any = None
            expected_error: Any = None
            if model is not None:
                try:
                    expected = expect(dict(model.data), changes)
                except SessionDataError as error:
                    expected_error = type(error)
            call = self.store.change(key, changes, now=self.model.now, max_bytes=MAX_BYTES)
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

        @rule(key=sessions, claims=some.CLAIMS, expected=st.one_of(st.none(), some.CLAIMS))
        def set_claims(self, key: SessionKey, claims: Any, expected: Any) -> None:
            """Expect what is there, or something else."""
            key = self.model.mostly_live(key)
            model = self.model.live(key)
            if expected is None:
                expected = model.claims if model else {}
            call = self.store.set_claims(key, claims, expected=expected, now=self.model.now)
            record = self.run(call)
            assert (record is None) == (model is None)
            if model is not None:
                if model.claims == expected:
                    model.claims = claims
                assert model.matches(record)

        @rule(target=sessions, key=sessions, confirmed=some.AGES)
        def rename(self, key: SessionKey, confirmed: Any) -> Any:
            key = self.model.mostly_live(key)
            model, now, confirmed_at = self.model.live(key), self.model.now, self.ago(confirmed)
            new_id = self.new_id()
            record = self.run(self.store.rename(key, new_id, now=now, confirmed_at=confirmed_at))
            assert (record is None) == (model is None)
            if model is None:
                return multiple()
            self.model.end(key, "replaced")
            if confirmed_at is not None:
                model.confirmed_at = confirmed_at
            self.model.models[record.key] = model
            self.model.successors[key] = record.key
            assert record.key == SessionKey(key.user_id, new_id)
            assert model.matches(record)
            self.made.append(record.key)
            again = self.store.rename(key, new_id, now=now, confirmed_at=confirmed_at)
            assert self.run(again) == record
            return record.key

        @rule(key=sessions)
        def successor(self, key: SessionKey) -> None:
            found = self.run(self.store.successor(key, now=self.model.now))
            assert found == self.model.successor(key)

        @rule(
            key=sessions,
            shown=st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, -1]), min_size=1, max_size=4),
            grace=st.sampled_from([0, 1, 10]),
        )
        def rotate(self, key: SessionKey, shown: Any, grace: Any) -> None:
            """Show tokens, each the current one or so many generations older."""
            key = self.model.mostly_live(key)
            for back in shown:
                model = self.model.live(key)
                generation = model.generation - back if model else 0
                call = self.store.rotate(key, generation, now=self.model.now, grace=grace)
                outcome, record = self.run(call)
                assert outcome == self.model.rotate(key, generation, grace)
                assert (record is None) == (outcome in {"gone", "reused"})
                assert record is None or self.model.models[key].matches(record)

        @rule(key=sessions, reason=st.sampled_from(["logout", "undone"]))
        def delete(self, key: SessionKey, reason: Any) -> None:
            ended = self.run(self.store.delete(key, now=self.model.now, reason=reason))
            latest = self.model.latest(key)
            assert ended == (latest.session_id if self.model.live(latest) else None)
            if ended:
                self.model.end(latest, reason)

        @rule(key=sessions, keep=st.booleans())
        def delete_user(self, key: SessionKey, keep: Any) -> None:
            now, kept = self.model.now, key.session_id if keep else None
            call = self.store.delete_user(key.user_id, now=now, keep=kept, reason="revoked")
            ended = self.run(call)
            spared = self.model.latest(key) if keep else None
            expected = [k for k in self.model.of_user(key.user_id) if k != spared]
            assert sorted(ended) == sorted(k.session_id for k in expected)
            for each in expected:
                self.model.end(each, "revoked")
            self.model.revoked[key.user_id] = now

        @rule(budget=st.sampled_from([1, 2, 100]))
        def sweep(self, budget: Any) -> None:
            self.run(self.store.sweep(now=self.model.now, budget=budget))

        @invariant()
        def the_same_sessions_live(self) -> None:
            if not hasattr(self, "loop"):
                return
            now = self.model.now
            living = {key for key in self.model.models if self.model.live(key)}
            assert self.run(self.store.count(now=now)) == len(living)
            for user in some.USERS:
                listed = self.run(self.store.list_user(user, now=now))
                assert [info.session_id for info in listed] == [
                    key.session_id for key in self.model.of_user(user)
                ]

        @invariant()
        def every_end_has_its_reason(self) -> None:
            """Of every session that was ever made."""
            if not hasattr(self, "loop"):
                return

            async def reasons() -> Any:
                calls = (self.store.end_reason(key, now=self.model.now) for key in self.made)
                return await asyncio.gather(*calls)

            assert self.run(reasons()) == [self.model.reason(key) for key in self.made]

    return Comparison


class Programs(Trial):
    """Random programs, compared with a model."""

    def test_a_store_does_what_the_model_does(self, new_store: Any, programs: Any) -> None:
        """Whatever the order of calls and the passing of time."""
        run_state_machine_as_test(
            machine_for(new_store),
            settings=settings(max_examples=programs, stateful_step_count=40, deadline=None),
        )
