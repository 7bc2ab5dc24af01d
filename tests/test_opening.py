"""What was opened lately is seen at a glance, as long as that is what the store would say."""

import asyncio

import pytest
from starlette.testclient import TestClient

from fastapi_memsession import (
    CurrentSession,
    HeaderCarrier,
    InvalidToken,
    MemoryStore,
    SessionEnded,
)
from fastapi_memsession.stores.base import DeleteValue, SetValue
from tests.conftest import START


class Counting(MemoryStore):
    """A store in memory that counts how often it is asked for a record."""

    def __init__(self):
        super().__init__()
        self.loads = 0

    async def load(self, *arguments, **options):
        self.loads += 1
        return await super().load(*arguments, **options)

    version = MemoryStore.version


@pytest.fixture
def store():
    return Counting()


@pytest.fixture
def make_provider(make_app, store):
    def make(**values):
        return make_app(store=store, **values).state.sessions

    return make


@pytest.fixture
def provider(make_provider):
    return make_provider()


@pytest.fixture
async def token(provider):
    """A token that opened its session before."""
    login = await provider.login("anna", claims={"role": "editor"}, data={"n": 1})
    await provider.open(login.tokens.access)
    return login.tokens.access


async def test_the_store_is_not_asked_again(provider, store, token):
    """And the session is all that it was."""
    opened, loads = await provider.open(token), store.loads
    at_hand = provider.at_hand(token)
    assert store.loads == loads
    assert at_hand is not opened
    assert at_hand.record == opened.record
    assert at_hand.claims == opened.claims
    assert await at_hand.get("n") == 1


async def test_each_request_has_a_session_of_its_own(provider, token):
    """What one wrote, the next one sees; what one sees does not change under it."""
    one, other = provider.at_hand(token), provider.at_hand(token)
    await one.set("n", 2)
    assert (await one.get("n"), await other.get("n")) == (2, 1)
    assert provider.at_hand(token) is None
    assert await (await provider.open(token)).get("n") == 2


@pytest.mark.parametrize(
    "end",
    [
        lambda provider, key: provider.end(key, reason="logout"),
        lambda provider, key: provider.revoke(key.session_id, user_id=key.user_id),
        lambda provider, key: provider.revoke_user("anna"),
        lambda provider, key: provider.store.rename(key, "n" * 43, now=START),
    ],
    ids=["logout", "revoke", "revoke_user", "rename"],
)
async def test_what_has_ended_is_not_at_hand(provider, token, end):
    """Whoever ended it, from that moment on."""
    await end(provider, provider.at_hand(token).record.key)
    assert provider.at_hand(token) is None
    with pytest.raises(SessionEnded):
        await provider.open(token)


async def test_a_token_that_says_something_else_is_not_at_hand(provider, token):
    """Its client is to be told the claims that the session has now, each time until it knows."""
    await provider.update_claims("anna", role="viewer")
    for _ in range(2):
        assert provider.at_hand(token) is None
        session = await provider.open(token)
        assert (session.untold, session.claims.data) == (True, {"role": "viewer"})


@pytest.mark.parametrize(
    ("values", "times"),
    [
        ({"renew_interval": 60}, (0, 0, 60)),
        ({"renew_interval": 90, "expiration": 100}, (0, 0, 50)),
        ({"refresh": True, "access_expiration": 60, "renew_interval": 600}, (0, 0, 60)),
        # Its token says whole seconds, rounded up.
        ({"renew_interval": 80, "expiration": 90, "max_lifetime": 100}, (0.25, 60, 100.25)),
    ],
    ids=["a use to be written down", "of a short session", "the token's life", "the session's"],
)
async def test_time_that_has_run_out_is_seen(make_provider, clock, values, times):
    """At hand until a moment before, and not at that moment."""
    began, used, over = times
    provider, clock.now = make_provider(**values), START + began
    token = (await provider.login("anna")).tokens.access
    clock.now = START + used
    for _ in range(2):
        await provider.open(token)
    for later, found in ((over - 0.01, True), (over, False)):
        clock.now = START + later
        assert (provider.at_hand(token) is not None) is found


