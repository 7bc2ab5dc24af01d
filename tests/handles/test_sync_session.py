"""SyncSession: what Session does, from threads; on both stores."""

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from fastapi_memsession import (
    CurrentSession,
    CurrentSyncSession,
    LockTimeout,
    MemoryStore,
    OptionalSyncSession,
    Session,
    SessionDataError,
    SessionEnded,
    SessionEvent,
    SessionUsageError,
    StoreUnavailable,
    SyncSession,
    get_session,
    login_session_sync,
    logout_session_sync,
    renew_session_sync,
)
from fastapi_memsession.records import new_session_id
from fastapi_memsession.threads import held_on
from tests.conftest import KEY
from tests.redis_server import RedisServer
from tests.serving import serving

DAY = 86_400
# What a provider and a connection have to do with a session, and no endpoint.
NOT_FOR_ENDPOINTS = {
    "load", "moved", "pending_id", "record", "adopt_tokens", "shared", "store",
    "store_lock", "can_send_token", "token_info", "under", "needs_token",
}  # fmt: skip
NOT_FOR_THREADS = {"alive", "while_alive"}  # nothing can interrupt what a thread waits for


@pytest.fixture
async def twin(session) -> SyncSession:
    return SyncSession(session, asyncio.get_running_loop())


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


def test_it_has_all_that_a_session_has():
    """By the same names, with the same arguments."""
    assert public(SyncSession) == public(Session) - NOT_FOR_ENDPOINTS - NOT_FOR_THREADS
    for name in public(SyncSession):
        ours, theirs = getattr(SyncSession, name), getattr(Session, name)
        if isinstance(theirs, property):
            assert isinstance(ours, property)
        else:
            assert not inspect.iscoroutinefunction(ours)
            told, expected = inspect.signature(ours), inspect.signature(theirs)
            assert told.parameters == expected.parameters, name


CALLS = {
    "get": lambda s: s.get("n", as_=int),
    "get nothing": lambda s: s.get("none", 5),
    "set": lambda s: s.set("a", {"deep": [1]}),
    "update": lambda s: s.update({"b": 1, "c": None}),
    "all": lambda s: s.all(),
    "delete": lambda s: s.delete("b"),
    "pop": lambda s: s.pop("a"),
    "pop nothing": lambda s: s.pop("a", "gone"),
    "setdefault": lambda s: s.setdefault("d", [1]),
    "incr": lambda s: s.incr("n"),
    "incr by": lambda s: s.incr("n", 0.5),
    "compare_and_set": lambda s: s.compare_and_set("d", [1], 2),
    "compare_and_set otherwise": lambda s: s.compare_and_set("d", [1], 3),
    "update_claims": lambda s: s.update_claims(role="admin"),
    "refresh": lambda s: s.refresh(),
    "reload": lambda s: s.reload(),
    "what is there": lambda s: s.all(),
}
TIMES = ("created_at", "last_seen_at", "expires_at", "expires_in", "confirmed_at", "destroyed")


async def test_every_call_does_what_its_async_twin_does(provider, session, twin, again, clock):
    """The same results, the same data, the same times; seen by this request and by others."""
    other = (await provider.login("bert", data={"n": 1})).session
    clock.advance(DAY / 2)
    for name, call in CALLS.items():
        assert await asyncio.to_thread(call, twin) == await call(other), name
    for name in TIMES:
        assert getattr(twin, name) == getattr(other, name), name
    assert twin.last_seen_at == clock()
    assert (twin.id, twin.user_id, twin.claims) == (session.id, "anna", session.claims)
    assert twin.claims.data == {"role": "admin"}
    assert await session.all() == await (await again(session)).all() == await other.all()


async def test_errors_are_those_of_the_async_twin(provider, session, twin, again):
    """Whatever the class; nothing is written then."""
    for call, error in [
        (lambda: twin.set("n", object()), SessionDataError),
        (lambda: twin.get(1), SessionDataError),
        (lambda: twin.incr("n", "1"), SessionDataError),
        (twin.regenerate, SessionUsageError),
        (twin.confirm, SessionUsageError),
    ]:
        with pytest.raises(error):
            await asyncio.to_thread(call)
    assert await (await again(session)).all() == {"n": 1}
    await provider.revoke(session.id, user_id="anna")
    with pytest.raises(SessionEnded, match="log in again"):
        await asyncio.to_thread(twin.set, "n", 2)
    await asyncio.to_thread(twin.destroy)
    await asyncio.to_thread(twin.destroy)
    assert twin.destroyed
    assert repr(twin) == "<SyncSession of 'anna' (destroyed)>"
    with pytest.raises(SessionEnded, match=r"login_session\(\)"):
        await asyncio.to_thread(twin.get, "n")


