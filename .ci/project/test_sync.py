"""Tests that need no plugin but ours."""

import anyio
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient
from shop import app

from fastapi_memsession.testing import LoginAs, SessionClock


def test_the_cart(client: TestClient, login_as: LoginAs, session_clock: SessionClock) -> None:
    """It is the session's, and ends with it."""
    assert client.get("/cart").status_code == 401
    session = login_as(client, "anna", claims={"role": "customer"}, data={"cart": ["tea"]})
    assert session.claims.data == {"role": "customer"}
    assert client.get("/cart").json() == ["anna: tea"]
    session_clock.advance(86_400)
    assert client.get("/cart").status_code == 401


def test_an_async_client(login_as: LoginAs) -> None:
    """On a loop of the test's own."""

    async def test() -> None:
        async with AsyncClient(
            transport=ASGITransport(app), base_url="http://testserver"
        ) as client:
            session = await login_as(client, "bert", data={"cart": ["milk"]})
            assert await session.get("cart") == ["milk"]
            assert (await client.get("/cart")).json() == ["bert: milk"]

    anyio.run(test)
