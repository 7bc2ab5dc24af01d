"""States in which a server answers, but cannot do it now; and what is no Redis at all."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from fastapi_memsession import StoreUnavailable
from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import START
from tests.redis.calls import add_one, delete, in_time, keep, load, refuses, until
from tests.redis_server import RedisServer, wait_until

SLOW_START = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")


@pytest.fixture
def server(redis_folder, tmp_path):
    """A server of the test's own, at a socket that is the same when it is started again."""
    with RedisServer(tmp_path / "redis", unix=True) as server:
        yield server


async def answers(server, words, start):
    """Wait until the server answers a command so."""

    def told():
        return server.command(*words, check=False)

    await asyncio.to_thread(wait_until, lambda: start in told(), told)


async def test_a_server_that_is_loading(server, store, kept, record):
    """It is waited for by nobody; when it has read its file, all is there."""
    for number in range(100):
        await keep(store, record(f"user-{number}"))
    server.command("save")
    server.kill()
    with RedisServer(server.folder, *SLOW_START, unix=True) as again:
        await refuses(store, kept, "BusyLoading|LOADING")
        again.command("config", "set", "key-load-delay", 0)
        await answers(again, ["ping"], "PONG")
        assert await load(store, kept.key) == kept
        assert await add_one(store, kept.key) == 1


async def test_a_server_that_is_busy_with_a_script(server, store, kept):
    """Somebody else's, that does not end; once it is killed all goes on, and nothing was done."""
    server.command("config", "set", "busy-reply-threshold", 10)
    endless = asyncio.create_task(
        asyncio.to_thread(server.command, "eval", "while true do end", 0, check=False)
    )
    await answers(server, ["ping"], "BUSY")
    await refuses(store, kept, "BUSY")
    server.command("script", "kill")
    await endless
    assert await load(store, kept.key) == kept
    assert await add_one(store, kept.key) == 1


async def refuses_writes(store, kept, record, word):
    """See writes refused, for a reason, and reads answered."""
    for write in (
        add_one(store, kept.key),
        keep(store, record()),
        delete(store, kept.key),
        store.delete_user("anna", now=START, reason="revoked"),
        store.rotate(kept.key, 0, now=START, grace=10),
    ):
        with pytest.raises(StoreUnavailable, match=word):
            await in_time(write)
    assert await in_time(load(store, kept.key)) == kept


async def test_a_server_that_misses_its_replicas(server, store, kept, record):
    """Loads go on; a write is refused, and leaves nothing behind."""
    server.command("config", "set", "min-replicas-to-write", 1)
    await refuses_writes(store, kept, record, "NOREPLICAS")
    server.command("config", "set", "min-replicas-to-write", 0)
    assert await add_one(store, kept.key) == 1
    assert await store.count(now=START) == 1


async def test_a_server_that_cannot_save(server, store, kept, record):
    """Loads go on; a write is refused until it can save again."""
    server.command("config", "set", "save", "3600 1000")
    blocked = server.folder / "dump.rdb"
    blocked.mkdir()
    server.command("bgsave")
    await answers(server, ["info", "persistence"], "rdb_last_bgsave_status:err")
    await refuses_writes(store, kept, record, "MISCONF")
    blocked.rmdir()
    server.command("bgsave")
    await answers(server, ["info", "persistence"], "rdb_last_bgsave_status:ok")
    assert await add_one(store, kept.key) == 1
    assert await store.count(now=START) == 1


WEB_PAGE = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def impostor(answer, **where):
    """Serve somebody who answers everything alike; None is no answer at all.

    At the end no connection is left: whoever came has gone.
    """
    connections = set()

    async def serve(reader, writer):
        connections.add(writer)
        with suppress(ConnectionError):
            while await reader.read(1000):
                if answer is not None:
                    writer.write(answer)
                if answer == b"":
                    break
        writer.close()
        connections.remove(writer)

    async with await where.pop("start")(serve, **where) as running:
        yield running
        await until(lambda: not connections)


@pytest.mark.parametrize("answer", [WEB_PAGE, b"", None, b"\0" * 100, b"-NO\r\n", b"*-7\r\n"])
async def test_what_is_no_redis_is_told(server, store, kept, answer):
    """Whatever it answers; the same store uses the server that takes its place."""
    server.kill()
    server.socket.unlink()
    async with impostor(answer, start=asyncio.start_unix_server, path=server.socket):
        await refuses(store, kept, "Redis cannot answer")
    server.__enter__()
    await keep(store, kept)
    assert await add_one(store, kept.key) == 1


@pytest.mark.parametrize("answer", [WEB_PAGE, None])
@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:{}",
        "rediss://127.0.0.1:{}",
        "redis+cluster://127.0.0.1:{}",
        "redis+sentinel://127.0.0.1:{}/service",
    ],
)
async def test_no_deployment_is_found_where_none_is(url, answer):
    """An application that is told so does not start."""
    async with impostor(answer, start=asyncio.start_server, host="127.0.0.1", port=0) as running:
        port = running.sockets[0].getsockname()[1]
        with pytest.raises(StoreUnavailable):
            await in_time(RedisStore(url.format(port)).open())
