"""Sessions on each store, and tasks that run for as long as theirs lives."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable

import pytest

from fastapi_memsession import MemoryStore, SessionEnded, SessionProvider, SessionStore
from fastapi_memsession.stores.redis import RedisStore

PATIENCE = 20  # seconds for anything that is waited for


@pytest.fixture(params=["memory", "redis"])
async def store(request) -> AsyncIterator[SessionStore]:
    if request.param == "memory":
        store: SessionStore = MemoryStore()
    else:
        url = request.getfixturevalue("redis_url")
        store = RedisStore(url, prefix=f"alive-{secrets.token_hex(8)}", timeout=PATIENCE)
    yield store
    await store.aclose()


@pytest.fixture
def make_provider(make_app, store) -> Callable[..., SessionProvider]:
    """Make a provider on the store; keywords are settings."""

    def make(**values) -> SessionProvider:
        return make_app(store=store, **values).state.sessions

    return make


@pytest.fixture
def provider(make_provider) -> SessionProvider:
    return make_provider()


async def begin(provider, user_id="anna", **options):
    """Begin a session."""
    return (await provider.login(user_id, **options)).session


async def inside(session, body=None) -> asyncio.Task:
    """Start a task that lives while the session does; return it once it is in the block."""
    entered = asyncio.Event()

    async def run():
        async with session.alive():
            entered.set()
            return await (body() if body else asyncio.Event().wait())

    task = asyncio.create_task(run())
    waiting = asyncio.create_task(entered.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
    waiting.cancel()
    return task


async def reason_of(task) -> str:
    """Return why a task's session ended, as the block tells it."""
    with pytest.raises(SessionEnded) as caught:
        async with asyncio.timeout(PATIENCE):
            await task
    return caught.value.reason


async def until(happened) -> None:
    """Let others run until something has happened."""
    async with asyncio.timeout(PATIENCE):
        while not happened():  # noqa: ASYNC110 - nobody sets an event for it
            await asyncio.sleep(0)


def vigil_of(provider):
    """Return who watches on the running loop."""
    return provider.watches._vigils[asyncio.get_running_loop(), id(provider.store)]
