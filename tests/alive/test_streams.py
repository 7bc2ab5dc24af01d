"""`session.while_alive(source)`: an event stream that ends with its session."""

import asyncio
from contextlib import aclosing

import pytest

from tests.alive.conftest import PATIENCE, begin, until, vigil_of


class Source:
    """Yields what it is given, and says what became of it."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[str] = asyncio.Queue()
        self.waiting = asyncio.Event()
        self.became = ""

    async def stream(self):
        try:
            while True:
                self.waiting.set()
                yield await self.items.get()
                self.waiting.clear()
        except asyncio.CancelledError:
            self.became = "cancelled"
            raise
        except GeneratorExit:
            self.became = "closed"
            raise


@pytest.fixture
def source():
    return Source()


async def collected(stream):
    async with asyncio.timeout(PATIENCE):
        return [item async for item in stream]


async def test_a_stream_ends_with_its_session(provider, source):
    """What it waits for is cancelled; to whoever reads it is complete."""
    session = await begin(provider)
    reading = asyncio.create_task(collected(session.while_alive(source.stream())))
    source.items.put_nowait("one")
    await until(lambda: source.waiting.is_set() and source.items.empty())
    await session.destroy()
    assert await reading == ["one"]
    assert source.became == "cancelled"
    assert provider.watches._vigils == {}


async def test_a_stream_ends_where_nobody_reads(provider, source):
    """As when the client is slow: nothing is cancelled that is not the stream's."""
    session = await begin(provider)
    source.items.put_nowait("one")
    source.items.put_nowait("two")
    stream = session.while_alive(source.stream())
    assert await anext(stream) == "one"
    (watched,) = vigil_of(provider).sessions.values()
    await provider.revoke(session.id, user_id="anna")
    await until(lambda: [watch.ended for watch in watched.watches] == ["revoked"])
    assert await collected(stream) == []
    assert source.became == "closed"


async def test_a_stream_that_ends_by_itself(provider):
    """Is passed on whole."""

    async def stream():
        yield 1
        yield 2

    session = await begin(provider)
    assert await collected(session.while_alive(stream())) == [1, 2]
    assert provider.watches._vigils == {}


async def test_a_reader_that_leaves_closes_the_source(provider, source):
    """And nobody is watched any more."""
    session = await begin(provider)
    source.items.put_nowait("one")
    async with aclosing(session.while_alive(source.stream())) as stream:
        assert await anext(stream) == "one"
    assert source.became == "closed"
    assert provider.watches._vigils == {}


async def test_any_async_iterable_is_a_source(provider):
    """It need not be a generator."""

    class Numbers:
        def __init__(self):
            self.left = 3

        def __aiter__(self):
            return self

        async def __anext__(self):
            self.left -= 1
            if not self.left:
                raise StopAsyncIteration
            return self.left

    session = await begin(provider)
    assert await collected(session.while_alive(Numbers())) == [2, 1]


async def test_a_session_that_is_over_streams_nothing(provider, source):
    """Not even what was there already."""
    session, source.items = await begin(provider), asyncio.Queue()
    source.items.put_nowait("one")
    await provider.revoke(session.id, user_id="anna")
    assert await collected(session.while_alive(source.stream())) == []
    await session.destroy()
    assert await collected(session.while_alive(source.stream())) == []


async def test_a_source_that_fails_is_told(provider):
    """Its error is not taken for an end."""

    async def stream():
        yield 1
        raise ZeroDivisionError

    session = await begin(provider)
    with pytest.raises(ZeroDivisionError):
        await collected(session.while_alive(stream()))


async def test_each_step_may_be_another_task(provider, source):
    """As where a framework reads ahead; the one that waits is interrupted."""
    session = await begin(provider)
    stream = session.while_alive(source.stream())
    source.items.put_nowait("one")
    assert await asyncio.create_task(anext(stream)) == "one"
    waiting = asyncio.create_task(anext(stream, "over"))
    await until(lambda: source.items.empty() and source.waiting.is_set())
    await asyncio.sleep(0)
    await session.destroy()
    assert await waiting == "over"
