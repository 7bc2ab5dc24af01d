"""What the trials of a store need: a store, a clock that is moved by hand, and an event loop.

Each trial is async, and runs on a loop of its own, so that no plugin for async tests is needed and
none gets in the way. Knows the contract, no store.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from fastapi_memsession import SessionKey, SessionRecord, SessionStore
from fastapi_memsession.records import new_session_id

ODD_TEXTS = ["", " ", "a b", "\r\nSet-Cookie: x=1", "\0", "}x", "{a}", "a:b", "ü", "u\u0308", "🦊"]
ODD_TEXTS += ["x" * 10_000, "%7B", "=", "#" + "0" * 64]

_START = 1_764_000_000.0


class TrialClock:
    """Seconds since the epoch, as often as it is told."""

    def __init__(self) -> None:
        self.now = _START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on; back, if they are negative."""
        self.now += seconds


class Trial:
    """The fixtures of all trials. Async tests of a subclass become tests that pytest can run."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, member in list(vars(cls).items()):
            if name.startswith("test_") and inspect.iscoroutinefunction(member):
                setattr(cls, name, _driven(member))

    @pytest.fixture
    def new_store(self) -> Callable[[], SessionStore]:
        """Make empty stores. For you to write."""
        pytest.fail(
            f"{type(self).__name__} needs a fixture `new_store` that returns a function: each "
            "call of it returns a new, empty store, not opened yet."
        )

    @pytest.fixture
    def programs(self) -> int:
        """Tell how many random programs are worth their time. For you to change."""
        return 50

    @pytest.fixture
    def runner(self) -> Iterator[asyncio.Runner]:
        """Give the event loop of one trial."""
        with asyncio.Runner() as runner:
            yield runner

    @pytest.fixture
    def store(
        self, new_store: Callable[[], SessionStore], runner: asyncio.Runner
    ) -> Iterator[SessionStore]:
        """Give an empty store that is open."""
        store = new_store()
        runner.run(store.open())
        yield store
        runner.run(store.aclose())

    @pytest.fixture
    def clock(self) -> TrialClock:
        """Give the time of one trial."""
        return TrialClock()

    @pytest.fixture
    def record(self, clock: TrialClock) -> Callable[..., SessionRecord]:
        """Make a record as a login would: see `new_record`."""
        return functools.partial(new_record, clock)

    @pytest.fixture
    def kept(
        self,
        runner: asyncio.Runner,
        store: SessionStore,
        record: Callable[..., SessionRecord],
        clock: TrialClock,
    ) -> SessionRecord:
        """Give a live record that is in the store."""
        made = record(data={"b": b"1", "a": b'"x"'})
        runner.run(create(store, made, clock))
        return made


def new_record(clock: Callable[[], float], user_id: str = "anna", **values: Any) -> SessionRecord:
    """Make a record as a login would: idle for 100 s at most, 1000 s old at most."""
    now = clock()
    made = SessionRecord(
        user_id=user_id,
        session_id=new_session_id(),
        claims={"role": "admin"},
        data={},
        created_at=now,
        last_seen_at=now,
        expires_at=now + 100,
        deadline=now + 1000,
        expiration=100.0,
    )
    return made._replace(**values)


async def create(
    store: SessionStore,
    record: SessionRecord,
    clock: TrialClock,
    limit: int | None = None,
    **more: Any,
) -> list[str]:
    """Keep a new record, now."""
    return await store.create(record, now=clock(), limit_per_user=limit, **more)


async def load(
    store: SessionStore,
    key: SessionKey,
    clock: TrialClock,
    renew: float | None = None,
    **more: Any,
) -> Any:
    """Load a record, now."""
    return await store.load(key, now=clock(), renew_interval=renew, **more)


def _driven(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test that runs an async one on the trial's loop."""

    @functools.wraps(test)
    def drive(self: Trial, runner: asyncio.Runner, **given: Any) -> None:
        runner.run(test(self, **given))

    own = inspect.signature(test)
    runner = inspect.Parameter("runner", inspect.Parameter.KEYWORD_ONLY)
    parameters = [*own.parameters.values(), runner]
    # What pytest reads, to see which fixtures are asked for.
    drive.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    del drive.__wrapped__
    return drive
