"""A block ends when its session expires: known by the record's times, looked at when it is time."""

import asyncio

import pytest
from fastapi import FastAPI

from fastapi_memsession import MemoryStore, StoreUnavailable, setup_sessions
from fastapi_memsession.records import new_session_id
from fastapi_memsession.testing import SessionClock
from tests.alive.conftest import begin, inside, reason_of, until, vigil_of
from tests.conftest import settings


def looked(provider):
    """Whether nobody is looking at anything just now."""
    vigil = vigil_of(provider)
    return not vigil._doubtful and vigil._looking is None


async def sweep(provider):
    """Sweep, and let the look that it asks for come to its end."""
    await provider.sweep()
    await asyncio.sleep(0)
    await until(lambda: looked(provider))


async def test_a_sweep_ends_what_has_expired(provider, clock):
    """For a clock that is moved by hand, and for a machine that slept."""
    session = await begin(provider, expiration=100)
    tasks = [await inside(session) for _ in range(2)]
    clock.advance(99)
    await sweep(provider)
    assert not any(task.done() for task in tasks)
    clock.advance(1)
    await provider.sweep()
    assert [await reason_of(task) for task in tasks] == ["expired"] * 2


async def test_the_clock_of_the_pytest_plugin_needs_no_sweep():
    """Who sleeps by it looks at the time again when it jumps."""
    with SessionClock() as session_clock:
        provider = setup_sessions(FastAPI(), settings())
        task = await inside(await begin(provider, expiration=100))
        session_clock.advance(99)
        await until(lambda: looked(provider))
        assert not task.done()
        session_clock.advance(1)
        assert await reason_of(task) == "expired"


async def test_a_session_that_is_used_goes_on(provider, clock):
    """By whomever; looking at it extends nothing."""
    session = await begin(provider, expiration=100)
    task = await inside(session)
    clock.advance(80)
    await provider.store.load(session.record.key, now=clock(), renew_interval=0)
    clock.advance(80)
    await sweep(provider)
    assert not task.done()
    (info,) = await provider.list_sessions("anna")
    assert info.expires_at == clock() + 20
    clock.advance(20)
    await provider.sweep()
    assert await reason_of(task) == "expired"


async def test_a_session_that_is_used_dies_at_its_deadline(provider, clock):
    """Whatever is done with it."""
    session = await begin(provider, expiration=100, max_lifetime=150)
    task = await inside(session)
    clock.advance(90)
    await provider.store.load(session.record.key, now=clock(), renew_interval=0)
    clock.advance(60)
    await provider.sweep()
    assert await reason_of(task) == "expired"


async def test_a_session_under_a_new_id_expires(provider, clock):
    """With the times that it had."""
    session, renamed = await begin(provider, expiration=100), new_session_id()
    task = await inside(session)
    await provider.store.rename(session.record.key, renamed, now=clock())
    await until(lambda: session.id == renamed)
    clock.advance(99)
    await sweep(provider)
    assert not task.done()
    clock.advance(1)
    await provider.sweep()
    assert await reason_of(task) == "expired"


async def test_nobody_has_to_sweep(provider, clock):
    """A timer is set for the session that expires next, and set anew when it was renewed."""
    clock.advance(0.98)  # a timer counts whole seconds
    later = await begin(provider, expiration=1000)
    resting = await inside(later)
    session = await begin(provider, expiration=0.01)
    task = await inside(session)
    clock.advance(0.005)
    await provider.store.load(session.record.key, now=clock(), renew_interval=0)
    vigil = vigil_of(provider)
    first = vigil._timer
    await until(lambda: vigil._timer is not first)  # it rang, and nothing was due
    assert not task.done()
    clock.advance(0.1)
    assert await reason_of(task) == "expired"
    assert not resting.done()
    await later.destroy()
    await reason_of(resting)
    clock.advance(0.89)
    alone = await inside(await begin(provider, expiration=0.01))
    clock.advance(0.1)
    assert await reason_of(alone) == "expired"


