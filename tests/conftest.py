"""What several rooms' tests need: a clock that is moved by hand, and applications to talk to."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from fastapi_memsession import SessionProvider, SessionSettings, SessionStore, setup_sessions
from tests.redis_server import ADVICE, RedisServer, find

KEY = "the key of all tests: more than thirty bytes"
START = 1_764_000_000.0


class Clock:
    """Seconds since the epoch, as often as it is told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["header", "cookie", "header,cookie"])
def carrier(request) -> str:
    """Each way in which the settings let a token travel."""
    return request.param


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch, tmp_path_factory) -> None:
    """Keep what the developer has in the environment, or in a .env file, out of the tests."""
    for name in os.environ:
        if name.upper().startswith("MEMSESSION_") or name.upper() == "ENV":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def redis_folder(tmp_path_factory) -> Path:
    """Make a folder for servers, if there is a program that could run in it."""
    if find() is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(ADVICE)
    return tmp_path_factory.mktemp("redis")


@pytest.fixture(scope="session")
def redis_url(redis_folder) -> Iterator[str]:
    """Run a server for all that have a prefix of their own; return its URL."""
    with RedisServer(redis_folder / "alone") as server:
        yield server.url


def settings(**values) -> SessionSettings:
    return SessionSettings(**{"env": "test", "jwt_key": KEY, **values})


@pytest.fixture
def make_app(clock) -> Callable[..., FastAPI]:
    """Make an application with sessions; keywords are settings, but app, store and carriers."""

    def make(
        *,
        app: FastAPI | None = None,
        store: SessionStore | None = None,
        carrier_object=None,
        refresh_carrier=None,
        **values,
    ) -> FastAPI:
        app = app or FastAPI()
        setup_sessions(
            app, settings(**values), store=store, clock=clock,
            carrier=carrier_object, refresh_carrier=refresh_carrier,
        )  # fmt: skip
        return app

    return make


@pytest.fixture
def provider(make_app) -> SessionProvider:
    return make_app().state.sessions
