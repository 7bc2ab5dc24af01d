"""The connection that hears of ended sessions: when there is one, and what breaks it."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from fastapi_memsession import StoreUnavailable
from fastapi_memsession.records import Ended
from fastapi_memsession.stores import redis_listening
from fastapi_memsession.stores.redis import RedisStore
from tests.alive.conftest import begin, inside, reason_of
from tests.conftest import START
from tests.redis.calls import PATIENCE, delete, in_time, keep, opened
from tests.redis.test_loops import open_files
from tests.redis_server import RedisServer, wait_until


@pytest.fixture
def server(redis_folder, tmp_path):
    """A server of the test's own, at a socket that is the same when it is started again."""
    with RedisServer(tmp_path / "redis", unix=True) as server:
        yield server


def connections(server):
    """Return how many connections listen."""
    return server.command("client", "list", "type", "pubsub").count("id=")


async def listening(server, number):
    """Wait until so many connections listen."""
    there = lambda: connections(server) == number  # noqa: E731
    await asyncio.to_thread(wait_until, there, lambda: server.command("client", "list"))


async def told(heard):
    async with asyncio.timeout(PATIENCE):
        return await heard.get()


async def told_but_none(heard):
    """Return what is told next that is not a reason to look."""
    while (ending := await told(heard)) is None:
        pass
    return ending


async def test_nobody_listens_where_nobody_watches(server, store, kept):
    """One connection while somebody watches, however many and whom; none before and after."""
    await store.load(kept.key, now=START, renew_interval=None)
    assert connections(server) == 0
    async with AsyncExitStack() as stack:
        for user in ("anna", "bert", "anna", "carl"):
            key = kept.key._replace(user_id=user)
            await stack.enter_async_context(store.watch(key, print))
            assert connections(server) == 1
        channels = server.command("pubsub", "channels").split()
        assert len(channels) == 3
    await listening(server, 0)
    assert await delete(store, kept.key)


async def test_who_leaves_takes_the_channel_along(server, store, kept):
    """While others listen to theirs."""
    async with store.watch(kept.key, print):
        async with store.watch(kept.key._replace(user_id="bert"), print):
            pass

        def channels():
            return server.command("pubsub", "channels").split()

        await asyncio.to_thread(wait_until, lambda: len(channels()) == 1, channels)


async def test_closing_the_store_ends_the_listening(server, store, kept):
    """Whoever still watches hears no more; who watches afterwards hears again."""
    heard, again = asyncio.Queue(), asyncio.Queue()
    async with store.watch(kept.key, heard.put_nowait):
        await store.aclose()
        await listening(server, 0)
        async with store.watch(kept.key, again.put_nowait):
            assert await delete(store, kept.key)
            assert await told(again) == Ended(kept.session_id, "logout")
        assert heard.empty()


async def test_what_ended_while_the_connection_was_broken_is_not_missed(server, store, kept):
    """Who watches is told to look, and hears of what ends later."""
    heard = asyncio.Queue()
    async with store.watch(kept.key, heard.put_nowait):
        for _ in range(3):
            line = store._listening._lines[asyncio.get_running_loop()]
            line._asked["memsession:{=anna}:ended"] += 1  # an answer that never came
            server.command("client", "kill", "type", "pubsub")
            assert await told(heard) is None
        assert await delete(store, kept.key)
        assert await told_but_none(heard) == Ended(kept.session_id, "logout")


async def test_a_block_ends_though_nobody_heard_the_end(server, store, make_app):
    """Each session is looked at once when the connection is there again; others go on."""
    provider = make_app(store=store).state.sessions
    ended, other = await begin(provider), await begin(provider)
    task, another = await inside(ended), await inside(other)
    key = f"memsession:{{=anna}}:s:{ended.id}"
    server.command("rename", key, key + "?")  # it is over, and nothing is published
    server.command("hset", key, "q", "logout", "d", repr(START + 1000))
    server.command("client", "kill", "type", "pubsub")
    assert await reason_of(task) == "revoked"
    assert not another.done()
    await other.destroy()
    await reason_of(another)


async def test_a_server_that_comes_back_is_listened_to(server, store, kept, caplog):
    """With a line in the log; who watches is told to look."""
    heard = asyncio.Queue()
    async with store.watch(kept.key, heard.put_nowait):
        server.kill()
        with pytest.raises(StoreUnavailable):
            async with (
                asyncio.timeout(PATIENCE),
                store.watch(kept.key._replace(user_id="b"), print),
            ):
                pytest.fail("entered")
        server.__enter__()
        assert await told(heard) is None
        await keep(store, kept)
        assert await delete(store, kept.key)
        assert await told_but_none(heard) == Ended(kept.session_id, "logout")
    assert caplog.text.count("hears of ended sessions broke") == 1


async def test_a_dead_server_refuses_at_once(server, store, kept):
    """As every other call does; nothing is left that tries."""
    server.kill()
    with pytest.raises(StoreUnavailable, match="Redis cannot answer"):
        await in_time(store.watch(kept.key, print).__aenter__())
    assert store._listening._lines == {}


@pytest.mark.parametrize("there", [False, True])
async def test_a_server_that_hangs_refuses_in_time(server, kept, there):
    """Whether there is a connection or not."""
    async with opened(server.url, timeout=0.3) as store, AsyncExitStack() as stack:
        if there:
            await stack.enter_async_context(store.watch(kept.key, print))
        with server.hung(), pytest.raises(StoreUnavailable):
            await in_time(store.watch(kept.key._replace(user_id="b"), print).__aenter__(), 0.6)