def enter(session):
    with session.lock():
        pytest.fail("entered")


@pytest.mark.parametrize(
    "call",
    [*CALLS.values(), enter, lambda s: s.destroy(), lambda s: s.confirm()],
    ids=[*CALLS, "lock", "destroy", "confirm"],
)
async def test_on_an_event_loop_it_is_refused_at_once(session, twin, again, call):
    """Instead of waiting for itself, or holding up everyone; nothing is done."""
    with pytest.raises(SessionUsageError, match="async def"):
        call(twin)
    assert not session.destroyed
    assert await (await again(session)).all() == {"n": 1}


async def test_in_memory_no_call_needs_the_event_loop(make_app):
    """It stands still meanwhile: reads and writes are done by the thread itself."""
    session = (await make_app().state.sessions.login("anna", data={"n": 1})).session
    twin = SyncSession(session, asyncio.get_running_loop())
    results = []
    thread = threading.Thread(
        target=lambda: results.extend(call(twin) for call in CALLS.values()), daemon=True
    )
    thread.start()
    thread.join(10)
    assert len(results) == len(CALLS)


async def test_reading_never_needs_the_event_loop(twin):
    """The data came with the session."""
    thread = threading.Thread(target=lambda: seen.append((twin.get("n"), twin.all())), daemon=True)
    seen = []
    thread.start()
    thread.join(10)
    assert seen == [(1, {"n": 1})]


async def test_a_store_that_waits_is_asked_once(make_app):
    """On the event loop, from the first step to the last."""
    steps = []

    class Waiting(MemoryStore):
        waits = True

        async def change(self, key, changes, **more):
            steps.append(threading.get_ident())
            await asyncio.sleep(0)
            steps.append(threading.get_ident())
            return await super().change(key, changes, **more)

    session = (await make_app(store=Waiting()).state.sessions.login("anna")).session
    twin = SyncSession(session, asyncio.get_running_loop())
    assert await asyncio.to_thread(twin.incr, "n") == 1
    assert steps == [threading.get_ident()] * 2


async def test_a_store_that_waits_and_does_not_say_so_is_told(make_app):
    """Nobody could finish what it began."""

    class Lying(MemoryStore):
        async def change(self, key, changes, **more):
            await asyncio.sleep(0)
            return await super().change(key, changes, **more)

    session = (await make_app(store=Lying()).state.sessions.login("anna")).session
    twin = SyncSession(session, asyncio.get_running_loop())
    with pytest.raises(SessionUsageError, match="waits = True"):
        await asyncio.to_thread(twin.set, "n", 1)
    assert await asyncio.to_thread(twin.all) == {}


async def test_many_threads_share_one_session(session, twin, again):
    """No write is lost, and each is seen at once, by handles of the same request too."""
    other = SyncSession(session, asyncio.get_running_loop())

    def work(number):
        for handle in (twin, other):
            for turn in range(10):
                handle.incr("n")
                handle.set(f"{number}-{turn}", turn)
                assert handle.get(f"{number}-{turn}") == turn

    def all_work():
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))

    await asyncio.to_thread(all_work)
    data = await (await again(session)).all()
    assert (data["n"], len(data)) == (161, 81)
    assert await session.all() == data


async def test_what_one_thread_wrote_no_other_forgets(make_app):
    """Between what the store did and what the session shows of it, no other thread comes."""
    written = threading.Event()

    def write_b():
        twin.set("b", 2)
        written.set()

    writer = threading.Thread(target=write_b, daemon=True)

    class SlowlyRead(tuple):
        def __iter__(self):
            writer.start()
            written.wait(0.1)  # in vain: the other one waits for this one
            return super().__iter__()

    class Slow(MemoryStore):
        async def change(self, key, changes, **more):
            result = await super().change(key, changes, **more)
            first = changes[0].key == "a"
            return replace(result, values=SlowlyRead(result.values)) if first else result

    session = (await make_app(store=Slow()).state.sessions.login("anna")).session
    twin = SyncSession(session, asyncio.get_running_loop())
    await asyncio.to_thread(twin.set, "a", 1)
    writer.join(10)
    assert await session.all() == {"a": 1, "b": 2}


