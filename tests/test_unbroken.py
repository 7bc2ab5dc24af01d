"""Work that is done to its end, whoever stops waiting for it."""

import asyncio
import gc
import weakref

from fastapi import Request

from fastapi_memsession import MemoryStore, login_session
from fastapi_memsession.unbroken import _under_way
from tests.applications import calling


async def test_an_ending_outlives_its_request(make_app):
    """Although nobody waits for it any more, and nothing else keeps its task alive."""

    class Stuck(MemoryStore):
        async def delete(self, *args, **options):
            reply = asyncio.get_running_loop().create_future()
            self.reply = weakref.ref(reply)
            asked.set()
            await reply
            return await super().delete(*args, **options)

    store, begun, asked = Stuck(), asyncio.Event(), asyncio.Event()
    app = make_app(store=store)

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")
        begun.set()
        await asyncio.Event().wait()

    async with calling(app) as client:
        task = asyncio.create_task(client.post("/login"))
        await begun.wait()
        task.cancel()
        await asyncio.wait_for(asked.wait(), 5)
        task.cancel()
        await asyncio.wait({task})
    del task
    gc.collect()
    assert store.reply() is not None
    store.reply().set_result(None)
    await asyncio.wait_for(asyncio.gather(*_under_way), 5)
    assert await app.state.sessions.count() == 0
