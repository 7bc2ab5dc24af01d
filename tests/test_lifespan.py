"""Starting and stopping with the application, whatever lifespan it has and whoever runs it."""

import asyncio
import contextvars
import logging
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from fastapi_memsession import CurrentSession, MemoryStore, StoreUnavailable, login_session
from fastapi_memsession.middleware import ConnectionMiddleware

inherited = contextvars.ContextVar("inherited", default=None)


class WatchedStore(MemoryStore):
    """Notes what happens to it, and says when it is swept."""

    def __init__(self, failures=0) -> None:
        super().__init__()
        self.events = []
        self.swept = asyncio.Event()
        self.failures = failures
        self.context = None

    async def open(self):
        self.events.append("open")

    async def aclose(self):
        self.events.append("aclose")

    async def sweep(self, **options):
        self.context = inherited.get()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("no answer")
        removed = await super().sweep(**options)
        self.swept.set()
        return removed


class Lifespan:
    """Runs an application's lifespan as a server does."""

    def __init__(self, app) -> None:
        self.app = app
        self.inbox = asyncio.Queue()
        self.outbox = asyncio.Queue()

    async def __aenter__(self):
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self.task = asyncio.create_task(self.app(scope, self.inbox.get, self.outbox.put))
        await self.inbox.put({"type": "lifespan.startup"})
        self.started = await asyncio.wait_for(self.outbox.get(), 5)
        return self

    async def __aexit__(self, *error):
        if self.started["type"] == "lifespan.startup.complete":
            await self.inbox.put({"type": "lifespan.shutdown"})
            self.stopped = await asyncio.wait_for(self.outbox.get(), 5)
        await asyncio.wait({self.task})
        self.error = self.task.exception()


def fast(make_app, store, **options):
    """An application that sweeps all the time."""
    return make_app(store=store, cleanup_interval=0.001, **options)


def tasks():
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_the_clean_up_runs_while_the_application_does(make_app, clock):
    """The dead are freed with nobody asking; nothing is left running afterwards."""
    store = WatchedStore()
    app = fast(make_app, store)
    await app.state.sessions.login("anna")
    clock.advance(2 * 86_400)
    async with Lifespan(app) as lifespan:
        await asyncio.wait_for(store.swept.wait(), 5)
        assert not store._shelf.records
    assert lifespan.stopped == {"type": "lifespan.shutdown.complete"}
    assert store.events == ["open", "aclose"]
    assert not tasks()


async def test_a_failed_sweep_is_logged_and_the_next_one_comes(make_app, caplog):
    """Clean-up does not die of its first error."""
    store = WatchedStore(failures=3)
    async with Lifespan(fast(make_app, store)):
        await asyncio.wait_for(store.swept.wait(), 5)
    assert caplog.text.count("Cleaning up sessions failed") == 3


async def test_the_clean_up_keeps_no_context_alive(make_app):
    """It starts with an empty one, not with that of whoever starts the application."""
    store = WatchedStore()
    token = inherited.set("held")
    async with Lifespan(fast(make_app, store)):
        await asyncio.wait_for(store.swept.wait(), 5)
    inherited.reset(token)
    assert store.context is None


def with_context_manager(events):
    @asynccontextmanager
    async def lifespan(app):
        events.append("start")
        yield {"key": "value"}
        events.append("stop")

    return FastAPI(lifespan=lifespan)


def with_event_handlers(events):
    app = FastAPI()
    app.router.on_startup.append(lambda: events.append("start"))
    app.router.on_shutdown.append(lambda: events.append("stop"))
    return app


def with_class(events):
    class Manager:
        def __init__(self, app) -> None:
            pass

        async def __aenter__(self):
            events.append("start")

        async def __aexit__(self, *error):
            events.append("stop")

    return FastAPI(lifespan=Manager)


@pytest.mark.parametrize("kind", [with_context_manager, with_event_handlers, with_class])
async def test_any_kind_of_lifespan_runs_between_ours(make_app, kind):
    """The store is open before the user's code starts, and until it has stopped."""
    store = WatchedStore()
    app = fast(make_app, store, app=kind(store.events))
    async with Lifespan(app):
        pass
    assert store.events == ["open", "start", "stop", "aclose"]


async def test_a_lifespan_that_fails_to_start_stops_us_too(make_app):
    """The server hears of it; nothing is left running."""

    @asynccontextmanager
    async def failing(app):
        raise ZeroDivisionError
        yield

    store = WatchedStore()
    async with Lifespan(fast(make_app, store, app=FastAPI(lifespan=failing))) as lifespan:
        assert lifespan.started["type"] == "lifespan.startup.failed"
    assert isinstance(lifespan.error, ZeroDivisionError)
    assert store.events == ["open", "aclose"]
    assert not tasks()


async def test_a_lifespan_that_fails_to_stop_stops_us_too(make_app):
    """The server hears of it; nothing is left running."""

    @asynccontextmanager
    async def failing(app):
        yield
        raise ZeroDivisionError

    store = WatchedStore()
    async with Lifespan(fast(make_app, store, app=FastAPI(lifespan=failing))) as lifespan:
        pass
    assert lifespan.stopped["type"] == "lifespan.shutdown.failed"
    assert store.events == ["open", "aclose"]
    assert not tasks()


