"""What a provider makes of a store must be the same on every one."""

from enum import StrEnum


class Key(StrEnum):
    THEME = "theme"
    VISITS = "visits"
    OTHER = "other"


async def test_a_key_may_be_of_an_enum(store, make_app):
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


async def test_claims_come_in_the_same_order_from_every_store(store, make_app):
    """By name, at login and in every later request, also after an update."""
    provider = make_app(store=store).state.sessions
    login = await provider.login("anna", claims={"b": "1", "ü": "2", "a": "3"})
    opened = await provider.open(login.tokens.access)
    assert list(login.session.claims.data) == list(opened.claims.data) == ["a", "b", "ü"]
    await opened.update_claims(c="4", B="5", a=None)
    again = await provider.open(login.tokens.access)
    assert list(opened.claims.data) == list(again.claims.data) == ["B", "b", "c", "ü"]
