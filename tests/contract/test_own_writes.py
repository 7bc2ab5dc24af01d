"""Several calls of one session at once: what it shows afterwards is what the store has."""

import asyncio

import pytest
from pydantic import BaseModel

from fastapi_memsession import LockTimeout, SessionEnded, StoreUnavailable, typed_session


class Data(BaseModel):
    x: int


@pytest.fixture
def provider(store, make_app):
    return make_app(store=store).state.sessions


@pytest.fixture
def answers_late(store, monkeypatch):
    """Let the first call of a method answer long after the store did it; return when it has."""

    def answers_late(name):
        call, done = getattr(store, name), asyncio.Event()

        async def late(*args, **options):
            result = await call(*args, **options)
            if store.waits and not done.is_set():
                done.set()
                for _ in range(1000):
                    await asyncio.sleep(0)
            done.set()
            return result

        monkeypatch.setattr(store, name, late)
        return done

    return answers_late


FIRST = {
    "change": lambda session: session.set("x", 1),
    "load": lambda session: session.reload(),
    "set_claims": lambda session: session.update_claims(role="x"),
}


@pytest.mark.parametrize("name", FIRST)
async def test_a_session_shows_its_own_writes_whatever_answers_last(provider, answers_late, name):
    """An answer that comes late is not the newest; also where the data have a shape."""
    login = await provider.login("anna", data={"x": 0})
    session, done = await provider.open(login.tokens.access), answers_late(name)

    async def second():
        await done.wait()
        await typed_session(session, Data).set("x", 2)

    await asyncio.gather(FIRST[name](session), second())
    assert await session.get("x") == 2
    await session.reload()
    assert await session.get("x") == 2


async def test_who_is_cancelled_in_the_line_has_written_nothing(provider, answers_late):
    """And those behind go on, until the session is destroyed."""
    login = await provider.login("anna", data={"x": 0})
    session, done = await provider.open(login.tokens.access), answers_late("change")
    first = asyncio.create_task(session.set("x", 1))
    await done.wait()
    if first.done():  # there is no line
        return
    second, third = (asyncio.create_task(session.set("x", each)) for each in (2, 3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert second.cancelled()
    assert await session.get("x") == 3
    done.clear()
    first = asyncio.create_task(session.set("x", 4))
    await done.wait()
    second = asyncio.create_task(session.set("x", 5))
    await asyncio.sleep(0)
    await session.destroy()
    await first
    with pytest.raises(SessionEnded):
        await second


async def test_who_waits_in_the_line_of_a_store_that_is_away_fails_with_the_first(
    provider, monkeypatch
):
    """Each would have to wait as long again; the next one asks anew. A lock that was lost is
    an answer."""
    login = await provider.login("anna", data={"x": 0})
    session = await provider.open(login.tokens.access)
    store, asked, errors = provider.store, [], [StoreUnavailable("away"), LockTimeout("lost")]
    change = store.change

    async def faulty(*args, **options):
        asked.append(args)
        await asyncio.sleep(0)
        if errors:
            raise errors.pop(0)
        return await change(*args, **options)

    monkeypatch.setattr(store, "change", faulty)
    results = await asyncio.gather(*(session.incr("x") for _ in range(3)), return_exceptions=True)
    if not store.waits:  # each has its own answer
        assert results[2] == 1
        return
    assert [type(each) for each in results] == [StoreUnavailable] * 3
    assert len(asked) == 1
    lost, *others = await asyncio.gather(*map(session.incr, "xxx"), return_exceptions=True)
    assert isinstance(lost, LockTimeout)
    assert others == [1, 2]


async def test_a_session_may_be_used_on_two_loops(provider):
    """Nobody waits on one for what happens on another."""
    login = await provider.login("anna", data={"x": 0})
    session = await provider.open(login.tokens.access)

    async def count():
        await asyncio.gather(*(session.incr("x") for _ in range(10)))
        return provider.store

    async def elsewhere():
        await (await count()).aclose()

    here = asyncio.gather(*(session.incr("x") for _ in range(10)))
    await asyncio.gather(here, asyncio.to_thread(asyncio.run, elsewhere()))
    await session.reload()
    assert await session.get("x") == 20