async def test_a_lock_keeps_out_threads_and_tasks(session, twin, again):
    """Of this request and of others; entering reads what the last holder wrote."""
    other = await again(session)
    second = SyncSession(await again(session), asyncio.get_running_loop())
    inside = []

    def add_one(handle):
        for _ in range(5):
            with handle.lock():
                inside.append(handle)
                assert len(inside) == 1
                handle.set("n", handle.get("n") + 1)
                inside.pop()

    async def add_one_too():
        for _ in range(5):
            async with other.lock():
                inside.append(other)
                assert len(inside) == 1
                value = await other.get("n")
                await asyncio.sleep(0)
                await other.set("n", value + 1)
                inside.pop()

    threads = [asyncio.to_thread(add_one, handle) for handle in (twin, twin, second)]
    await asyncio.gather(*threads, add_one_too())
    await session.reload()
    assert await session.get("n") == 21


async def test_a_write_under_a_lost_lock_is_refused(session, twin, again, clock):
    """In the thread that lost it; what the next holder wrote stays."""
    other = SyncSession(await again(session), asyncio.get_running_loop())

    def work():
        with pytest.raises(LockTimeout, match="held longer"), twin.lock(timeout=5):
            twin.set("n", 2)
            clock.advance(5)
            with ThreadPoolExecutor(1) as pool:  # a thread of another request
                pool.submit(locked_set, other, 3).result()
            with pytest.raises(LockTimeout, match="refused"):
                twin.set("n", 4)
        twin.set("m", 5)  # after the lock, plain writes are plain again

    await asyncio.to_thread(work)
    assert await (await again(session)).all() == {"n": 3, "m": 5}


def locked_set(session, value):
    with session.lock():
        session.set("n", value)


async def test_a_lock_may_be_waited_for_in_vain(session, twin, again):
    """Then nothing was entered, and the holder goes on."""

    def wait_for_it():
        with twin.lock(timeout=0.01):
            pytest.fail("two holders")

    async with (await again(session)).lock():
        with pytest.raises(LockTimeout, match="not free"):
            await asyncio.to_thread(wait_for_it)


async def test_a_block_that_fails_frees_the_lock(twin, clock):
    """Whatever it raises, also what would stop an event loop; it comes out as it is."""
    mine = ValueError("mine")

    def work():
        for error in (ValueError("mine"), StopIteration(), SystemExit(3), KeyboardInterrupt()):
            with pytest.raises(type(error)) as caught, twin.lock(timeout=5):
                raise error
            assert caught.value is error
        with pytest.raises(ValueError, match="mine"), twin.lock(timeout=5):
            clock.advance(5)  # it lost the lock, too, which matters less
            raise mine
        locked_set(twin, 7)

    await asyncio.to_thread(work)


async def test_a_thread_locks_a_session_that_has_a_new_id(session, twin, provider):
    """Under the id that it has by then."""
    await provider.store.rename(session.record.key, new_session_id(), now=provider.clock())

    def work():
        with twin.lock():
            twin.set("n", 7)

    await asyncio.to_thread(work)
    assert await session.get("n") == 7


async def test_a_thread_takes_a_lock_once(session, twin, clock):
    """A second time is an error, not a wait; so is a timeout of nothing."""

    def work():
        with twin.lock(), pytest.raises(SessionUsageError, match="already"):
            enter(twin)
        with pytest.raises(SessionUsageError, match="more than zero"), twin.lock(timeout=0):
            pytest.fail("held")
        session_under_lock_can_be_destroyed()

    def session_under_lock_can_be_destroyed():
        with twin.lock():
            twin.destroy()

    await asyncio.to_thread(work)
    with pytest.raises(SessionEnded):
        await session.reload()


