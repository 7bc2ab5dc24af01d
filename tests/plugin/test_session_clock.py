"""The plugin's clock: moves applications that were set up without one, and nothing else."""

import asyncio
import secrets
import time
from contextlib import suppress

import pytest
from fastapi.testclient import TestClient

from fastapi_memsession import LockTimeout
from fastapi_memsession.clock import Clock, system_clock
from fastapi_memsession.stores.redis import RedisStore
from fastapi_memsession.testing import SessionClock
from tests.redis_server import RedisServer

DAY = 86_400


@pytest.fixture(params=["memory", "redis"])
def client(request, make_plain_app, redis_folder):
    """Somebody to talk to an application with refresh tokens, on each store."""
    options = {"refresh": True, "carrier": "cookie"}
    if request.param == "memory":
        with TestClient(make_plain_app(**options)) as client:
            yield client
        return
    with RedisServer(redis_folder / secrets.token_hex(4)) as server:
        store = RedisStore(server.url, timeout=20)
        with TestClient(make_plain_app(store=store, **options)) as client:
            yield client


def test_tokens_and_sessions_end_by_it(client, session_clock, login_as):
    """Each at its very second: the access token, the idle expiration, and the max lifetime."""
    session = login_as(client, "anna")
    session_clock.advance(15 * 60 - 1)
    assert client.get("/profile").status_code == 200
    session_clock.advance(1)
    assert client.get("/profile").status_code == 401
    assert client.post("/refresh").status_code == 200
    deadline = session.created_at + 30 * DAY
    while session_clock.now + DAY < deadline:
        session_clock.advance(DAY - 1)
        assert client.post("/refresh").status_code == 200
    session_clock.advance(deadline - session_clock.now - 1)
    assert client.post("/refresh").status_code == 200
    session_clock.advance(1)
    assert client.post("/refresh").json()["reason"] == "expired"


def test_a_use_extends_a_session(session_clock, login_as, plain_app):
    """By the clock's time, and to the second."""
    client = TestClient(plain_app)
    session = login_as(client, "anna")
    assert session.created_at == session_clock.now
    for _ in range(3):
        session_clock.advance(DAY - 1)
        assert client.get("/profile").status_code == 200
    session_clock.advance(DAY)
    assert client.get("/profile").status_code == 401


def test_the_clean_up_comes_when_its_time_has_come(client, session_clock, login_as):
    """The loop that sleeps in the running application wakes; nobody waits for it."""
    provider = client.app.state.sessions
    stats = lambda: client.portal.call(provider.stats)  # noqa: E731
    session_clock.advance(298)
    assert stats().sweeps == 0
    session_clock.advance(2)
    for _ in range(1000):
        if stats().sweeps:
            break
    assert stats().sweeps == 1


def test_the_clean_up_removes_what_is_dead_by_it(plain_app, session_clock, login_as):
    """Before the next request is answered."""
    with TestClient(plain_app) as client:
        login_as(client, "anna")
        session_clock.advance(DAY)
        stats = client.portal.call(plain_app.state.sessions.stats)
        assert (stats.sessions, stats.swept) == (0, 1)


async def test_a_lock_is_lost_by_it(plain_app, session_clock):
    """Who holds a session's lock longer than its timeout is told."""
    session = (await plain_app.state.sessions.login("anna")).session
    with pytest.raises(LockTimeout):
        async with session.lock(timeout=10):
            session_clock.advance(10)


def test_it_stands_still_and_leaves_the_machine_alone(session_clock):
    """Other code's time goes on."""
    before, machine = session_clock.now, time.time()
    session_clock.advance(DAY)
    assert system_clock() == session_clock.now == before + DAY
    assert machine - 60 < before < machine + 1
    assert machine <= time.time() < machine + 60


def test_time_goes_back_afterwards():
    """To the machine's, or to the clock around."""
    with SessionClock() as outer:
        outer.advance(1000)
        with SessionClock() as inner:
            assert inner.now == outer.now
            inner.advance(1000)
        assert system_clock() == outer.now
    assert abs(system_clock() - time.time()) < 60


def test_an_application_with_a_clock_of_its_own_keeps_it(make_plain_app, session_clock, clock):
    """Whoever passed one moves that."""
    app = make_plain_app(clock=clock)
    session_clock.advance(DAY)
    assert app.state.sessions.clock() == clock.now


async def test_sleep_is_over_after_real_time_too():
    """A clock that stands still keeps nobody from cleaning up."""
    await asyncio.wait_for(Clock(lambda: 0.0).sleep(0.01), 5)


async def test_a_jump_that_is_too_short_wakes_nobody(clock):
    """Whoever sleeps goes on, and wakes at the jump that completes it."""
    slept = Clock(clock)
    sleeper = asyncio.create_task(slept.sleep(100))
    for seconds, done in ((99, False), (1, True)):
        await asyncio.wait({sleeper}, timeout=0)
        clock.advance(seconds)
        slept.wake()
        slept.wake()  # twice at once is no harm
        await asyncio.wait({sleeper}, timeout=0 if not done else 5)
        assert sleeper.done() is done


def test_who_sleeps_on_a_loop_that_is_gone_is_no_obstacle(clock):
    """Waking the others goes on."""
    slept, loop = Clock(clock), asyncio.new_event_loop()
    sleeper = slept.sleep(100)
    with suppress(TimeoutError):
        task = loop.create_task(sleeper)
        loop.run_until_complete(asyncio.wait_for(asyncio.shield(task), 0))
    loop.call_soon(loop.stop)
    loop.run_forever()  # it sleeps now
    loop.close()
    slept.wake()
    sleeper.close()