async def test_leaving_takes_the_timer_along(provider):
    """None is left that would ring for nobody."""
    session = await begin(provider)
    async with session.alive():
        vigil = vigil_of(provider)
        timer = vigil._timer
    await asyncio.wait({timer})
    assert timer.cancelled()
    assert provider.watches._vigils == {}


async def test_a_sweep_on_another_loop(provider, clock):
    """Looks at what lives here."""
    session = await begin(provider, expiration=100)
    task = await inside(session)
    clock.advance(100)

    async def sweep_elsewhere():
        await provider.sweep()
        await provider.store.aclose()

    await asyncio.to_thread(asyncio.run, sweep_elsewhere())
    assert await reason_of(task) == "expired"


@pytest.mark.parametrize("alone", [False, True])
async def test_leaving_while_one_looks(provider, clock, monkeypatch, alone):
    """What is found out then interests nobody."""
    session = await begin(provider, expiration=100)
    task, looking, go_on = await inside(session), asyncio.Event(), asyncio.Event()
    others = [] if alone else [await inside(await begin(provider, "bert"))]
    load = provider.store.load

    async def load_slowly(*args, **options):
        looking.set()
        await go_on.wait()
        return await load(*args, **options)

    clock.advance(50)
    await load(session.record.key, now=clock(), renew_interval=0)  # so it lives when looked at
    monkeypatch.setattr(provider.store, "load", load_slowly)
    clock.advance(50)
    await provider.sweep()
    await looking.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    for other in others:
        await until(lambda: looked(provider))
        vigil = vigil_of(provider)
        assert len(vigil.sessions) == len(vigil._expiry) == 1
        await provider.revoke_user("bert")
        await reason_of(other)
    assert provider.watches._vigils == {}


async def test_leaving_before_one_looks(provider, clock):
    """Nobody does, then."""
    session, other = await begin(provider, expiration=100), await begin(provider, "bert")
    async with other.alive():
        async with session.alive():
            clock.advance(100)
            vigil_of(provider).look_at_the_due()
        await until(lambda: looked(provider))


class Shaky(MemoryStore):
    """Cannot answer at times."""

    shaken = False

    async def load(self, *args, **options):
        if self.shaken:
            raise StoreUnavailable("Not now.")
        return await super().load(*args, **options)


@pytest.fixture
def shaky(make_app):
    return make_app(store=Shaky()).state.sessions


async def test_a_store_that_cannot_tell_ends_nothing(shaky, clock, caplog):
    """It is asked again, until it can; a warning says so."""
    session = await begin(shaky, expiration=100)
    task = await inside(session)
    shaky.store.shaken = True
    clock.advance(100)
    await sweep(shaky)
    assert not task.done()
    assert "cannot be told now: Not now." in caplog.text
    shaky.store.shaken = False
    clock.advance(2)
    await shaky.sweep()
    assert await reason_of(task) == "expired"


async def test_a_deadline_needs_no_store(shaky, clock):
    """Nothing could have moved it."""
    session = await begin(shaky, expiration=100, max_lifetime=100)
    task = await inside(session)
    shaky.store.shaken = True
    clock.advance(100)
    await shaky.sweep()
    assert await reason_of(task) == "expired"


async def test_a_store_that_fails_at_once_refuses(shaky):
    """Nobody enters unwatched."""
    session = await begin(shaky)
    shaky.store.shaken = True
    with pytest.raises(StoreUnavailable):
        async with session.alive():
            pytest.fail("entered")


def test_a_loop_that_was_closed_disturbs_nobody(make_app, clock):
    """As if somebody were in a block there still; nobody can be told any more."""
    provider = make_app().state.sessions
    vigils = provider.watches._vigils

    async def enter():
        session = await begin(provider, expiration=100)
        listening = provider.store._listeners.listening(session.record.key, print)
        listening.__enter__()
        async with session.alive():
            return session, listening, dict(vigils)

    async def others():
        await provider.sweep()
        await provider.revoke(gone.id, user_id="anna")
        here = await inside(await begin(provider, expiration=50))
        clock.advance(50)
        await provider.sweep()
        assert await reason_of(here) == "expired"

    gone, listening, before = asyncio.run(enter())
    vigils.update(before)
    asyncio.run(others())
    listening.__exit__(None, None, None)
