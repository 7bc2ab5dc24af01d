"""Servers of the example app under attack: each is started once, and its log read in the end."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.attack.server import REDIS_PASSWORD, RIGHT, Pair, Server
from tests.conftest import KEY
from tests.redis_server import RedisServer
from tests.serving import serving
from tests.test_origins import TRUSTED

SERVED = "from tests.attack.served import app"
SETTINGS = {
    "JWT_KEY": KEY,
    "REFRESH": "true",
    "REFRESH_GRACE": "10",
    "ACCESS_EXPIRATION": "900",
    "EXPIRATION": "600",
    "RENEW_INTERVAL": "0",
    "MAX_LIFETIME": "3600",
    "CLEANUP_INTERVAL": "1000000",  # what is over is refused whether or not it was swept
    "TRUSTED_ORIGINS": TRUSTED,
}


@pytest.fixture(scope="session")
def redis(redis_folder) -> Iterator[RedisServer]:
    """A Redis with a password, whose data outlive it."""
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with RedisServer(redis_folder / "attacked", *options, password=REDIS_PASSWORD) as server:
        yield server


@pytest.fixture(scope="session")
def serve(request, tmp_path_factory) -> Iterator[Callable[..., Server]]:
    """Start a server, or give the one that was; those with Redis run as in production."""
    started: dict[tuple, Server] = {}
    with ExitStack() as stack:

        def start(parser="h11", carrier="header", store="memory", **more: str) -> Server:
            asked = (parser, carrier, store, *more.items())
            if asked not in started:
                settings = SETTINGS | {"CARRIER": carrier, "PROVIDER": store} | more
                if store == "redis":
                    url = request.getfixturevalue("redis").url
                    prefix = f"attacked-{len(started)}"  # each has a time of its own
                    settings |= {"ENV": "production", "REDIS_URL": url, "REDIS_PREFIX": prefix}
                folder = tmp_path_factory.mktemp("attacked")
                running = serving(
                    folder, SERVED, "--http", parser, "--no-access-log",
                    log=folder / "log",
                    **{f"MEMSESSION_{name}": value for name, value in settings.items()},
                )  # fmt: skip
                _, address = stack.enter_context(running)
                prefix = "__Host-" if store == "redis" else ""
                server = Server(address, carrier=carrier, prefix=prefix, log=folder / "log")
                stack.callback(server.client.close)
                started[asked] = server
            return started[asked]

        yield start
        for server in started.values():
            tells_no_secret(server)


def tells_no_secret(server: Server) -> None:
    """See to it that a server's log holds no token, key or password that was used."""
    log = server.log.read_text()
    assert "Application startup complete" in log
    assert not re.search("eyJ[\\w-]{8}", log)  # how the parts of every token begin
    assert not server.signatures & set(re.findall(r"[\w-]+", log))
    for secret in (KEY, REDIS_PASSWORD, RIGHT["password"]):
        assert secret not in log
    assert "Exception in ASGI application" not in log


# Of a module each, so that tests which share a server follow each other. How a server reads
# requests and how tokens travel are told apart in few tests; in all others each is there once.
@pytest.fixture(scope="module", params=["h11-header", "httptools-cookie"])
def way(request) -> list[str]:
    return request.param.split("-")


@pytest.fixture(scope="module")
def parser(way) -> str:
    return way[0]


@pytest.fixture(scope="module")
def carrier(way) -> str:
    return way[1]


@pytest.fixture(scope="module")
def store() -> str:
    return "memory"


@pytest.fixture
def server(serve, parser, carrier, store) -> Server:
    return serve(parser, carrier, store)


@pytest.fixture
def pair(server) -> Pair:
    """The tokens of somebody who is logged in."""
    return server.log_in()


both_parsers = pytest.mark.parametrize("parser", ["h11", "httptools"], scope="module")


def carried_by(*carriers: str) -> pytest.MarkDecorator:
    """Mark tests whose tokens travel so."""
    return pytest.mark.parametrize("carrier", carriers, scope="module")
