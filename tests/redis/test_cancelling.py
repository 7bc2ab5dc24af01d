"""A call that is told to stop stops, even where the client takes the request for itself.

Before Python 3.12 `asyncio.wait_for`, which the client uses, forgets a cancellation that comes
together with the end of what it waits for.
"""

import asyncio
from contextlib import suppress

import pytest
from redis import exceptions
from redis.asyncio import Redis

from fastapi_memsession import StoreUnavailable
from fastapi_memsession.stores.redis_client import RedisClients


class Command:
    """Never ends by itself, and answers the first who cancels it as if nothing had happened."""

    def __init__(self, answer):
        self.answer = answer
        self.begun = asyncio.Event()
        self.times = 0

    async def __call__(self):
        self.times += 1
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.answer is not None:
                raise self.answer from None


@pytest.mark.parametrize("answer", [None, exceptions.ConnectionError(), OSError()])
@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_cancellation_is_heeded(answer, idempotent):
    """Whatever came with it, and without another attempt."""
    command = Command(answer)
    clients = RedisClients(Redis, timeout=60)
    calling = asyncio.create_task(clients.call(command, idempotent=idempotent))
    await command.begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(calling, 5)
    assert command.times == 1


async def test_there_is_no_second_attempt_after_the_deadline():
    """It would have none."""
    command = Command(exceptions.ConnectionError())
    with pytest.raises(StoreUnavailable):
        await RedisClients(Redis, timeout=0.01).call(command, idempotent=True)
    assert command.times == 1


async def test_the_deadline_holds_also_where_its_first_call_is_not_heard():
    """The client goes on as if it had not been told to stop, and is told again."""

    async def deaf_once():
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    calling = RedisClients(Redis, timeout=0.01).call(deaf_once, idempotent=False)
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(calling, 5)