async def test_a_look_is_no_use(provider, clock, token):
    """Peeking extends nothing, and does not keep a use from being written down."""
    login = await provider.login("bert")
    clock.advance(provider.renew_seconds)
    await provider.open(login.tokens.access, renew=False)
    assert provider.at_hand(login.tokens.access) is None
    used = await provider.open(login.tokens.access)
    assert used.last_seen_at == clock()


async def test_what_is_kept_is_bounded(provider, store, token, monkeypatch):
    """By number, and by size: it is kept although its session may have ended."""
    monkeypatch.setattr("fastapi_memsession.opening._KEPT", 3)
    tokens = [(await provider.login(f"user-{number}")).tokens.access for number in range(7)]
    for each in tokens:
        await provider.open(each)
        assert provider.at_hand(each)
    assert sum(provider.at_hand(each) is not None for each in tokens) <= 3

    key = (await provider.open(token)).record.key
    for much in ({"large": b"1" * 3000}, {str(number): b"1" for number in range(100)}):
        changes = [SetValue(name, value) for name, value in much.items()]
        await store.change(key, changes, now=START, max_bytes=9999)
        await provider.open(token)
        assert provider.at_hand(token) is None
        changes = [DeleteValue(name) for name in much]
        await store.change(key, changes, now=START, max_bytes=9999)


async def test_a_record_that_was_written_while_it_was_loaded_is_not_kept(provider, store, token):
    """Nobody knows which of the two was read."""
    login = await provider.login("bert")
    load = store.load

    async def load_slowly(key, **options):
        record = await load(key, **options)
        await store.change(key, [SetValue("n", b"2")], now=START, max_bytes=999)
        return record

    store.load = load_slowly
    await provider.open(login.tokens.access)
    store.load = load
    assert provider.at_hand(login.tokens.access) is None
    assert await (await provider.open(login.tokens.access)).get("n") == 2


async def test_a_store_that_looks_at_more_is_asked_each_time(make_app):
    """Whoever writes a `load` of their own says by it who may come in."""

    class Suspending(MemoryStore):
        suspended = False

        async def load(self, *arguments, **options):
            return None if self.suspended else await super().load(*arguments, **options)

    store = Suspending()
    provider = make_app(store=store).state.sessions
    token = (await provider.login("anna")).tokens.access
    await provider.open(token)
    assert provider.at_hand(token) is None
    store.suspended = True
    with pytest.raises(SessionEnded):
        await provider.open(token)


async def test_what_other_keys_verified_is_not_at_hand(provider, make_app, token):
    """A token is read by the codec that there is now."""
    other = make_app(jwt_key="another key of more than thirty-two bytes").state.sessions
    provider.tokens = other.tokens
    assert provider.at_hand(token) is None
    with pytest.raises(InvalidToken):
        await provider.open(token)


@pytest.mark.parametrize("tells", [True, False])
def test_a_request_reads_its_header_once(make_app, tells):
    """Where the store can tell without being asked, and where it never can."""

    class Carrier(HeaderCarrier):
        reads = 0

        def extract(self, connection):
            self.reads += 1
            return super().extract(connection)

    class Asked(MemoryStore):
        def version(self, key, now):
            return None

    carrier = Carrier()
    app = make_app(store=None if tells else Asked(), carrier_object=carrier)

    @app.get("/user")
    async def user(session: CurrentSession):
        return session.user_id

    token = asyncio.run(app.state.sessions.login("anna")).tokens.access
    client = TestClient(app, headers={"Authorization": f"Bearer {token}"})
    assert client.get("/user").json() == "anna"
    carrier.reads = 0
    assert client.get("/user").json() == "anna"
    assert carrier.reads == 1
