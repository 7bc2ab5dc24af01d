"""The connections over which commands go to one server: few, used again, and never mixed up."""

import asyncio
from contextlib import suppress
from functools import partial

import pytest
from redis.asyncio import BlockingConnectionPool, Redis

from fastapi_memsession import StoreUnavailable
from fastapi_memsession.stores.redis import RedisStore
from tests.redis.calls import PATIENCE, add_one, keep, load, number_of, opened, until
from tests.redis.relay import Relay
from tests.redis_server import RedisServer


@pytest.fixture
def server(redis_folder, tmp_path):
    """A server of the test's own, whose connections are those of the test."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


async def held(relay, store, key):
    """Begin a load whose answer is held back."""
    relay.hold()
    loading = asyncio.create_task(load(store, key))
    await until(lambda: relay.holds)
    return loading


def connections(server):
    """Count those that are open, but for the one that asks."""
    return server.command("CLIENT", "LIST").count("id=") - 1


async def test_commands_that_follow_each_other_use_one_connection(server, store, kept):
    """However many there are."""
    before = connections(server)
    for _ in range(50):
        await add_one(store, kept.key)
        await load(store, kept.key)
    assert connections(server) == before


async def test_a_connection_that_was_closed_is_not_written_to(server, store, kept):
    """So even what cannot be tried again does not fail, once that was seen."""
    async with opened(server.url) as other:
        for number in range(1, 20):
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await load(other, kept.key)  # meanwhile the event loop sees it
            assert await add_one(store, kept.key) == number


@pytest.mark.parametrize("most", [1, 3])
async def test_there_are_never_more_connections_than_the_address_allows(server, record, most):
    """Whatever is asked, by whomever."""
    async with opened(f"{server.url}?max_connections={most}", timeout=PATIENCE) as store:
        key = await keep(store, record(n=b"0"))
        adding, looking = (
            [ask() for _ in range(50)] for ask in (partial(add_one, store, key), store.stats)
        )
        await asyncio.gather(*adding, *looking)
        assert connections(server) == most
        assert await number_of(store, key) == 50


async def test_a_closed_store_leaves_no_connection_open(server, record):
    """Nor do calls that were under way, or waiting for their turn: they are answered first."""
    async with Relay(server) as relay:
        store = RedisStore(f"{relay.url}?max_connections=2", timeout=PATIENCE)
        await store.open()
        key = await keep(store, record(n=b"0"))
        loading = [await held(relay, store, key)]
        loading += [asyncio.create_task(load(store, key)) for _ in range(5)]
        closing = asyncio.create_task(store.aclose())
        await asyncio.gather(*loading[1:])
        relay.release()
        await closing
        assert [record.data for record in await asyncio.gather(*loading)] == [{"n": b"0"}] * 6
        await until(lambda: not connections(server))


async def test_a_store_whose_closing_is_given_up_is_closed_all_the_same(server, record):
    """As by a server that waits for the end of an application only so long."""
    async with Relay(server) as relay:
        store = RedisStore(relay.url, timeout=PATIENCE)
        key = await keep(store, record(n=b"0"))
        relay.hold()
        adding = asyncio.create_task(add_one(store, key))
        await until(lambda: relay.holds)
        closing = asyncio.create_task(store.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        async with asyncio.timeout(PATIENCE / 4):
            with pytest.raises(StoreUnavailable):
                await adding
        await until(lambda: not connections(server))


async def test_an_answer_that_is_late_is_nobody_elses(server, relay, record):
    """Who gives up takes the connection along, and the next caller has another."""
    async with opened(relay.url, timeout=PATIENCE) as store:
        one, other = [await keep(store, record(n=n)) for n in (b"1", b"2")]
        loading = await held(relay, store, one)
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        assert await number_of(store, other) == 2
        relay.release()
        assert [await number_of(store, key) for key in (one, other, one)] == [1, 2, 1]


async def test_a_connection_that_says_nothing_is_given_half_the_time(relay, record):
    """Then a load is tried on another one; a write is not, which may have been done."""
    async with opened(relay.url, timeout=0.4) as store:
        key = await keep(store, record(n=b"0"))
        relay.hold()
        assert await load(store, key)
        relay.hold()
        with pytest.raises(StoreUnavailable):
            await add_one(store, key)


async def test_the_address_may_give_another_time(relay, record):
    """As an option of the client, for whatever is asked by whichever way."""
    async with opened(f"{relay.url}?socket_timeout=0.05", timeout=PATIENCE) as store:
        key = await keep(store, record(n=b"0"))
        for ask in (partial(load, store, key), store.stats):
            relay.hold()
            async with asyncio.timeout(PATIENCE / 2):
                assert await ask()


async def test_to_connect_takes_several_answers_each_of_which_has_its_time(relay, record):
    """A server may be far away, as long as a command is answered in time."""
    relay.distance = 0.1
    url = f"{relay.url}/1?socket_timeout=0.3&client_name=us"
    async with opened(url, timeout=PATIENCE) as store:
        assert await keep(store, record())


async def test_a_client_of_ones_own_is_asked_itself(server, record):
    """Whoever watches what goes through it, sees all of it."""
    asked = []

    class Watched(Redis):
        async def execute_command(self, *command, **options):
            asked.append(command[0])
            return await super().execute_command(*command, **options)

    client = Watched.from_pool(BlockingConnectionPool.from_url(server.url))
    store = RedisStore(client)
    await load(store, await keep(store, record()))
    assert asked == ["EVALSHA", "EVAL", "HGETALL"]
    await client.aclose()
