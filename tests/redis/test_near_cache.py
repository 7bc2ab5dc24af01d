"""The near cache: what it answers from memory, and what it must not."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from fastapi_memsession import StoreUnavailable
from fastapi_memsession.stores import redis_tracking
from fastapi_memsession.stores.base import SetValue
from fastapi_memsession.stores.near import NearStore
from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import START
from tests.redis.calls import PATIENCE, TIMEOUT, add_one, delete, in_time, keep, load, until
from tests.redis.test_loops import open_files
from tests.redis_server import RedisServer, wait_until

LONG = 1000.0  # seconds that no test lasts: what is not shown any more was dropped
SHORT = 0.5


@pytest.fixture
def server(redis_folder, tmp_path):
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def nearby(relay):
    """Open stores whose connections go through the relay."""
    async with AsyncExitStack() as stack:

        async def open_one(staleness=LONG, url=relay.url, timeout=TIMEOUT):
            store = NearStore(url, timeout=timeout, staleness=staleness)
            await store.open()
            stack.push_async_callback(store.aclose)
            return store

        yield open_one


@pytest.fixture
async def near(nearby):
    return await nearby()


@pytest.fixture
def deaf(relay, monkeypatch):
    """Let nothing be heard, and nobody notice that."""
    monkeypatch.setattr(redis_tracking, "_SILENCE", LONG)
    return relay.deafen


async def look(store, key, *, now=START, renew=None, generation=0):
    """Load as a request does that shows a token."""
    return await store.load(key, now=now, renew_interval=renew, generation=generation)


async def number(store, key):
    """Return the number in a session, as a request sees it."""
    return int((await look(store, key)).data["n"])


def loads(server):
    """Return how often a record was read on the server."""
    stats = server.command("info", "commandstats")
    return int(stats.partition("cmdstat_hgetall:calls=")[2].partition(",")[0] or 0)


def copies(store):
    return store._tracking.here.copies


def ears(store):
    return store._tracking.here._ears.values()


async def seen(store, key):
    """Load until the record is kept: what changed it before may still be told; return it."""
    async with asyncio.timeout(PATIENCE):
        while (record := copies(store).get(key, START)) is None:
            await look(store, key)
    return record


async def hears(store):
    await until(lambda: all(each.hears for each in ears(store)))


async def test_a_request_that_comes_again_asks_no_server(kept, server, near):
    """As long as nothing is to be written down."""
    assert await seen(near, kept.key) == kept
    before = loads(server)
    for _ in range(10):
        assert await look(near, kept.key, now=START + 400, renew=450) == kept
    assert loads(server) == before


async def test_who_shows_no_token_asks_the_server(kept, server, near):
    """As under a lock: what is true now, and not what this process has heard."""
    await seen(near, kept.key)
    before = loads(server)
    for _ in range(3):
        assert await load(near, kept.key) == kept
    assert loads(server) == before + 3


async def test_a_use_is_written_down_when_it_is_time(kept, near, store):
    """And seen by the next request, as is a session that was extended on purpose."""
    await seen(near, kept.key)
    later = START + 450
    assert (await look(near, kept.key, now=later, renew=450)).last_seen_at == later
    assert (await look(near, kept.key, now=later, renew=450)).last_seen_at == later
    assert (await load(store, kept.key)).last_seen_at == later
    refreshed = await near.load(kept.key, now=later + 1, renew_interval=0)
    assert await look(near, kept.key, now=later + 1) == refreshed


async def test_a_session_expires_though_nobody_changes_it(kept, near):
    """By the clock of the caller."""
    await seen(near, kept.key)
    assert await look(near, kept.key, now=START + 999) == kept
    assert await look(near, kept.key, now=START + 1000) is None


async def test_the_arrival_of_a_token_is_noted(kept, near, store):
    """By the server, the first time that it is shown."""
    await seen(near, kept.key)
    assert (await near.rotate(kept.key, 0, now=START, grace=0)).outcome == "rotated"
    await look(near, kept.key)
    assert (await look(near, kept.key, generation=1)).used_generation == 1
    assert (await load(store, kept.key)).used_generation == 1
    assert (await look(near, kept.key, generation=1)).used_generation == 1


@pytest.mark.parametrize(
    "words",
    [
        ("del", "{name}"),
        ("pexpire", "{name}", 1),
        ("rename", "{name}", "elsewhere"),
        ("set", "{name}", "text"),
        ("flushall",),
        ("flushdb",),
        ("eval", "redis.call('DEL', KEYS[1])", 1, "{name}"),
    ],
    ids=lambda words: words[0],
)
async def test_whatever_is_done_to_a_key_is_heard(kept, server, near, words):
    """Also without this package, and that the server lets it expire."""
    await seen(near, kept.key)
    name = near._names.session(*kept.key)
    server.command(*(str(word).format(name=name) for word in words))
    async with asyncio.timeout(PATIENCE):
        while await look(near, kept.key):  # noqa: ASYNC110 - nobody sets an event for it
            await asyncio.sleep(0)  # an answer from memory waits for nothing


def writes(store, make):
    """Return each kind of write to a session; `make` makes another record of its user."""
    return {
        "change": lambda made: add_one(store, made.key),
        "claims": lambda made: store.set_claims(made.key, {"a": "b"}, expected={}, now=START),
        "use": lambda made: store.load(made.key, now=START + 1, renew_interval=0),
        "rotate": lambda made: store.rotate(made.key, 0, now=START, grace=0),
        "rename": lambda made: store.rename(made.key, "x" * 43, now=START),
        "delete": lambda made: delete(store, made.key),
        "delete_user": lambda made: store.delete_user(made.user_id, now=START, reason="revoked"),
        "evict": lambda made: store.create(make(), now=START + 1, limit_per_user=1),
    }


async def test_what_other_processes_do_is_heard(kept, near, store, record):
    """Each kind of write; the sessions of others stay where they are."""
    for name, write in writes(store, lambda: record("bert")).items():
        made = record("bert", n=b"0")
        await keep(store, made)
        assert await seen(near, kept.key) == kept, name
        assert await seen(near, made.key) == made, name
        await write(made)
        await until(lambda made=made: copies(near).get(made.key, START) is None)
        assert await look(near, made.key) == await load(store, made.key) != made, name
        assert copies(near).get(kept.key, START), name
        await store.delete_user("bert", now=START, reason="revoked")


async def test_what_this_process_does_needs_no_hearing(near, store, record, deaf):
    """It is seen by the next request, whatever it was."""
    deaf()
    for name, write in writes(near, record).items():
        made = record(n=b"0")
        await keep(near, made)
        assert await look(near, made.key) == made, name
        await write(made)
        assert await look(near, made.key) == await load(store, made.key) != made, name
        await near.delete_user("anna", now=START, reason="revoked")


async def test_a_write_of_which_nobody_knows_is_not_denied(kept, server, near, store, deaf):
    """It failed, and may have been done: the copy goes all the same."""
    await seen(near, kept.key)
    deaf()
    await add_one(store, kept.key)
    assert await number(near, kept.key) == 0
    server.command("acl", "setuser", "default", "-evalsha")
    with pytest.raises(StoreUnavailable):
        await add_one(near, kept.key)
    server.command("acl", "setuser", "default", "+evalsha")
    assert await number(near, kept.key) == 1


async def test_a_load_that_failed_is_in_nobodys_way(kept, server, near):
    """The next one is kept, and nothing of the first remains."""
    server.command("acl", "setuser", "default", "-hgetall")
    with pytest.raises(StoreUnavailable):
        await look(near, kept.key)
    assert copies(near)._loading == {}
    server.command("acl", "setuser", "default", "+hgetall")
    await seen(near, kept.key)


async def held(relay, near, key):
    """Begin a load whose answer, as things are now, is held back."""
    relay.hold()
    loading = asyncio.create_task(look(near, key))
    await until(lambda: relay.holds)
    return loading


async def test_a_load_that_was_under_way_is_not_kept(kept, relay, near, store):
    """Somebody has changed what it read before its answer came: the next one asks again."""
    loading = await held(relay, near, kept.key)
    await add_one(store, kept.key)
    await until(lambda: not copies(near)._loading)
    relay.release()
    assert (await loading).data["n"] == b"0"
    assert await number(near, kept.key) == 1


async def test_a_load_that_an_own_write_has_overtaken_is_not_kept(kept, relay, near, deaf):
    """Who wrote reads that, although nothing was heard."""
    deaf()
    loading = await held(relay, near, kept.key)
    await add_one(near, kept.key)
    relay.release()
    deaf()
    assert (await loading).data["n"] == b"0"
    assert await number(near, kept.key) == 1


async def test_a_load_during_which_the_connection_broke_is_not_kept(kept, relay, near, store):
    """What was told meanwhile was told to nobody."""
    loading = await held(relay, near, kept.key)
    relay.cut()
    await until(lambda: not any(each.hears for each in ears(near)))
    await add_one(store, kept.key)
    await hears(near)
    relay.release()
    await loading
    assert await number(near, kept.key) == 1


async def test_nothing_is_shown_that_was_read_before_the_connection_broke(
    kept, server, relay, near, store
):
    """Nor is anything kept until it is there again."""
    for _ in range(3):
        await seen(near, kept.key)
        relay.refuses = True
        server.command("client", "kill", "type", "pubsub")
        await until(lambda: len(copies(near)) == 0)
        for _ in range(3):
            before = await add_one(store, kept.key)
            assert await number(near, kept.key) == before
        relay.refuses = False
        await hears(near)
        await seen(near, kept.key)
        asked = loads(server)
        assert await number(near, kept.key) == before
        assert loads(server) == asked


async def test_the_log_tells_each_time_that_the_connection_breaks(relay, near, caplog):
    """In one line."""
    for count in range(1, 4):
        relay.cut()
        await until(lambda: not any(each.hears for each in ears(near)))
        await hears(near)
        assert caplog.text.count("hears of changed sessions broke") == count


async def test_a_dead_connection_hides_nothing_for_longer_than_the_bound(kept, nearby, store, deaf):
    """Although it looks well, and each answer from memory is of the time before."""
    near, answers = await nearby(SHORT), 0
    deaf()
    await seen(near, kept.key)
    await delete(store, kept.key)
    ended = begun = time.monotonic()
    while await look(near, kept.key):
        assert begun - ended < SHORT
        begun = time.monotonic()
        answers += 1
    assert answers


async def test_a_server_that_hangs_is_not_stood_in_for(kept, server, nearby):
    """Within the bound its sessions go on; then it is a fault, as without copies."""
    near, answers = await nearby(SHORT, timeout=0.5), 0
    await seen(near, kept.key)
    with server.hung():
        stopped = begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            while await look(near, kept.key) == kept:
                assert begun - stopped < SHORT
                begun = time.monotonic()
                answers += 1
    assert answers


async def test_a_connection_that_falls_silent_is_noticed(kept, relay, nearby, monkeypatch):
    """It is asked when nothing came for a while, and given up if it does not answer."""
    monkeypatch.setattr(redis_tracking, "_SILENCE", 0.02)
    near = await nearby(timeout=0.3)
    (ear,) = ears(near)
    await seen(near, kept.key)
    answered = []
    take = ear._take
    monkeypatch.setattr(ear, "_take", lambda reply: (answered.append(reply), take(reply)))
    await until(lambda: [b"pong", b""] in answered)
    assert len(copies(near)) == 1
    relay.deafen()
    await until(lambda: not ear.hears)
    assert len(copies(near)) == 0
    await until(lambda: ear._failures > 1)
    relay.release()
    await until(lambda: ear.hears)


@pytest.mark.parametrize("words", ["", "rubbish", "memsession:{=anna}:s:a"])
async def test_what_others_publish_there_is_a_reason_to_drop_all(kept, server, near, words):
    """It is not what the server writes."""
    before = list(ears(near))
    await seen(near, kept.key)
    server.command("publish", "__redis__:invalidate", words)
    await until(lambda: len(copies(near)) == 0)
    server.command("eval", r"redis.call('SET', 'memsession:{\255', 'a')", 0)  # no text at all
    await seen(near, kept.key)
    server.command("del", near._names.session(*kept.key))
    await until(lambda: len(copies(near)) == 0)
    assert list(ears(near)) == before


@pytest.mark.parametrize("right", ["-client|tracking", "resetchannels"])
async def test_missing_rights_are_told_at_start(kept, server, right):
    """Which a fault of the configuration is; nothing is left open."""
    server.command("acl", "setuser", "default", right)
    near = NearStore(server.url, timeout=TIMEOUT)
    with pytest.raises(StoreUnavailable, match=r"MEMSESSION_NEAR_CACHE needs.*rights") as caught:
        await near.open()
    assert caught.value.retry_after == 5
    assert server.command("client", "list").count("id=") == 2  # this one and that of `kept`


async def test_a_server_that_does_not_answer_at_start(server, relay):
    """Is not waited for, although it does answer other calls; nor by a client that would."""
    relay.deafen()
    client = Redis.from_url(relay.url, socket_timeout=None)
    for whom in (relay.url, client):
        near = NearStore(whom, timeout=0.3)
        with pytest.raises(StoreUnavailable, match=r"NEAR_CACHE needs.*TimeoutError"):
            await in_time(near.open(), 0.3)
    await client.aclose()


async def test_without_its_connection_it_is_a_store_as_any_other(kept, server, relay, caplog):
    """Every request asks; one line in the log tells why, and no password."""
    server.command("acl", "setuser", "default", "-client|tracking")
    near = NearStore(relay.url, timeout=TIMEOUT)
    before = loads(server)
    for _ in range(3):
        assert await look(near, kept.key) == kept
    assert loads(server) == before + 3
    (ear,) = ears(near)
    await until(lambda: ear._failures > 2)
    assert caplog.text.count("hears of changed sessions broke") == 1
    await near.aclose()


async def test_whoever_does_not_open_it_hears_after_the_first_requests(kept, server):
    """As an application whose lifespan does not run."""
    near = NearStore(server.url, timeout=TIMEOUT)
    await look(near, kept.key)
    await hears(near)
    await seen(near, kept.key)
    before = loads(server)
    assert await look(near, kept.key) == kept
    assert loads(server) == before
    await near.aclose()
    assert server.command("client", "list", "type", "pubsub").count("id=") == 0


async def test_closing_it_drops_what_it_held(kept, near, store):
    """Who goes on using it begins anew."""
    await seen(near, kept.key)
    await near.aclose()
    await add_one(store, kept.key)
    assert await number(near, kept.key) == 1
    await hears(near)
    for _ in range(2):  # the second time there is nothing to close
        await near.aclose()


async def test_an_ear_that_died_is_replaced(kept, near):
    """Whatever it died of."""
    (ear,) = ears(near)
    await asyncio.wait({ear.close()})
    await look(near, kept.key)
    await hears(near)
    await seen(near, kept.key)


@pytest.mark.parametrize("options", [{}, {"protocol": 3}])
async def test_a_client_of_the_users_own_hears(kept, server, store, options):
    """By a connection that reads as we do, whatever its others do."""
    client = Redis.from_url(server.url, **options)
    near = NearStore(client, staleness=LONG)
    await near._tracking.here.open()
    copies(near).end(copies(near).begin(kept.session_id, START), kept)
    await delete(store, kept.key)
    await until(lambda: len(copies(near)) == 0)
    await near.aclose()
    await client.aclose()


async def test_a_client_that_reads_from_replicas_keeps_nothing(kept, server):
    """What it asks the primary for may have been written down, as with a use."""
    client = Redis.from_url(server.url)
    client.load_balancing_strategy = "any"  # as a cluster's client may have one
    near = NearStore(client, staleness=LONG)
    await near.open()
    for _ in range(2):
        assert await look(near, kept.key) == kept
        assert len(copies(near)) == 0
    await near.aclose()
    await client.aclose()


async def test_a_write_on_one_loop_is_seen_on_the_others(kept, near, deaf):
    """Although none of them has heard of it: a change, a use, an end."""
    await seen(near, kept.key)
    deaf()

    def elsewhere(call):
        async def called():
            await call
            await near.aclose()

        return asyncio.to_thread(asyncio.run, called())

    change = [SetValue("n", b"7")]
    await elsewhere(near.change(kept.key, change, now=START, max_bytes=99))
    assert (await seen(near, kept.key)).data["n"] == b"7"
    await elsewhere(near.load(kept.key, now=START + 1, renew_interval=0))
    assert (await seen(near, kept.key)).last_seen_at == START + 1
    await elsewhere(delete(near, kept.key))
    assert await look(near, kept.key) is None


def test_event_loops_leave_no_connection_open(server, record):
    """However many there were, whether they had time to hear anything or not."""
    store, made = NearStore(server.url, timeout=20), record()

    async def use(loops=0):
        assert await look(store, made.key) == made
        if loops:
            await hears(store)
            await asyncio.to_thread(asyncio.run, use(loops - 1))

    async def finish():
        await use()
        await store.aclose()

    asyncio.run(keep(store, made))
    asyncio.run(use(3))
    before = open_files()
    for _ in range(100):
        asyncio.run(use())
    assert open_files() <= before + 5
    assert len(store._tracking._trackers) == 1
    asyncio.run(finish())
    listed = lambda: server.command("client", "list", "type", "pubsub")  # noqa: E731
    wait_until(lambda: listed().count("id=") == 0, listed)


@pytest.mark.parametrize("seconds", [None, 3])
async def test_the_settings_make_it(server, make_app, clock, seconds):
    """With the bound that they name, and not unless they ask for it."""
    options = {"provider": "redis", "redis_url": server.url, "redis_prefix": "made"}
    assert not isinstance(make_app(**options).state.sessions.store, NearStore)
    if seconds:
        options["near_cache_staleness"] = seconds
    provider = make_app(near_cache=True, **options).state.sessions
    await provider.store.open()
    login = await provider.login("anna")
    key = login.session.record.key
    clock.advance(0.5)
    while not copies(provider.store):  # its own login may still be told
        await provider.open(login.tokens.access)
    until = 0.5 + (seconds or 1)
    assert copies(provider.store).get(key, START + until - 0.001)
    assert copies(provider.store).get(key, START + until) is None
    await provider.store.aclose()


async def test_a_session_is_read_again_where_that_matters(near, make_app, deaf):
    """Under its lock and on demand; the request before was answered from memory."""
    here = make_app(store=near).state.sessions
    deaf()
    login = await here.login("anna", data={"n": 0})
    await seen(near, login.session.record.key)
    there = make_app(store=RedisStore(near._clients.client)).state.sessions
    await (await there.open(login.tokens.access)).set("n", 1)
    session, other = await here.open(login.tokens.access), await here.open(login.tokens.access)
    assert await session.get("n") == await other.get("n") == 0
    async with session.lock():
        assert await session.get("n") == 1
    await other.reload()
    assert await other.get("n") == 1