async def test_a_server_that_falls_silent_is_noticed(server, kept, monkeypatch):
    """It is asked when it has said nothing for a while, and given up if it does not answer."""
    monkeypatch.setattr(redis_listening, "_SILENCE", 0.02)
    heard = asyncio.Queue()
    async with opened(server.url, timeout=0.3) as store, store.watch(kept.key, heard.put_nowait):

        def asked():
            return server.command("info", "commandstats")

        await asyncio.to_thread(wait_until, lambda: "cmdstat_ping:calls=" in asked(), asked)
        assert heard.empty()
        with server.hung():
            line = store._listening._lines[asyncio.get_running_loop()]
            async with asyncio.timeout(PATIENCE):
                while line._connection is not None:  # noqa: ASYNC110 - nobody sets an event for it
                    await asyncio.sleep(0)
        assert await told(heard) is None


async def test_a_connection_that_is_asked_before_it_listens(server, store, kept, monkeypatch):
    """The answer is no message."""
    async with store.watch(kept.key, print):
        line = store._listening._lines[asyncio.get_running_loop()]
        line._take(b"PONG")


async def test_no_right_to_channels_is_told_and_ends_nothing_less(server, store, kept):
    """A session can be ended all the same; it only cannot be watched."""
    server.command("acl", "setuser", "default", "resetchannels")
    with pytest.raises(StoreUnavailable, match="credentials or rights"):
        await in_time(store.watch(kept.key, print).__aenter__())
    assert await store.rename(kept.key, kept.session_id[::-1], now=START)
    assert await delete(store, kept.key._replace(session_id=kept.session_id[::-1]))


@pytest.mark.parametrize("words", ["", "rubbish", "a b c", "a logout", "a logout b c", "\\xff"])
async def test_what_is_none_of_our_messages(server, store, kept, words):
    """Is a reason to look, and no more."""
    heard = asyncio.Queue()
    async with store.watch(kept.key, heard.put_nowait):
        server.command("publish", "memsession:{=anna}:ended", words)
        assert await told(heard) is None
        assert await delete(store, kept.key)
        assert await told(heard) == Ended(kept.session_id, "logout")


async def test_coming_back_before_one_has_left(server, store, kept):
    """A message is heard once one is in, whatever was on its way before."""
    heard = asyncio.Queue()
    async with store.watch(kept.key._replace(user_id="bert"), print):
        for _ in range(30):
            entering = asyncio.create_task(store.watch(kept.key, heard.put_nowait).__aenter__())
            await asyncio.sleep(0)
            entering.cancel()
        async with store.watch(kept.key, heard.put_nowait):
            assert await delete(store, kept.key)
            assert await told(heard) == Ended(kept.session_id, "logout")


async def test_who_asked_twice_hears_after_the_second_answer(server, store, kept):
    """Between the two answers the channel was left."""
    channel = "memsession:{=bert}:ended"
    async with store.watch(kept.key, print):
        line = store._listening._lines[asyncio.get_running_loop()]
        line._users[channel] = "bert"
        line._asked[channel] = 2
        line._take([b"subscribe", channel.encode(), 2])
        assert channel not in line._heard
        line._take([b"subscribe", channel.encode(), 2])
        assert channel in line._heard


async def test_many_channels(server, store, kept, record):
    """More than one command names; all are listened to again when the connection broke."""
    made = [record(f"user-{n}") for n in range(600)]
    heard = asyncio.Queue()
    async with AsyncExitStack() as stack:
        for each in made:
            await keep(store, each)
        entered = [store.watch(each.key, heard.put_nowait) for each in made]
        await asyncio.gather(*map(stack.enter_async_context, entered))
        server.command("client", "kill", "type", "pubsub")
        for _ in made:
            assert await told(heard) is None
        for each in made:
            await delete(store, each.key)
        ended = {(await told(heard)).session_id for _ in made}
    assert ended == {each.session_id for each in made}


@pytest.mark.parametrize("options", [{}, {"protocol": 3}])
async def test_a_client_of_the_users_own_listens(server, store, kept, options):
    """By a connection that reads as we do, whatever that client's do."""
    client, heard = Redis.from_url(server.url, **options), asyncio.Queue()
    watching = RedisStore(client)
    async with watching.watch(kept.key, heard.put_nowait):
        await delete(store, kept.key)
        assert await told(heard) == Ended(kept.session_id, "logout")
    await client.aclose()


async def test_no_password_is_logged(server, store, kept, caplog):
    """Neither when the connection breaks nor when it is refused."""
    server.command("config", "set", "requirepass", "a secret word")
    server.password = "a secret word"
    async with opened(server.url) as ours, ours.watch(kept.key, print):
        server.command("config", "set", "requirepass", "another word")
        server.password = "another word"
        server.command("client", "kill", "type", "pubsub")
        line = ours._listening._lines[asyncio.get_running_loop()]
        async with asyncio.timeout(PATIENCE):
            while line._failures < 3:  # noqa: ASYNC110 - nobody sets an event for it
                await asyncio.sleep(0)
    assert "hears of ended sessions broke" in caplog.text
    assert "secret" not in caplog.text


def test_event_loops_leave_no_listener_open(server, record):
    """However many there were, beside each other or one after the other."""
    store, made = RedisStore(server.url, timeout=20), record()

    async def watch(loops):
        async with store.watch(made.key, print):
            if loops:
                await asyncio.to_thread(asyncio.run, watch(loops - 1))
            else:
                assert connections(server) > 0

    async def leave_it_to_the_loop():
        await store.watch(made.key, print).__aenter__()

    asyncio.run(watch(3))
    before = open_files()
    for _ in range(100):
        asyncio.run(watch(0))
    asyncio.run(leave_it_to_the_loop())
    assert open_files() <= before + 5
    assert len(store._listening._lines) <= 1
    assert connections(server) == 0
