"""A store of the user's own, by the contract that ships with the package."""

from collections.abc import Callable

import pytest

from fastapi_memsession import MemoryStore, SessionStore
from fastapi_memsession.testing.contract import SessionStoreContract


class OwnStore(MemoryStore):
    """Keeps what the memory store keeps."""


class TestOwnStore(SessionStoreContract):
    """All of the contract."""

    @pytest.fixture
    def new_store(self) -> Callable[[], SessionStore]:
        """Make an empty store."""
        return OwnStore

    @pytest.fixture
    def programs(self) -> int:
        """Spend little time on random programs."""
        return 5
