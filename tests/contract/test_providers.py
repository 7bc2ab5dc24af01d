"""What a provider makes of a store must be the same on every one."""


async def test_claims_come_in_the_same_order_from_every_store(store, make_app):
    """By name, at login and in every later request, also after an update."""
    provider = make_app(store=store).state.sessions
    login = await provider.login("anna", claims={"b": "1", "ü": "2", "a": "3"})
    opened = await provider.open(login.tokens.access)
    assert list(login.session.claims.data) == list(opened.claims.data) == ["a", "b", "ü"]
    await opened.update_claims(c="4", B="5", a=None)
    again = await provider.open(login.tokens.access)
    assert list(opened.claims.data) == list(again.claims.data) == ["B", "b", "c", "ü"]
