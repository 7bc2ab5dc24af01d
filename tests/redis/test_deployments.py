"""Redis as it is deployed: behind Sentinel, and as a cluster. Masters die, slots move."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from itertools import pairwise

import pytest

from fastapi_memsession.records import Ended
from fastapi_memsession.stores.base import Increment, SetValue
from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import START
from tests.redis.calls import (
    PATIENCE,
    SLACK,
    TIMEOUT,
    Counting,
    add_one,
    delete,
    keep,
    number_of,
    opened,
)
from tests.redis_deployments import sentinel
from tests.redis_server import wait_until

TASKS = 20
HOSTILE = ["", "}x", "{a}", "a}b{", "x" * 10_000, "🦊", "%7B", "#", "=", "*", "a:b", "\0", " "]


async def test_a_failover_interrupts_and_loses_nothing_that_was_replicated(redis_folder, record):
    """Calls fail within their deadline and work again by themselves.

    Replication is asynchronous: what the dead master had acknowledged and not yet passed on is
    lost. So a number may fall back once, by what was acknowledged just before; from then on it
    only grows, and it is never higher than there were attempts. Who watches a session is told to
    look, and hears from the new master when it ends.
    """
    heard = asyncio.Queue()
    with sentinel(redis_folder / "failover", down_after=300) as servers:
        async with opened(servers.url) as store, AsyncExitStack() as watching:
            keys = [await keep(store, record(f"user-{n}", n=b"0")) for n in range(TASKS)]
            # Sessions that were not replicated yet would be gone.
            await asyncio.to_thread(
                wait_until,
                lambda: servers.replica.command("dbsize") == servers.master.command("dbsize"),
                lambda: servers.replica.command("info", "replication"),
            )
            await watching.enter_async_context(store.watch(keys[0], heard.put_nowait))
            counting = [Counting(store, key) for key in keys]
            killed = asyncio.Event()
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                for each in counting:
                    group.create_task(each.until(killed))
                for each in counting:
                    await each.begun.wait()
                servers.master.kill()
                killed.set()
            for each in counting:
                number = await number_of(store, each.key)
                assert each.answers[-1] <= number <= each.attempts
                falls = [after for before, after in pairwise(each.answers) if after <= before]
                assert len(falls) <= 1
                assert each.slowest < TIMEOUT + SLACK
            assert "role:master" in servers.replica.command("info", "replication")
            async with asyncio.timeout(PATIENCE):
                assert await heard.get() is None
                assert await delete(store, keys[0])
                while (ended := await heard.get()) is None:
                    pass
            assert ended == Ended(keys[0].session_id, "logout")


async def test_a_crowd_at_the_sentinels_loses_none_of_them(redis_folder, record):
    """However many ask at once for the new master, each sentinel stays to be asked."""
    with sentinel(redis_folder / "crowd") as servers:
        servers.sentinels[0].kill()
        async with aclosing(RedisStore(servers.url, timeout=TIMEOUT)) as store:
            await asyncio.gather(*(keep(store, record(f"user-{n}")) for n in range(TASKS)))
            asked = store._clients.client.connection_pool.sentinel_manager.sentinels
            ports = {each.connection_pool.connection_kwargs["port"] for each in asked}
            assert ports == {each.port for each in servers.sentinels}


async def test_a_cold_client_of_a_cluster_counts_exactly(nodes, record):
    """Also if many calls come at once before it has seen any node."""
    async with opened(nodes.url) as store:
        keys = [await keep(store, record(f"user-{n}", n=b"0")) for n in range(TASKS)]
    async with aclosing(RedisStore(nodes.url, timeout=TIMEOUT)) as store:
        await asyncio.gather(*(add_one(store, key) for key in keys * 5))
        assert [await number_of(store, key) for key in keys] == [5] * TASKS


def move_slot(nodes, slot):
    """Give a slot and all its keys to another node, as a reshard does."""
    source = nodes.owner(slot)
    target = (source + 1) % len(nodes.nodes)
    names, origin, goal = nodes.names(), nodes.nodes[source], nodes.nodes[target]
    goal.command("cluster", "setslot", slot, "importing", names[source])
    origin.command("cluster", "setslot", slot, "migrating", names[target])
    while keys := origin.command("cluster", "getkeysinslot", slot, 1).split():
        origin.command("migrate", "127.0.0.1", goal.port, "", 0, 5000, "keys", *keys)
    for node in (goal, origin, *nodes.nodes):
        node.command("cluster", "setslot", slot, "node", names[target])
    return target


async def test_a_reshard_under_load_loses_and_doubles_nothing(nodes, record):
    """A call that meets the move is answered or refused, and a refused one has done nothing."""
    async with opened(nodes.url, prefix="reshard") as store:
        key = await keep(store, record(n=b"0"))
        slot = int(nodes.nodes[0].command("cluster", "keyslot", store._names.session(*key)))
        counting = [Counting(store, key) for _ in range(TASKS)]
        moved = asyncio.Event()
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for each in counting:
                group.create_task(each.until(moved))
            for _ in range(3):
                target = await asyncio.to_thread(move_slot, nodes, slot)
            moved.set()
        assert nodes.owner(slot) == target
        answers = sorted(answer for each in counting for answer in each.answers)
        assert answers == list(range(1, len(answers) + 1))
        assert await number_of(store, key) == len(answers)
        assert max(each.slowest for each in counting) < TIMEOUT + SLACK


@pytest.mark.parametrize("user", HOSTILE, ids=lambda user: ascii(user[:10]))
async def test_all_keys_of_any_user_are_in_one_slot(nodes, record, user):
    """So every call works in a cluster, whatever the user id is made of."""
    async with opened(nodes.url) as store:
        made, more = record(user, n=b"0"), record(user)
        now = START
        assert await store.create(made, now=now, limit_per_user=2) == []
        assert await store.create(more, now=now, limit_per_user=2) == []
        slots = {
            nodes.nodes[0].command("cluster", "keyslot", name)
            for name in (
                store._names.session(*made.key),
                store._names.index(user),
                store._names.lock(made.key),
                store._names.revocation(user),
            )
        }
        assert len(slots) == 1
        assert await store.load(made.key, now=now, renew_interval=0, generation=0) == made
        async with store.lock(made.key, timeout=5, clock=lambda: now) as lease:
            change = [SetValue("a", b"1"), Increment("n", 1)]
            assert (
                await store.change(made.key, change, now=now, max_bytes=99, lease=lease)
            ).applied
        assert (await store.rotate(made.key, 0, now=now, grace=1)).outcome == "rotated"
        renamed = await store.rename(made.key, "n" * 43, now=now)
        assert len(await store.list_user(user, now=now)) == 2
        assert renamed.info in [info async for info in store.scan(now=now)]
        assert await store.delete(renamed.key, now=now, reason="logout")
        assert await store.delete_user(user, now=now, reason="revoked") == [more.session_id]
        assert await store.sweep(now=now, budget=100) == 0
