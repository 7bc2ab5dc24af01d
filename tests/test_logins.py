"""What a login is told, and what a provider makes of it."""

import asyncio
from enum import StrEnum

import pytest
from fastapi import Request

from fastapi_memsession import MemoryStore, SessionDataError, StoreUnavailable, login_session
from tests.applications import client_of
from tests.conftest import START
from tests.test_tokens import DAY


def test_a_login_takes_all_that_it_is_told(make_app, clock):
    """The times of login_session reach the session, and its cookie, rounded up."""
    app = make_app(carrier="cookie")
    sessions = []

    @app.post("/")
    async def login(request: Request):
        sessions.append(await login_session(request, "anna", expiration=5, max_lifetime=60.5))

    response = client_of(app).post("/")
    assert (sessions[0].expires_at, sessions[0].claims.expires_at) == (clock() + 5, clock() + 61)
    assert "Max-Age=61;" in response.headers["set-cookie"]


def test_the_users_limit_of_the_settings_holds(make_app):
    """A login past it ends the oldest session, in whatever request that was begun."""
    provider = make_app(max_sessions_per_user=2).state.sessions
    for _ in range(3):
        asyncio.run(provider.login("anna"))
    assert asyncio.run(provider.count()) == 2


class Staff(StrEnum):
    """Users that a program names."""

    ANNA = "anna"
    NOBODY = ""


async def test_a_user_id_may_be_of_an_enum(provider):
    """It is the text that it is; and an empty one is as wrong as any."""
    login = await provider.login(Staff.ANNA)
    assert (await provider.open(login.tokens.access)).user_id == "anna"
    for wrong in (Staff.NOBODY, "", None, 7):
        with pytest.raises(SessionDataError, match="user_id"):
            await provider.login(wrong)
    assert await provider.count() == 1


async def test_claims_are_what_they_were_at_login(provider):
    """Neither the caller's dict nor what an endpoint does to its copy changes them."""
    given = {"role": "user"}
    login = await provider.login("anna", claims=given)
    given["role"] = "admin"
    login.session.claims.data["role"] = "admin"
    await login.session.reload()
    assert login.session.claims.data == {"role": "user"}
    login.session.claims.data["role"] = "admin"
    await login.session.reload()
    assert login.session.claims.data == {"role": "user"}


@pytest.mark.parametrize("names", [("level",), ("level", "age")])
async def test_claims_are_what_their_mapping_says(provider, names):
    """A dict may say something else than it holds."""

    class Told(dict):
        def items(self):
            return [(name, str(value)) for name, value in super().items()]

    login = await provider.login("anna", claims=Told(dict.fromkeys(names, 3)))
    session = await provider.open(login.tokens.access)
    assert session.claims.data == dict.fromkeys(names, "3")


async def test_a_login_and_its_token_tell_the_same_times(provider, clock):
    """Also in the middle of a second."""
    clock.advance(0.7)
    login = await provider.login("anna")
    token = login.headers["authorization"].removeprefix("Bearer ")
    assert (await provider.open(token)).claims == login.session.claims


async def test_a_login_may_live_as_long_as_any(provider):
    """The bound itself is inside."""
    login = await provider.login("anna", expiration=30 * DAY, max_lifetime=30 * DAY)
    assert login.session.expires_at == START + 30 * DAY


async def test_no_secret_in_the_repr_of_a_login_or_a_record(provider):
    """Neither token nor id, claims or data: reprs end up in logs."""
    login = await provider.login("anna", claims={"plan": "gold"}, data={"secret": "s3cret"})
    await login.session.reload()
    token = login.headers["authorization"].removeprefix("Bearer ")
    for told in (repr(login), repr(login.session.record), repr(login.session)):
        for secret in (token, login.session.id, "gold", "s3cret"):
            assert secret not in told


async def test_a_destroy_that_fails_can_be_repeated(make_app):
    """The session lives on and says so: nobody is told that he is logged out."""

    class Failing(MemoryStore):
        failures = 1

        async def delete(self, *args, **options):
            if self.failures:
                self.failures -= 1
                raise StoreUnavailable("no answer")
            return await super().delete(*args, **options)

    provider = make_app(store=Failing()).state.sessions
    session = (await provider.login("anna")).session
    with pytest.raises(StoreUnavailable):
        await session.destroy()
    assert not session.destroyed
    assert await provider.count() == 1
    await session.destroy()
    assert session.destroyed
    assert await provider.count() == 0


async def test_others_run_while_the_provider_sweeps(provider, clock):
    """It works in chunks, however much has died."""
    for _ in range(2000):
        await provider.login("anna", expiration=5)
    clock.advance(5)
    sweep, turns = asyncio.create_task(provider.sweep()), 0
    while not sweep.done():
        turns += 1
        await asyncio.sleep(0)
    assert sweep.result() == 2000
    assert turns > 3
