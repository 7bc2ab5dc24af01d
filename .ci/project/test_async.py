"""Tests that run under whichever plugin runs async tests."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from shop import app

from fastapi_memsession.testing import LoginAs, SessionClock

fixture: Any = pytest.fixture
pytestmark: list[pytest.MarkDecorator] = []
if os.environ["MODE"] == "anyio":
    pytestmark = [pytest.mark.anyio]
elif os.environ["MODE"] == "strict":
    import pytest_asyncio

    fixture = pytest_asyncio.fixture
    pytestmark = [pytest.mark.asyncio]


@fixture
async def anna(login_as: LoginAs) -> AsyncIterator[AsyncClient]:
    """Be logged in before the test begins."""
    async with AsyncClient(transport=ASGITransport(app), base_url="http://testserver") as client:
        await login_as(client, "anna", data={"cart": ["tea"]})
        yield client


async def test_the_cart(anna: AsyncClient, session_clock: SessionClock) -> None:
    """It is the session's, and ends with it."""
    assert (await anna.get("/cart")).json() == ["anna: tea"]
    session_clock.advance(86_400)
    assert (await anna.get("/cart")).status_code == 401


async def test_another_user(anna: AsyncClient, login_as: LoginAs) -> None:
    """The client changes its user."""
    await login_as(anna, "bert")
    assert (await anna.get("/cart")).json() == []
