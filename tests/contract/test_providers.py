"""What a provider makes of a store must be the same on every one."""

from enum import Enum, IntEnum, StrEnum

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from fastapi_memsession import SessionUsageError, setup_sessions, typed_session
from tests.conftest import START, settings


class Key(StrEnum):
    THEME = "theme"
    VISITS = "visits"
    OTHER = "other"


class OldKey(str, Enum):  # noqa: UP042 - is formatted as its name
    THEME = "theme"
    VISITS = "visits"
    OTHER = "other"


class Extra(BaseModel):
    model_config = {"extra": "allow"}


class Seconds(IntEnum):
    HOUR = 3600


@pytest.mark.parametrize("Key", [Key, OldKey])
async def test_a_key_may_be_of_an_enum(store, make_app, Key):  # noqa: N803
    """Every verb takes a subclass of str, and means the text that it is."""
    provider = make_app(store=store).state.sessions
    login = await provider.login("anna", data={Key.THEME: "dark"})
    session = await provider.open(login.tokens.access)
    for each in (login.session, session):
        assert await each.get(Key.THEME) == await each.get("theme") == "dark"
    await session.set(Key.THEME, "light")
    assert await session.get(Key.THEME) == await session.get("theme") == "light"
    assert await session.incr(Key.VISITS) == await session.get(Key.VISITS) == 1
    assert await session.setdefault(Key.OTHER, 3) == await session.get(Key.OTHER) == 3
    assert await session.compare_and_set(Key.OTHER, 3, 4)
    await session.update({Key.VISITS: 5})
    again = await provider.open(login.tokens.access)
    for each in (session, again):
        assert await each.all() == {"other": 4, "theme": "light", "visits": 5}
        assert [await each.get(key) for key in Key] == ["light", 5, 4]
    assert await session.pop(Key.VISITS) == 5
    await session.delete(Key.OTHER)
    assert await session.all() == {"theme": "light"}


@pytest.mark.parametrize("Key", [Key, OldKey])
async def test_who_logs_in_and_claims_may_be_of_an_enum(store, make_app, Key):  # noqa: N803
    """They are the text that they are, also where they are formatted."""
    provider = make_app(store=store).state.sessions
    login = await provider.login(Key.OTHER, claims={Key.THEME: Key.VISITS})
    session = await provider.open(login.tokens.access)
    for each in (login.session, session):
        assert f"{each.user_id} {each.claims.data}" == "other {'theme': 'visits'}"
    await session.update_claims(theme=Key.OTHER)
    assert f"{session.claims.data}" == "{'theme': 'other'}"


@pytest.mark.parametrize("name", ["expiration", "max_lifetime"])
async def test_a_time_may_be_of_an_enum_and_is_no_truth(store, make_app, name):
    """A number of seconds is what it is, whatever it is called; True is none."""
    provider = make_app(store=store).state.sessions
    login = await provider.login("anna", **{name: Seconds.HOUR})
    assert 0 < (await provider.open(login.tokens.access)).expires_in <= Seconds.HOUR
    with pytest.raises(SessionUsageError, match=f"{name} must be"):
        await provider.login("anna", **{name: True})


async def test_claims_come_in_the_same_order_from_every_store(store, make_app):
    """By name, at login and in every later request, also after an update."""
    provider = make_app(store=store).state.sessions
    login = await provider.login("anna", claims={"b": "1", "ü": "2", "a": "3"})
    opened = await provider.open(login.tokens.access)
    assert list(login.session.claims.data) == list(opened.claims.data) == ["a", "b", "ü"]
    await opened.update_claims(c="4", B="5", a=None)
    again = await provider.open(login.tokens.access)
    assert list(opened.claims.data) == list(again.claims.data) == ["B", "b", "c", "ü"]


async def test_times_are_floats_whatever_the_clock_tells(store):
    """At login and in every later request."""
    provider = setup_sessions(FastAPI(), settings(), store=store, clock=lambda: int(START))
    login = await provider.login("anna")
    session = await provider.open(login.tokens.access)
    (info,) = await provider.list_sessions("anna")
    for each in (login.session, session, info):
        times = each.created_at, each.last_seen_at, each.expires_at
        assert {type(time) for time in times} == {float}
    assert type(login.session.confirmed_at) is type(session.confirmed_at) is float


async def test_fields_that_a_model_does_not_name_come_in_the_same_order(store, make_app):
    """By name, as in `all()`, whichever order they were stored in."""
    provider = make_app(store=store).state.sessions
    login = await provider.login("anna", data={"z": 1, "y": "x" * 70, "b": 2, "a": 3, "m": 4})
    for session in (login.session, await provider.open(login.tokens.access)):
        data = await typed_session(session, Extra).data()
        assert list(data.model_dump()) == ["a", "b", "m", "y", "z"]


async def test_an_id_that_cannot_be_ends_and_keeps_nothing(store, make_app):
    """Whoever revokes by what a client has sent need not look at it first."""
    provider = make_app(store=store).state.sessions
    login = await provider.login("anna")
    assert not await provider.revoke("\ud800", user_id="anna")
    assert await provider.revoke_user("anna", keep="\ud800") == [login.session.id]
