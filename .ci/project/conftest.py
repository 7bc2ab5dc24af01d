"""A user's fixtures."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from shop import app

from fastapi_memsession.testing import EmptySessions


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone."""
    return "asyncio"


@pytest.fixture(autouse=True)
def nobody_is_logged_in(empty_sessions: EmptySessions) -> None:
    """Start each test with no session."""
    empty_sessions(app)


@pytest.fixture
def client() -> Iterator[TestClient]:
    """Talk to the application while it runs."""
    with TestClient(app) as client:
        yield client
