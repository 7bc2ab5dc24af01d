"""A cluster one of whose masters is gone, or hangs: what it does not hold goes on."""

import asyncio
from collections import Counter
from functools import partial

import pytest

from fastapi_memsession import StoreUnavailable
from tests.redis.calls import (
    PATIENCE,
    add_one,
    delete,
    in_time,
    keep,
    load,
    number_of,
    opened,
    until_it_works,
)
from tests.redis_deployments import cluster
from tests.redis_server import wait_until

USERS = 16


@pytest.fixture(scope="module")
def nodes(redis_folder):
    """A cluster that keeps what it has, and serves the slots that it has; each test repairs it."""
    keeping = ("--appendonly", "yes", "--appendfsync", "always")  # killed, it has what it answered
    keeping += ("--cluster-require-full-coverage", "no")
    keeping += ("--cluster-node-timeout", "1000")
    with cluster(redis_folder / "faults", *keeping) as nodes:
        yield nodes


@pytest.fixture
async def store(nodes):
    async with opened(nodes.url, timeout=3) as store:
        yield store


@pytest.fixture
async def sessions(store, nodes, record):
    """Keep sessions; return the keys of those that the first master has, and of the others."""
    keys = [await keep(store, record(f"user-{n}", n=b"0")) for n in range(USERS)]
    there = nodes.nodes[0].command("keys", "*").split()
    names = {key: store._names.session(*key) for key in keys}
    lost = [key for key in keys if names[key] in there]
    return lost, [key for key in keys if key not in lost]


def refused(store, keys):
    """Make calls for these sessions, and see them refused in time; return the calls."""
    return [is_refused(call(store, key)) for key in keys for call in (load, add_one, delete)]


async def is_refused(call):
    with pytest.raises(StoreUnavailable):
        await in_time(call)


async def count_on(store, keys, counted):
    """Add one to each number, and see that it was added once."""
    results = await asyncio.gather(*(in_time(add_one(store, key)) for key in keys))
    counted.update(keys)
    assert results == [counted[key] for key in keys]


async def back(store, nodes, keys):
    """Wait until the cluster is whole, and the store has seen that it is."""
    await asyncio.to_thread(wait_until, nodes.is_whole, lambda: told(nodes.nodes[0]))
    async with asyncio.timeout(PATIENCE):
        for key in keys:
            await until_it_works(partial(load, store, key))


async def test_what_a_dead_master_does_not_hold_goes_on(nodes, store, sessions):
    """Nobody waits for it; when it is back with what it had written, so are its sessions."""
    dead, *others = nodes.nodes
    (lost, found), counted = sessions, Counter()
    await count_on(store, lost + found, counted)
    dead.kill()
    noticed = False
    while not noticed:  # and once more when they have
        noticed = all("cluster_slots_fail:0" not in told(node) for node in others)
        await asyncio.gather(*refused(store, lost), count_on(store, found, counted))
    dead.__enter__()
    await back(store, nodes, lost)
    await count_on(store, lost + found, counted)


async def test_a_hung_master_is_not_waited_for(nodes, store, sessions):
    """However many call; when it wakes all goes on, and what was refused counted once at most."""
    lost, found = sessions
    await asyncio.gather(*(add_one(store, key) for key in lost))
    with nodes.nodes[0].hung():
        calls = [call(store, key) for key in lost * 5 for call in (load, add_one)]
        await asyncio.gather(*map(is_refused, calls))
    await back(store, nodes, lost)
    for key in lost:
        number = await number_of(store, key)
        assert 1 <= number <= 6
        assert await add_one(store, key) == number + 1
    await count_on(store, found, Counter())


@pytest.mark.parametrize("coverage", ["no", "yes"])
async def test_a_slot_that_nobody_holds(nodes, store, sessions, coverage):
    """Its sessions are unavailable until it is held; all are, if the servers want it so."""
    (lost, found), counted = sessions, Counter()
    holder = nodes.nodes[0]
    slot = int(holder.command("cluster", "keyslot", store._names.session(*lost[0])))
    for node in nodes.nodes:
        node.command("config", "set", "cluster-require-full-coverage", coverage)
        node.command("cluster", "delslots", slot)
    served = [*lost[1:], *found] if coverage == "no" else []
    refusing = [key for key in lost + found if key not in served]
    for _ in range(2):  # before and after it has looked who is there
        await asyncio.gather(*refused(store, refusing), count_on(store, served, counted))
    holder.command("cluster", "addslots", slot)
    for node in nodes.nodes:
        node.command("cluster", "setslot", slot, "node", nodes.names()[0])
        node.command("config", "set", "cluster-require-full-coverage", "no")
    await back(store, nodes, lost)
    await count_on(store, lost + found, counted)


async def test_a_mistake_of_ours_is_no_fault_of_a_server(server):
    """What a cluster's client raises when it is lost is an error like any other elsewhere."""

    async def mistaken():
        raise KeyError("ours")

    async with opened(server.url) as store:
        with pytest.raises(KeyError, match="ours"):
            await store._clients.call(mistaken, idempotent=True)


def told(node):
    return node.command("cluster", "info")
