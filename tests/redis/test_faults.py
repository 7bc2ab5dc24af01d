"""Faults of real servers: answered within the deadline as 503 would be, and gone with the cause."""

import asyncio
import logging
import subprocess
import sys
from contextlib import ExitStack

import pytest
from redis import exceptions
from redis.asyncio import Redis

from fastapi_memsession import StoreUnavailable
from fastapi_memsession.stores.base import Increment, SetValue
from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import START
from tests.redis.calls import (
    PATIENCE,
    add_one,
    delete,
    in_time,
    keep,
    number_of,
    opened,
    refuses,
    until_it_works,
)
from tests.redis_server import RedisServer


@pytest.fixture
def server(redis_folder, tmp_path):
    """A server of the test's own, at a socket that is the same when it is started again."""
    with RedisServer(tmp_path / "redis", unix=True) as server:
        yield server


async def load(store, key, renew=None):
    return await in_time(store.load(key, now=START, renew_interval=renew))


async def increment(store, key):
    return await in_time(store.change(key, [Increment("n", 1)], now=START, max_bytes=999))


async def test_a_dead_server_is_told_and_a_new_one_used(server, store, kept, record):
    """Every call fails at once while there is none; the first after the restart works."""
    server.kill()
    await refuses(store, kept, "Redis cannot answer")
    server.__enter__()
    made = record()
    await keep(store, made)
    assert await load(store, made.key) == made


async def test_a_server_that_hangs_is_not_waited_for(server, store, kept):
    """A call fails at the deadline; the next after it wakes works; nothing is counted twice."""
    attempts = 5
    with server.hung():
        results = await asyncio.gather(
            *(increment(store, kept.key) for _ in range(attempts)), return_exceptions=True
        )
        assert all(isinstance(result, StoreUnavailable) for result in results)
        with pytest.raises(StoreUnavailable):
            await load(store, kept.key)
    assert await number_of(store, kept.key) <= attempts
    before = await number_of(store, kept.key)
    assert (await increment(store, kept.key)).values == (str(before + 1).encode(),)


async def test_more_callers_than_connections_wait_their_turn(server, kept):
    """A crowd is served, not refused."""
    async with opened(server.url, timeout=PATIENCE) as store:
        results = await asyncio.gather(*(add_one(store, kept.key) for _ in range(500)))
    assert sorted(results) == list(range(1, 501))


async def test_forgotten_scripts_are_sent_again(server, store, kept):
    """As after a restart or a failover."""
    server.command("SCRIPT", "FLUSH")
    assert await load(store, kept.key, renew=0) == kept
    assert (await increment(store, kept.key)).values == (b"1",)


async def test_killed_connections_are_replaced(server, store, kept):
    """A load does not notice; a write fails or counts, never twice."""
    acknowledged = attempts = 0
    for _ in range(30):
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await load(store, kept.key) is not None
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        attempts += 1
        try:
            await increment(store, kept.key)
        except StoreUnavailable:
            continue
        acknowledged += 1
    assert acknowledged <= await number_of(store, kept.key) <= attempts


async def test_a_full_server_still_reads_and_deletes(server, store, kept, record):
    """Writes are refused and leave nothing behind."""
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable, match=r"OOM|OutOfMemory"):
        await keep(store, record())
    with pytest.raises(StoreUnavailable, match=r"OOM|OutOfMemory"):
        await store.change(
            kept.key, [SetValue("a", b"1"), SetValue("b", b"2")], now=START, max_bytes=999
        )
    assert await load(store, kept.key) == kept
    assert await delete(store, kept.key)
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert await store.count(now=START) == 0


async def test_a_replica_still_reads(server, store, kept):
    """A load that renews nothing writes nothing; a write is told to come back."""
    server.command("REPLICAOF", "127.0.0.1", "1")
    assert await load(store, kept.key, renew=1000) == kept
    with pytest.raises(StoreUnavailable, match=r"READONLY|ReadOnly"):
        await increment(store, kept.key)
    server.command("REPLICAOF", "NO", "ONE")
    assert (await increment(store, kept.key)).values == (b"1",)


async def test_foreign_and_broken_keys_are_no_session(server, store, kept, record, caplog):
    """Taken as absent, with a line in the log; never an error in the request."""
    key = server.command("KEYS", "*:s:*").strip()
    server.command("HSET", key, "e", "soon")
    assert await load(store, record().key) is None
    server.command("HSET", key, "e", repr(START + 100), "k", "{")
    assert await load(store, kept.key) is None
    assert "broken" in caplog.text
    server.command("DEL", key)
    server.command("SET", key, "text")
    assert await load(store, kept.key) is None
    assert (await store.rotate(kept.key, 0, now=START, grace=10)).outcome == "gone"
    assert await store.end_reason(kept.key, now=START) is None
    assert "something else" in caplog.text


async def test_foreign_and_broken_keys_are_not_listed(server, store, kept, record):
    """What cannot be shown disturbs neither the list of a user's devices nor a count."""
    broken, foreign = record(), record()
    for each in (broken, foreign):
        await keep(store, each)
        key = server.command("KEYS", f"*{each.session_id}").strip()
        if each is broken:
            server.command("HSET", key, "c", "long ago")
    assert [info.session_id for info in await store.list_user("anna", now=START)] == [
        each.session_id for each in sorted((kept, foreign), key=lambda each: each.session_id)
    ]
    assert await store.count(now=START) == 2
    server.command("DEL", key)
    server.command("SET", key, "text")
    assert await store.count(now=START) == 1


