"""The suite itself: it finds faults, and tells whoever begins what to write."""

import pytest

BROKEN = """
import asyncio
import pytest
from fastapi_memsession import MemoryStore
from fastapi_memsession.testing.contract import SessionStoreContract


class Revives(MemoryStore):
    async def delete(self, key, *, now, reason):
        return await self.load(key, now=now, renew_interval=None) is not None


class WaitsForSuccessors(MemoryStore):
    async def successor(self, key, *, now):
        await asyncio.sleep(0)
        return await super().successor(key, now=now)


class WaitsForLogins(MemoryStore):
    async def create(self, record, **options):
        await asyncio.sleep(0)
        return await super().create(record, **options)


class TestWaitsForSuccessors(SessionStoreContract):
    @pytest.fixture
    def new_store(self):
        return WaitsForSuccessors


class TestWaitsForLogins(SessionStoreContract):
    @pytest.fixture
    def new_store(self):
        return WaitsForLogins


class TestRevives(SessionStoreContract):
    @pytest.fixture
    def new_store(self):
        return Revives


class TestNothing(SessionStoreContract):
    pass
"""


@pytest.fixture
def outcomes(pytester):
    """Run it with no plugin for async tests."""
    pytester.makepyfile(BROKEN)
    return lambda *options: pytester.inline_run("-p", "no:asyncio", "-p", "no:anyio", *options)


@pytest.mark.parametrize("name", ["delete_ends_once", "does_what_the_model_does", "logout_ends"])
def test_a_store_that_forgets_to_delete_fails(outcomes, name):
    """In the tests that are about that."""
    result = outcomes("-k", f"Revives and {name}")
    _, skipped, failed = result.listoutcomes()
    assert failed
    assert not skipped


@pytest.mark.parametrize(("store", "fails"), [("Successors", True), ("Logins", False)])
def test_a_store_that_waits_where_it_promises_not_to_fails(outcomes, store, fails):
    """And only there: what a session calls in a thread of its own."""
    result = outcomes("-k", f"WaitsFor{store} and never_waits")
    assert [len(each) for each in result.listoutcomes()] == [int(not fails), 0, int(fails)]


def test_whoever_writes_no_store_is_told_what_to_write(outcomes, pytester):
    """By name."""
    result = outcomes("-k", "Nothing and test_delete_ends_once")
    (report,) = result.getfailures()
    assert "TestNothing needs a fixture `new_store` that returns a function" in report.longreprtext
