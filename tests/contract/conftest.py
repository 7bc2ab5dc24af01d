"""The stores that the contract is tested on. Add a store here and the whole suite runs on it."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from fastapi_memsession import MemoryStore, SessionRecord, SessionStore
from fastapi_memsession.tokens import new_session_id

STORES: dict[str, Callable[[], SessionStore]] = {"memory": MemoryStore}


@pytest.fixture(params=STORES)
def new_store(request) -> Callable[[], SessionStore]:
    """Make an empty store of one kind."""
    return STORES[request.param]


@pytest.fixture
async def store(new_store) -> AsyncIterator[SessionStore]:
    store = new_store()
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def record(clock) -> Callable[..., SessionRecord]:
    """Make a record as a login would: idle for 100 s at most, 1000 s old at most."""

    def make(user_id: str = "anna", **values) -> SessionRecord:
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
        return replace(made, **values)

    return make
