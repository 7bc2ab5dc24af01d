"""Event loops that come and go, as test clients make them: no connection stays open."""

import asyncio
from pathlib import Path

import pytest

from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import START
from tests.redis_deployments import sentinel


@pytest.fixture(scope="module")
def watched(redis_folder):
    with sentinel(redis_folder / "watched") as servers:
        yield servers


def open_files():
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize(("deployment", "loops"), [("server", 200), ("nodes", 20), ("watched", 20)])
def test_event_loops_leave_no_files_open(request, record, deployment, loops):
    """However many there were; closing the store on the last one leaves nothing."""
    store, made = RedisStore(request.getfixturevalue(deployment).url, timeout=20), record()
    keeping = open_files()

    async def use():
        loads = (store.load(made.key, now=START, renew_interval=None) for _ in range(3))
        assert await asyncio.gather(*loads) == [made] * 3

    async def finish():
        await use()
        await store.aclose()

    asyncio.run(store.create(made, now=START, limit_per_user=None))
    asyncio.run(use())
    before = open_files()
    for _ in range(loops):
        asyncio.run(use())
    assert open_files() <= before + 5
    asyncio.run(finish())
    assert open_files() <= keeping + 1
