"""Two stores on one server, as two processes have them: what one does, the other sees."""

import asyncio

import pytest
from redis.asyncio import Redis

from fastapi_memsession import LockTimeout, SessionRecord
from fastapi_memsession.records import new_session_id
from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import START
from tests.redis_server import RedisServer


@pytest.fixture
def server(redis_folder, tmp_path):
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def stores(server):
    stores = [RedisStore(server.url) for _ in range(2)]
    yield stores
    for store in stores:
        await store.aclose()


def record(user_id="anna"):
    return SessionRecord(
        user_id=user_id,
        session_id=new_session_id(),
        claims={},
        data={},
        created_at=START,
        last_seen_at=START,
        expires_at=START + 100,
        deadline=START + 1000,
        expiration=100.0,
    )


async def test_one_holder_of_a_lock_among_processes(stores, clock):
    """The other waits in vain, or until it is free, or until the lease runs out."""
    here, there = stores
    key = record().key
    async with here.lock(key, timeout=5, clock=clock):
        with pytest.raises(LockTimeout, match="not free within"):
            async with there.lock(key, timeout=0.02, clock=clock):
                pytest.fail("two holders")
        waiting = asyncio.create_task(there.lock(key, timeout=5, clock=clock).__aenter__())
        await asyncio.wait({waiting}, timeout=0.02)
        assert not waiting.done()
    await waiting
    clock.advance(5)
    async with here.lock(key, timeout=0.02, clock=clock):
        pass


async def test_a_lock_that_the_server_lost_is_told(server, stores, clock):
    """On leaving: another process may have entered."""
    with pytest.raises(LockTimeout, match="held longer"):
        async with stores[0].lock(record().key, timeout=5, clock=clock):
            server.command("FLUSHALL")


async def test_an_error_under_a_lock_comes_out_unchanged(server, stores, clock):
    """Also if the server is gone by then."""
    with pytest.raises(ZeroDivisionError):
        async with stores[0].lock(record().key, timeout=5, clock=clock):
            server.kill()
            raise ZeroDivisionError


async def test_ending_all_of_a_users_sessions_sees_those_that_come_meanwhile(stores, monkeypatch):
    """What was looked up is checked again where it is ended."""
    here, there = stores
    first, second = record(), record()
    await here.create(first, now=START, limit_per_user=None)
    look_up = here._clients.members

    async def look_up_and_be_late(index):
        ids = await look_up(index)
        await there.create(second, now=START, limit_per_user=None)
        return ids

    monkeypatch.setattr(here._clients, "members", look_up_and_be_late)
    ended = await here.delete_user("anna", now=START, reason="revoked")
    assert sorted(ended) == sorted([first.session_id, second.session_id])
    assert await there.list_user("anna", now=START) == []


async def test_long_user_ids_are_told_by_a_walk(stores):
    """Their keys hold a hash, their records the name."""
    users = ["x" * 10_000, "}:s:{", ""]
    for user in users:
        await stores[0].create(record(user), now=START, limit_per_user=None)
    assert {info.user_id async for info in stores[1].scan(now=START)} == set(users)


async def test_a_client_of_the_users_own_is_used_and_left_open(server, clock):
    """It is not ours to close."""
    client = Redis.from_url(server.url)
    store, made = RedisStore(client), record()
    await store.open()
    await store.create(made, now=START, limit_per_user=None)
    await store.aclose()
    assert await store.load(made.key, now=START, renew_interval=None) == made
    assert await client.ping()
    await client.aclose()


def test_a_client_of_the_users_own_is_used_on_every_loop():
    """That it fits there is the user's part."""
    client = Redis()
    store = RedisStore(client)

    async def used():
        return store._clients.client

    assert [asyncio.run(used()) for _ in range(3)] == [client] * 3


async def test_a_list_of_a_users_sessions_sees_what_happens_meanwhile(stores, monkeypatch):
    """A session that gets a new id while it is looked up is told under the one or the other."""
    here, there = stores
    made = record()
    await here.create(made, now=START, limit_per_user=None)
    look_up = here._clients.members

    async def look_up_and_be_late(index):
        ids = await look_up(index)
        await there.rename(made.key, "new", now=START)
        return ids

    monkeypatch.setattr(here._clients, "members", look_up_and_be_late)
    listed = await here.list_user("anna", now=START)
    assert [info.session_id for info in listed] == ["new"]