async def test_start_up_warns_of_servers_that_lose_sessions(server, store, caplog):
    """Of eviction, and of a missing append-only file; of nothing else."""
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    await store.open()
    assert "maxmemory-policy allkeys-lru" in caplog.text
    assert "appendonly yes" in caplog.text
    caplog.clear()
    server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.command("CONFIG", "SET", "appendonly", "yes")
    await store.open()
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_a_server_that_lets_nobody_look_is_used(server, store, kept):
    """Managed servers refuse CONFIG."""
    server.command("ACL", "SETUSER", "default", "-config")
    await store.open()
    assert await load(store, kept.key) == kept


async def test_missing_rights_are_a_fault_of_the_configuration(server, store, kept):
    """Told as such, and not as a logout."""
    server.command("ACL", "SETUSER", "default", "-hgetall")
    with pytest.raises(StoreUnavailable, match="credentials or rights"):
        await load(store, kept.key)


@pytest.fixture
def sent(server):
    """Tell how often each command ran since this was asked last, those of scripts included."""
    before = {}

    def sent():
        lines = server.command("INFO", "commandstats").splitlines()
        stats = dict(line.split(":") for line in lines if line.startswith("cmdstat_"))
        now = {
            name.removeprefix("cmdstat_"): int(text.split(",")[0].split("=")[1])
            for name, text in stats.items()
        }
        grown = {name: count - before.get(name, 0) for name, count in now.items()}
        before.update(now)
        return {name: count for name, count in grown.items() if count and name != "info"}

    return sent


async def test_an_authenticated_load_is_one_command(store, kept, sent):
    """One read, seen by the server; inside the renew interval nothing is written."""
    await load(store, kept.key, renew=50)
    sent()
    for _ in range(10):
        await load(store, kept.key, renew=50)
    assert sent() == {"hgetall": 10}


async def test_a_use_that_is_written_down_is_a_script_of_its_own(store, kept, sent):
    """Which is not asked before where it is certain that there is something to write."""
    key, later = kept.key, START + 60
    sent()
    assert (await store.load(key, now=later, renew_interval=50)).last_seen_at == later
    first = sent()
    assert (first["hgetall"], first["evalsha"], first["hset"]) == (2, 1, 1)
    await store.load(key, now=later, renew_interval=50)
    assert sent() == {"hgetall": 1}
    await store.load(key, now=later, renew_interval=0)
    again = sent()
    assert (again["evalsha"], again["hgetall"]) == (1, 1)  # the script reads, too


async def test_a_replica_is_never_asked(server, kept, sent):
    """It may not know yet that a session has ended: a script goes to the primary."""
    client = Redis.from_url(server.url)
    client.load_balancing_strategy = "any"  # as a cluster's client may have one
    store = RedisStore(client)
    sent()
    assert await store.load(kept.key, now=START, renew_interval=50) == kept
    assert sent().keys() >= {"eval"}
    await client.aclose()


async def test_a_new_id_that_comes_too_late_is_none(server, store, kept, sent):
    """A server that hung gets to it when the caller has given up: the session stays as it is."""
    ticket, renamed = store._clients.ticket, kept.session_id[::-1]
    with ExitStack() as stack:

        async def ticket_and_hang(name):
            await ticket(name)
            sent()
            stack.enter_context(server.hung())

        store._clients.ticket = ticket_and_hang
        with pytest.raises(StoreUnavailable):
            await in_time(store.rename(kept.key, renamed, now=START))
    while "evalsha" not in sent():
        pass
    assert await until_it_works(lambda: load(store, kept.key)) == kept
    assert await load(store, kept.key._replace(session_id=renamed)) is None
    assert "took longer than" in str(await refusal_of(store, ticket, kept, renamed))


async def refusal_of(store, ticket, kept, renamed):
    """Return what is said where the server answers in time that it is too late."""

    async def no_ticket(name):
        await ticket(name)
        await store._clients.client.delete(name)

    store._clients.ticket = no_ticket
    with pytest.raises(StoreUnavailable) as caught:
        await store.rename(kept.key, renamed, now=START)
    return caught.value


async def test_a_new_id_whose_answer_is_lost_is_asked_for_again(store, kept):
    """And is the same one."""
    attempt, lost = store._clients._attempt, []

    async def lose_it(command):
        reply = await attempt(command)
        if isinstance(reply, list) and not lost:
            lost.append(reply)
            raise exceptions.ConnectionError("gone")
        return reply

    store._clients._attempt = lose_it
    renamed = kept.key._replace(session_id=kept.session_id[::-1])
    record = await store.rename(kept.key, renamed.session_id, now=START)
    assert lost
    assert record == await load(store, renamed)


def test_without_the_client_library_the_command_is_told():
    """Which installs it."""
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from fastapi import FastAPI\n"
        "from fastapi_memsession import SessionSettings, setup_sessions\n"
        "setup_sessions(FastAPI(), SessionSettings(env='test', provider='redis'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "SettingsError" in done.stderr
    assert "pip install 'fastapi-memsession[redis]'" in done.stderr