async def test_a_lock_of_the_request_covers_its_threads(session, twin, again, clock):
    """An async dependency may take it; the `def` endpoint writes under it."""
    with pytest.raises(LockTimeout):
        async with session.lock(timeout=5):
            await asyncio.to_thread(twin.set, "n", 2)
            clock.advance(5)
            with pytest.raises(LockTimeout, match="refused"):
                await asyncio.to_thread(twin.set, "n", 3)
    assert await (await again(session)).get("n") == 2


def application() -> FastAPI:
    app = FastAPI()

    @app.post("/login")
    def login(request: Request, then: str = ""):
        session = login_session_sync(
            request, "anna", claims={"role": "user"}, data={"n": 0}, expiration=60, max_lifetime=90
        )
        if then == "fail":
            raise RuntimeError
        return [session.expires_in, session.incr("n"), session.claims.data]

    @app.post("/count")
    def count(session: CurrentSyncSession):
        return session.incr("n")

    @app.get("/greet")
    def greet(session: OptionalSyncSession):
        return session.user_id if session else None

    @app.get("/same")
    def same(session: CurrentSession, twin: CurrentSyncSession, other: OptionalSyncSession):
        twin.set("n", 7)
        return [twin.id == session.id == other.id, other.get("n")]

    @app.post("/new-id")
    def new_id(session: CurrentSyncSession, then: str = ""):
        session.confirm()
        session.update_claims(role="admin")
        if then == "fail":
            raise RuntimeError

    @app.post("/renew")
    def renew(request: Request):
        return renew_session_sync(request).claims.data

    @app.post("/logout")
    def logout(request: Request):
        return logout_session_sync(request)

    @app.post("/destroy")
    def destroy(session: CurrentSyncSession):
        session.destroy()

    @app.post("/bad")
    def bad(session: CurrentSyncSession):
        session.set("n", float("nan"))

    @app.post("/async")
    async def not_here(request: Request, session: CurrentSyncSession, call: str):
        calls = {
            "incr": lambda: session.incr("n"),
            "login": lambda: login_session_sync(request, "bert"),
            "renew": lambda: renew_session_sync(request),
            "logout": lambda: logout_session_sync(request),
        }
        with pytest.raises(SessionUsageError, match="async def"):
            calls[call]()
        return await run_in_threadpool(session.incr, "n")

    @app.post("/own-thread")
    def own_thread(request: Request, session: CurrentSyncSession):
        def work():
            with pytest.raises(SessionUsageError, match="not started by FastAPI"):
                login_session_sync(request, "bert")
            return session.incr("n")

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()

    return app


def test_a_def_endpoint_logs_in_works_and_logs_out(serve, log_in):
    """As an async one does; the response brings the token."""
    client = serve(application())
    assert client.post("/count").status_code == 401
    assert client.get("/greet").json() is None
    assert client.post("/login").json() == [60, 1, {"role": "user"}]
    headers = log_in(client)
    assert client.get("/greet", headers=headers).json() == "anna"
    assert client.post("/count", headers=headers).json() == 2
    assert client.post("/own-thread", headers=headers).json() == 3
    assert client.post("/bad", headers=headers).status_code == 422
    assert client.get("/same", headers=headers).json() == [True, 7]
    assert client.post("/destroy", headers=headers).status_code == 200
    assert client.post("/count", headers=headers).json()["reason"] == "revoked"
    assert client.post("/logout", headers=headers).json() is False
    assert client.post("/logout", headers=log_in(client)).json() is True


@pytest.mark.parametrize("call", ["incr", "login", "renew", "logout"])
def test_in_an_async_endpoint_every_call_says_so(serve, log_in, call):
    """At once; a thread that it starts may go on."""
    client = serve(application(), refresh=True)
    assert client.post(f"/async?call={call}", headers=log_in(client)).json() == 2


def test_what_waits_for_the_response_waits(serve, log_in):
    """A login, a new id and other claims go out with it, or never were."""
    client = serve(application(), refresh=True)
    provider = client.app.state.sessions
    assert client.post("/login?then=fail").status_code == 500
    assert client.portal.call(provider.count) == 0
    headers = log_in(client)
    assert client.post("/new-id?then=fail", headers=headers).status_code == 500
    response = client.post("/new-id", headers=headers)
    assert client.post("/count", headers=headers).json()["reason"] == "replaced"
    headers = {"Authorization": response.headers["authorization"]}
    assert client.post("/count", headers=headers).json() == 2
    renewal = {"X-Refresh-Token": response.headers["x-refresh-token"]}
    assert client.post("/renew", headers=renewal).json() == {"role": "admin"}


