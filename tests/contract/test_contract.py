"""The contract of a store, on every kind of store that there is."""

import pytest

from fastapi_memsession.testing.contract import SessionStoreContract
from tests.contract.conftest import maker_of


class TestEveryStore(SessionStoreContract):
    """The suite that ships with the package."""

    @pytest.fixture
    def new_store(self, kind, request):
        return maker_of(kind, request)

    @pytest.fixture
    def programs(self, kind):
        return kind.programs
