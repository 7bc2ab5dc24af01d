"""Whether a store waits: what it says holds, for threads rely on it."""

import asyncio
from typing import Any

from fastapi_memsession import SessionRecord, SessionStore
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.base import SetValue
from fastapi_memsession.testing.contract.trial import Trial, TrialClock


class Waiting(Trial):
    """Whether a store waits: what it says holds."""

    async def test_a_store_that_never_waits_needs_no_event_loop(
        self, store: SessionStore, kept: SessionRecord, clock: TrialClock
    ) -> None:
        """What a session calls ends in its first step, in any thread; others say that they wait."""
        if store.waits:  # which promises nothing
            return
        now = clock()
        moved = await store.rename(kept.key, new_session_id(), now=now)
        assert moved is not None
        key = moved.key
        calls = {
            "load": store.load(key, now=now, renew_interval=0),
            "change": store.change(key, [SetValue("a", b"1")], now=now, max_bytes=100),
            "set_claims": store.set_claims(key, {}, expected=kept.claims, now=now),
            "successor": store.successor(kept.key, now=now),
            "end_reason": store.end_reason(kept.key, now=now),
        }
        ended: dict[str, Any] = {}

        def work() -> None:
            for name, call in calls.items():
                try:
                    call.send(None)
                except StopIteration as end:
                    ended[name] = end.value
                call.close()

        await asyncio.to_thread(work)
        assert list(ended) == list(calls)  # none gave anything to wait for
        assert (ended["successor"], ended["end_reason"]) == (moved.session_id, "replaced")