def test_events_are_told_on_the_event_loop(serve, log_in):
    """Their handlers may be anything, and are called where they always are."""
    client = serve(application())
    told = []

    @client.app.state.sessions.subscribe
    async def note(event: SessionEvent):
        await asyncio.sleep(0)
        told.append((event.kind, event.reason, threading.get_ident()))

    client.post("/destroy", headers=log_in(client))
    loop = client.portal.call(threading.get_ident)
    assert told == [("created", None, loop), ("ended", "logout", loop)]


def test_a_dependency_that_is_overridden_is_overridden_here(serve, log_in):
    """Whoever replaces get_session replaces its twin."""
    client = serve(application())
    headers = log_in(client)

    async def other(request: Request):
        session = await get_session(request)
        await session.set("n", 100)
        return session

    client.app.dependency_overrides[get_session] = other
    assert client.post("/count", headers=headers).json() == 101


@contextmanager
def thread_of(work):
    """Run something in a thread; give a list, in which is then what it raised."""
    raised = []

    def run():
        try:
            work()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield raised
    thread.join(10)
    assert not thread.is_alive()


def test_a_thread_that_outlives_its_event_loop_is_told(make_app):
    """It cannot reach a store that waits; whatever was under way is given up."""
    asked, over = threading.Event(), threading.Event()

    class Stuck(MemoryStore):
        waits = True

        async def change(self, key, changes, **more):
            asked.set()
            await asyncio.Event().wait()

    async def serve():
        session = (await make_app(store=Stuck()).state.sessions.login("anna")).session
        twin = SyncSession(session, asyncio.get_running_loop())

        def hold():
            with twin.lock():
                asked.set()
                over.wait(10)

        for work in (hold, lambda: twin.set("n", 1)):
            asked.clear()
            threads.append(thread_of(work))
            raised.append(threads[-1].__enter__())
            await asyncio.to_thread(asked.wait, 10)
        with pytest.raises(SessionUsageError, match="async def"):
            twin.set("n", 1)  # does not wait for the thread that waits for this one
        return twin

    threads, raised = [], []
    twin = asyncio.run(serve())
    over.set()
    for thread in threads:
        thread.__exit__(None, None, None)
    with pytest.raises(StoreUnavailable, match="has stopped") as caught:
        twin.set("n", 1)
    told = [str(each) for errors in raised for each in errors]
    assert told == [str(caught.value)] * 2
    assert twin.get("n") is None


def test_an_event_loop_may_end_without_a_word():
    """Closed while something was under way: who waits for it is told, and does not wait forever."""

    @asynccontextmanager
    async def manager():
        yield 1

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    with pytest.raises(StoreUnavailable, match="has stopped"), held_on(loop, manager()) as given:
        assert given == 1
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


APP = """
from fastapi import Depends, FastAPI, Request
from fastapi_memsession import SyncSession, get_sync_session, login_session_sync, setup_sessions

app = FastAPI()
setup_sessions(app)

@app.post("/login")
def login(request: Request):
    login_session_sync(request, "anna", data={"n": 0, "m": 0})

@app.post("/count")
def count(session: SyncSession = Depends(get_sync_session)):
    session.incr("n")
    with session.lock():
        session.set("m", session.get("m") + 1)

@app.get("/profile")
def profile(session: SyncSession = Depends(get_sync_session)):
    return session.all()
"""


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_many_requests_at_once_over_real_sockets(tmp_path, kind):
    """Threads of a real server, one session: no count is lost, locked or not."""
    with RedisServer(tmp_path / "redis") as redis:
        environment = {"MEMSESSION_PROVIDER": kind, "MEMSESSION_REDIS_URL": redis.url}
        with (
            serving(tmp_path, APP, MEMSESSION_JWT_KEY=KEY, **environment) as (_, address),
            httpx.Client(base_url=address, timeout=60) as client,
            ThreadPoolExecutor(8) as pool,
        ):
            client.headers["Authorization"] = client.post("/login").headers["authorization"]
            counts = pool.map(lambda _: client.post("/count"), range(24))
            assert {each.status_code for each in counts} == {200}
            assert client.get("/profile").json() == {"n": 24, "m": 24}
