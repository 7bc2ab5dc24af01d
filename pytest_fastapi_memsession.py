"""The pytest plugin of fastapi-memsession: a clock, a login and an empty store for tests.

Every run of pytest in an environment with the package loads this module, before coverage is
measured. So it is no part of the package, and imports of it what a test asks for, when it does.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fastapi_memsession.testing import EmptySessions, LoginAs, SessionClock

# The contract of a store explains what failed, also where the package is installed editable.
pytest.register_assert_rewrite("fastapi_memsession.testing.contract")


@pytest.fixture
def session_clock() -> Iterator["SessionClock"]:
    """Stop the time of sessions: `session_clock.advance(seconds)` moves it, `.now` tells it."""
    from fastapi_memsession.testing import SessionClock

    with SessionClock() as clock:
        yield clock


@pytest.fixture
def login_as() -> "LoginAs":
    """Log a client in: `login_as(client, "anna", claims={...}, data={...})`.

    With httpx.AsyncClient `await login_as(...)`.
    """
    from fastapi_memsession.testing import LoginAs

    return LoginAs()


@pytest.fixture
def empty_sessions() -> Iterator["EmptySessions"]:
    """Give an application an empty memory store for this test: `empty_sessions(app)`."""
    from fastapi_memsession.testing import EmptySessions

    with EmptySessions() as empty:
        yield empty
