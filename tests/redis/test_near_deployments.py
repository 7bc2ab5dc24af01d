"""The near cache over Sentinel and a cluster: each master is heard, whichever it is by now."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest

from fastapi_memsession import StoreUnavailable
from fastapi_memsession.stores import redis_tracking
from fastapi_memsession.stores.near import NearStore
from tests.conftest import START
from tests.redis.calls import PATIENCE, TIMEOUT, add_one, in_time, keep, opened, until_it_works
from tests.redis.test_deployments import move_slot
from tests.redis.test_near_cache import LONG, copies, ears, hears, look, number, seen, until
from tests.redis_deployments import sentinel
from tests.redis_server import wait_until

USERS = 16


@asynccontextmanager
async def near_and_far(url):
    """Open a store that keeps copies until it hears, and one as another process has."""
    async with opened(url) as far:
        near = NearStore(url, timeout=TIMEOUT, staleness=LONG)
        await near.open()
        try:
            yield near, far
        finally:
            await near.aclose()


@pytest.fixture
async def stores(nodes):
    async with near_and_far(nodes.url) as stores:
        yield stores


def shown(near, key):
    return copies(near).get(key, START)


async def test_every_master_of_a_cluster_is_heard(nodes, stores, record):
    """And if one is heard no more, nothing is shown that was read before."""
    near, far = stores
    assert len(ears(near)) == len(nodes.nodes)
    keys = [await keep(far, record(f"user-{n}", n=b"0")) for n in range(USERS)]
    for count in range(len(nodes.nodes)):
        await hears(near)
        assert {int((await seen(near, key)).data["n"]) for key in keys} == {count}
        await asyncio.gather(*(add_one(far, key) for key in keys))
        await until(lambda: not any(shown(near, key) for key in keys))
        await seen(near, keys[0])
        nodes.nodes[count].command("client", "kill", "type", "pubsub")
        await until(lambda: not shown(near, keys[0]))


async def test_a_session_that_moves_in_a_cluster_is_heard_where_it_is(nodes, stores, record):
    """Before and after; while it moves it may not be kept."""
    near, far = stores
    key = await keep(far, record(n=b"0"))
    slot = int(nodes.nodes[0].command("cluster", "keyslot", near._names.session(*key)))
    for count in range(len(nodes.nodes)):
        while not shown(near, key):
            assert await number(near, key) == count
        await asyncio.to_thread(move_slot, nodes, slot)
        await until(lambda: not shown(near, key))
        while not shown(near, key):
            assert await number(near, key) == count
        await add_one(far, key)
        await until(lambda: not shown(near, key))


async def test_a_client_that_knows_no_cluster_yet_keeps_nothing(nodes, record):
    """Until it has seen where things are."""
    async with opened(nodes.url) as far:
        key = await keep(far, record(n=b"0"))
    near = NearStore(nodes.url, timeout=TIMEOUT, staleness=LONG)
    for _ in range(2):
        await look(near, key)
        assert not ears(near)
        await near.aclose()
    await look(near, key)
    await look(near, key)
    assert not shown(near, key)
    await seen(near, key)
    await near.aclose()


async def test_a_node_that_has_left_a_cluster_is_given_up(nodes, stores):
    """Nobody tries for ever to hear it, nor waits for it."""
    near, _ = stores
    ear = near._tracking.here._at("127.0.0.1:1")
    with pytest.raises(StoreUnavailable, match="given up"):
        await in_time(ear.ready())
    assert ear.ended
    assert not ear.hears


async def test_a_new_master_is_heard_though_the_old_one_only_hangs(
    redis_folder, record, monkeypatch
):
    """Its connection looks well: what comes from another master is not kept on its word."""
    monkeypatch.setattr(redis_tracking, "_SILENCE", LONG)
    with sentinel(redis_folder / "near", down_after=300) as servers:
        async with near_and_far(servers.url) as (near, far):
            keys = [await keep(far, record(f"user-{n}", n=b"0")) for n in range(2)]
            await asyncio.to_thread(
                wait_until,
                lambda: servers.replica.command("dbsize") == servers.master.command("dbsize"),
                lambda: servers.replica.command("info", "replication"),
            )
            (old,) = ears(near)
            await seen(near, keys[0])
            with servers.master.hung():
                async with asyncio.timeout(PATIENCE):
                    await until_it_works(partial(number, near, keys[1]))
                    await until_it_works(partial(add_one, far, keys[1]))
                    while not shown(near, keys[1]):
                        assert await until_it_works(partial(number, near, keys[1])) == 1
                assert old.hears
                await add_one(far, keys[1])
                await until(lambda: not shown(near, keys[1]))
                assert await number(near, keys[1]) == 2


async def test_an_ear_that_the_sentinels_send_elsewhere_is_given_up(redis_folder):
    """It was to hear another master."""
    with sentinel(redis_folder / "elsewhere") as servers:
        async with near_and_far(servers.url) as (near, _):
            near._clients.client.connection_pool.master_address = ("127.0.0.1", 1)
            ear = near._tracking.here._at("127.0.0.1:1")
            await until(lambda: ear.ended)
            assert not ear.hears
            assert near._clients.client.connection_pool.master_address[1] == servers.master.port