async def test_a_store_that_cannot_open_stops_the_start(make_app):
    """The server is told, or it would serve without; the user's lifespan does not run."""

    class Unreachable(WatchedStore):
        async def open(self):
            raise StoreUnavailable("Redis does not answer; is it running?")

    store = Unreachable()
    app = fast(make_app, store, app=with_context_manager(store.events))
    async with Lifespan(app) as lifespan:
        assert lifespan.started == {
            "type": "lifespan.startup.failed",
            "message": "Redis does not answer; is it running?",
        }
    assert isinstance(lifespan.error, StoreUnavailable)
    assert store.events == []
    assert not tasks()


async def test_a_store_that_cannot_close_is_logged(make_app, caplog):
    """The server stops all the same."""

    class Stuck(WatchedStore):
        async def aclose(self):
            raise StoreUnavailable("no answer")

    async with Lifespan(fast(make_app, Stuck())) as lifespan:
        pass
    assert lifespan.stopped == {"type": "lifespan.shutdown.complete"}
    assert "could not be closed" in caplog.text


async def test_runs_may_overlap_and_repeat(make_app):
    """Each has its own clean-up; stopping one leaves the other's."""
    store = WatchedStore()
    app = fast(make_app, store)
    async with Lifespan(app), Lifespan(app):
        async with Lifespan(app):
            pass
        store.swept.clear()
        await asyncio.wait_for(store.swept.wait(), 5)
    assert store.events.count("open") == store.events.count("aclose") == 3
    assert not tasks()


@pytest.fixture
def talking(make_app):
    app = make_app()

    @app.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    @app.get("/profile")
    async def profile(session: CurrentSession):
        return await session.incr("n")

    return app


def test_nested_test_clients_share_the_sessions(talking):
    """With and without a lifespan, on three event loops; sessions outlive each."""
    with TestClient(talking) as outer:
        headers = {"Authorization": outer.post("/login").headers["authorization"]}
        with TestClient(talking) as inner:
            assert inner.get("/profile", headers=headers).json() == 1
        assert outer.get("/profile", headers=headers).json() == 2
    assert TestClient(talking).get("/profile", headers=headers).json() == 3
    with TestClient(talking) as again:
        assert again.get("/profile", headers=headers).json() == 4


async def test_without_a_lifespan_the_dead_go_in_passing(provider, clock):
    """Logins free what they find: the store does not grow without end."""
    for _ in range(1000):
        await provider.login("anna", expiration=5)
        clock.advance(1)
    assert len(provider.store._shelf.records) < 10


async def test_a_mounted_application_needs_no_lifespan(make_app):
    """It gets none; its store opens without."""
    app = make_app()
    app.mount("/inner", make_app())
    async with Lifespan(app) as lifespan:
        assert lifespan.started["type"] == "lifespan.startup.complete"


def test_a_missing_key_is_told_in_development_only(make_app, caplog):
    """With the command that makes one; tests stay quiet."""
    make_app(jwt_key=None)
    assert not caplog.records
    make_app(jwt_key=None, env="development")
    assert "export MEMSESSION_JWT_KEY=$(python -m fastapi_memsession key)" in caplog.text


def test_two_applications_without_a_key_do_not_share_one(make_app):
    """It is random for each."""
    first, second = (make_app(jwt_key=None).state.sessions for _ in range(2))
    token = asyncio.run(first.login("anna")).headers["authorization"].removeprefix("Bearer ")
    assert first.tokens.read(token)
    assert second.tokens.read(token) is None


def test_memory_in_production_is_warned_of(make_app, caplog):
    """It is allowed, and has its price."""
    make_app(env="production", provider="memory")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "restart logs everyone out" in record.getMessage()


async def test_a_sweep_ends_before_the_store_is_closed(make_app):
    """A closed store is not asked any more."""

    class Slow(WatchedStore):
        async def sweep(self, **options):
            self.swept.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.events.append("swept")

    store = Slow()
    async with Lifespan(fast(make_app, store)):
        await asyncio.wait_for(store.swept.wait(), 5)
    assert store.events == ["open", "swept", "aclose"]


async def test_the_store_is_closed_before_the_server_hears_of_the_end(make_app):
    """It may end the process at once."""
    store = WatchedStore()
    lifespan = Lifespan(fast(make_app, store))

    class Outbox(asyncio.Queue):
        async def put(self, message):
            store.events.append(message["type"])
            await super().put(message)

    lifespan.outbox = Outbox()
    async with lifespan:
        pass
    assert store.events == [
        "open", "lifespan.startup.complete", "aclose", "lifespan.shutdown.complete"
    ]  # fmt: skip


async def test_whatever_keeps_a_store_from_opening_stops_the_start(make_app):
    """Also an error that is none of ours."""

    class Broken(WatchedStore):
        async def open(self):
            raise OSError("no such host")

    async with Lifespan(fast(make_app, Broken())) as lifespan:
        assert lifespan.started == {"type": "lifespan.startup.failed", "message": "no such host"}
    assert isinstance(lifespan.error, OSError)


async def test_an_application_that_dies_without_a_word_stops_us_too(make_app):
    """Even one that tells the server nothing."""
    store = WatchedStore()

    async def app(scope, receive, send):
        await receive()
        raise ZeroDivisionError

    async def receive():
        return {"type": "lifespan.startup"}

    provider = make_app(store=store).state.sessions
    middleware = ConnectionMiddleware(app, provider=provider, answers=None)
    with pytest.raises(ZeroDivisionError):
        await middleware({"type": "lifespan"}, receive, None)
    assert store.events == ["open", "aclose"]
    assert not tasks()
