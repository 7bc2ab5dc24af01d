"""What was opened lately is seen at a glance, as long as that is what the store would say."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

from fastapi_memsession import (
    CompositeCarrier,
    CookieCarrier,
    CurrentSession,
    HeaderCarrier,
    InvalidToken,
    MemoryStore,
    SessionEnded,
)
from fastapi_memsession.shown import shown_by
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
        return make_app(**{"store": store, **values}).state.sessions

    return make


@pytest.fixture
def provider(make_provider):
    return make_provider()


def scope(token, *headers):
    return {"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode()), *headers]}


def at_hand(provider, token):
    """Return the session of a client that shows its token as before; None says nothing."""
    return provider.at_hand(scope(token))


async def opened(provider, token, **options):
    return await provider.open(token, scope=scope(token), **options)


@pytest.fixture
async def token(provider):
    """A token that opened its session before."""
    login = await provider.login("anna", claims={"role": "editor"}, data={"n": 1})
    await opened(provider, login.tokens.access)
    return login.tokens.access


async def test_the_store_is_not_asked_again(provider, store, token):
    """And the session is all that it was."""
    before, loads = await opened(provider, token), store.loads
    found = at_hand(provider, token)
    assert store.loads == loads
    assert found is not before
    assert found.record == before.record
    assert found.claims == before.claims
    assert await found.get("n") == 1


async def test_each_request_has_a_session_of_its_own(provider, token):
    """What one wrote, the next one sees; what one sees does not change under it."""
    one, other = at_hand(provider, token), at_hand(provider, token)
    await one.set("n", 2)
    assert (await one.get("n"), await other.get("n")) == (2, 1)
    assert at_hand(provider, token) is None
    assert await (await opened(provider, token)).get("n") == 2


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
    await end(provider, at_hand(provider, token).record.key)
    assert at_hand(provider, token) is None
    with pytest.raises(SessionEnded):
        await opened(provider, token)


async def test_a_token_that_says_something_else_is_not_at_hand(provider, token):
    """Its client is to be told the claims that the session has now, each time until it knows."""
    await provider.update_claims("anna", role="viewer")
    for _ in range(2):
        assert at_hand(provider, token) is None
        session = await opened(provider, token)
        assert (session.needs_token, session.claims.data) == (True, {"role": "viewer"})


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
        await opened(provider, token)
    for later, found in ((over - 0.01, True), (over, False)):
        clock.now = START + later
        assert (at_hand(provider, token) is not None) is found


async def test_a_look_is_no_use(provider, clock, token):
    """Peeking extends nothing, and does not keep a use from being written down."""
    login = await provider.login("bert")
    clock.advance(provider.renew_seconds)
    await opened(provider, login.tokens.access, renew=False)
    assert at_hand(provider, login.tokens.access) is None
    used = await opened(provider, login.tokens.access)
    assert used.last_seen_at == clock()


async def test_what_is_kept_is_bounded(provider, store, token, monkeypatch):
    """By number, and by size: it is kept although its session may have ended."""
    monkeypatch.setattr("fastapi_memsession.opening._KEPT", 3)
    tokens = [(await provider.login(f"user-{number}")).tokens.access for number in range(7)]
    for each in tokens:
        await opened(provider, each)
        assert at_hand(provider, each)
    assert sum(at_hand(provider, each) is not None for each in tokens) <= 3

    key = (await opened(provider, token)).record.key
    for much in ({"large": b"1" * 3000}, {str(number): b"1" for number in range(100)}):
        changes = [SetValue(name, value) for name, value in much.items()]
        await store.change(key, changes, now=START, max_bytes=9999)
        await opened(provider, token)
        assert at_hand(provider, token) is None
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
    await opened(provider, login.tokens.access)
    store.load = load
    assert at_hand(provider, login.tokens.access) is None
    assert await (await opened(provider, login.tokens.access)).get("n") == 2


async def test_a_store_that_looks_at_more_is_asked_each_time(make_app):
    """Whoever writes a `load` of their own says by it who may come in."""

    class Suspending(MemoryStore):
        suspended = False

        async def load(self, *arguments, **options):
            return None if self.suspended else await super().load(*arguments, **options)

    store = Suspending()
    provider = make_app(store=store).state.sessions
    token = (await provider.login("anna")).tokens.access
    await opened(provider, token)
    assert at_hand(provider, token) is None
    store.suspended = True
    with pytest.raises(SessionEnded):
        await opened(provider, token)


async def test_what_other_keys_verified_is_not_at_hand(provider, make_app, token):
    """A token is read by the codec that there is now."""
    other = make_app(jwt_key="another key of more than thirty-two bytes").state.sessions
    provider.tokens = other.tokens
    assert at_hand(provider, token) is None
    with pytest.raises(InvalidToken):
        await opened(provider, token)


def serving(make_app, **options):
    """Make an application whose endpoint tells who comes; log somebody in; return both."""
    app = make_app(**options)

    @app.api_route("/user", methods=["GET", "POST"])
    async def user(session: CurrentSession):
        return session.user_id

    return TestClient(app), asyncio.run(app.state.sessions.login("anna")).tokens.access


def test_a_carrier_that_may_look_at_more_is_asked_each_time(make_app):
    """Once for each request: whoever writes an `extract` says by it who may come in."""

    class Carrier(HeaderCarrier):
        reads = 0

        def extract(self, connection):
            self.reads += 1
            return None if "X-Stolen" in connection.headers else super().extract(connection)

    carrier = Carrier()
    client, token = serving(make_app, carrier_object=carrier)
    client.headers["Authorization"] = f"Bearer {token}"
    for reads in (1, 2):
        assert client.get("/user").json() == "anna"
        assert carrier.reads == reads
    assert client.get("/user", headers={"X-Stolen": "yes"}).status_code == 401


@pytest.mark.parametrize("carrier", ["header", "cookie", "header,cookie"])
def test_a_client_is_known_by_the_header_that_brings_its_token(make_app, store, carrier):
    """Whichever that is; and by no other, although it says the same."""
    client, token = serving(make_app, store=store, carrier=carrier)
    headers = {}
    headers["header"] = headers["header,cookie"] = {"Authorization": token}
    headers["cookie"] = {"Cookie": f"session_token={token}"}
    for loads in (1, 1):
        assert client.get("/user", headers=headers[carrier]).json() == "anna"
        assert store.loads == loads
    assert client.get("/user", headers={"Cookie": token}).status_code == 401
    assert client.get("/user", headers={"X-Token": token}).status_code == 401


def test_two_headers_are_read_each_time(make_app, store):
    """Together they may say something else than each of them."""
    client, token = serving(make_app, store=store, carrier="header,cookie")
    header, other = {"Authorization": token}, asyncio.run(another(client)).tokens.access
    assert client.get("/user", headers=header).json() == "anna"
    client.cookies.set("session_token", other)
    assert client.get("/user", headers=header).status_code == 400
    client.cookies.set("session_token", token)
    assert client.get("/user", headers=header).json() == "anna"
    again = [("Authorization", f"Bearer {other}"), ("Authorization", f"Bearer {token}")]
    assert client.get("/user", headers=again).status_code == 400


async def another(client):
    return await client.app.state.sessions.login("bert")


def test_a_known_cookie_is_no_leave_for_other_origins(make_app):
    """Its page is refused as if nobody had come before."""
    client, token = serving(make_app, carrier="header,cookie")
    cookie, theirs = {"Cookie": f"session_token={token}"}, {"Origin": "https://evil.example"}
    for _ in range(2):
        assert client.post("/user", headers=cookie).json() == "anna"
        assert client.post("/user", headers=cookie | theirs).status_code == 403
    for _ in range(2):  # no such page can send that by itself
        header = {"Authorization": f"Bearer {token}"}
        assert client.post("/user", headers=header | theirs).json() == "anna"


def test_cookies_of_others_may_change(make_app, store):
    """The client is known by ours."""
    client, token = serving(make_app, store=store, carrier="cookie")
    for other in ("", "seen=1; ", "seen=2; "):
        headers = {"Cookie": f"{other}session_token={token}; last=3"}
        assert client.get("/user", headers=headers).json() == "anna"
    assert store.loads == 1


async def test_what_was_shown_is_what_was_there_before_the_store_was_asked(make_provider):
    """Whatever becomes of a scope meanwhile: nobody is taken for another."""

    class Exchanging(MemoryStore):
        async def load(self, *arguments, **options):
            shown["headers"] = scope("another")["headers"]
            return await super().load(*arguments, **options)

        version = MemoryStore.version

    provider = make_provider(store=Exchanging())
    login = await provider.login("anna")
    shown = scope(login.tokens.access)
    await provider.open(login.tokens.access, scope=shown)
    assert at_hand(provider, "another") is None
    assert at_hand(provider, login.tokens.access)


async def test_a_handshake_may_say_more_than_its_headers(provider, token):
    """A token among its subprotocols."""
    handshake = scope(token) | {"type": "websocket"}
    assert provider.shown(scope(token)) is not None
    assert provider.shown(handshake) is None


NAMES = [b"session_token", b"xsession_token", b"session_token ", b"Session_Token", b"a", b""]
COOKIES = st.builds(
    lambda name, sign, value, gap: name + sign + value + gap,
    st.sampled_from(NAMES),
    st.sampled_from([b"=", b"", b" = "]),
    st.sampled_from([b"one", b"two", b"", b"session_token=one"]),
    st.sampled_from([b"; ", b";", b" ;\t", b", "]),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"cookie", b"authorization", b"x-token"]),
        st.lists(COOKIES, max_size=3).map(b"".join)
        | st.sampled_from(
            [b"Bearer one", b"one", b"Basic one", b"bearer  one", b"session_token=one"]
        ),
    ),
    max_size=3,
)
BOTH = CompositeCarrier(HeaderCarrier(), CookieCarrier(), HeaderCarrier("X-Token"))


@pytest.mark.parametrize(
    "carrier",
    [HeaderCarrier(), CookieCarrier(), BOTH, CompositeCarrier(BOTH, HeaderCarrier("X-Other"))],
    ids=["header", "cookie", "several", "nested"],
)
def test_the_same_bytes_bring_the_same_credential(carrier):
    """Whatever else a request holds; and where nothing is shown, nothing is found."""
    shown, brought = shown_by(carrier), {b"": None}

    @given(HEADERS, st.sampled_from(["http", "websocket"]))
    @settings(max_examples=1000)
    def check(headers, kind):
        scope = {"type": kind, "headers": headers, "subprotocols": ["memsession.bearer", "other"]}
        key = shown(scope)
        if key is not None:
            found = carrier.extract(HTTPConnection(scope))  # which does not fail
            assert brought.setdefault(key, found) == found

    check()
    assert len(brought) > 1


def test_whoever_may_look_at_more_is_asked():
    """At any depth of carriers; also one whose `extract` is another than it was made with."""

    class Subclass(HeaderCarrier):
        pass

    class Slotted:
        __slots__ = ()
        ambient, vary = False, ()

    patched = HeaderCarrier()
    patched.extract = lambda connection: None
    for own in (Subclass(), Slotted(), patched):
        nested = CompositeCarrier(CompositeCarrier(own), HeaderCarrier())
        for carrier in (own, nested):
            assert shown_by(carrier)(scope("token")) is None


async def test_a_long_header_is_not_kept(provider, token):
    """Nobody can fill the memory with cookies of others."""
    for length, kept in ((4096, True), (4097, False)):
        shown = {"type": "http", "headers": [(b"authorization", b"x" * length)]}
        await provider.open(token, scope=shown)
        assert (provider.at_hand(shown) is not None) is kept
