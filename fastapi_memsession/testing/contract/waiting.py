"""Whether a store waits: what it says holds, for threads rely on it."""

import threading
from contextlib import suppress
from typing import Any

from fastapi_memsession.stores.base import SetValue
from fastapi_memsession.testing.contract.trial import Trial, TrialClock


class Waiting(Trial):
    """Whether a store waits: what it says holds."""

    def test_a_store_that_never_waits_needs_no_event_loop(
        self, new_store: Any, record: Any, clock: TrialClock
    ) -> None:
        """What a session calls ends in its first step, in any thread; others say that they wait."""
        store = new_store()
        if store.waits:
            return
        kept, now = record(), clock()
        results: list[Any] = []

        def work() -> None:
            for coroutine in (
                store.create(kept, now=now, limit_per_user=None),
                store.load(kept.key, now=now, renew_interval=0),
                store.change(kept.key, [SetValue("a", b"1")], now=now, max_bytes=100),
                store.set_claims(kept.key, {}, expected=kept.claims, now=now),
                store.delete(kept.key, now=now, reason="logout"),
                store.end_reason(kept.key, now=now),
            ):
                with suppress(StopIteration):
                    results.append(coroutine.send(None))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert results == []  # none gave anything to wait for
