"""What a URL leads to: a socket, a password, TLS; and what is said of one that leads nowhere."""

import logging
import time
import traceback
from urllib.parse import quote

import pytest
from redis.asyncio import Redis, RedisCluster, Sentinel

from fastapi_memsession import SessionUsageError, SettingsError, StoreUnavailable
from fastapi_memsession.stores.near import NearStore
from fastapi_memsession.stores.redis import RedisStore
from tests.authority import Authority
from tests.conftest import START
from tests.redis.calls import SLACK, TIMEOUT, delete, keep, load, opened
from tests.redis_deployments import cluster, sentinel
from tests.redis_server import RedisServer

PASSWORD = "p%41/:@#?w"  # nothing of this may be taken for a part of the URL


async def works(url, record):
    async with opened(url) as store:
        made = record()
        assert await load(store, await keep(store, made)) == made
        assert await store.count(now=START) == 1
        assert await delete(store, made.key)


async def test_a_server_on_a_socket(redis_folder, record):
    """A URL may name a file, and no port need be open."""
    with RedisServer(redis_folder / "unix", unix=True) as server:
        await works(server.url, record)


def alone(folder, **options):
    return RedisServer(folder / "alone", **options)


def on_a_socket(folder, **options):
    return RedisServer(folder / "socket", unix=True, **options)


def behind_sentinels(folder, **options):
    return sentinel(folder / "sentinel", **options)


def as_a_cluster(folder, **options):
    return cluster(folder / "cluster", **options)


@pytest.mark.parametrize("run", [alone, behind_sentinels, as_a_cluster])
async def test_tls_by_an_authority_of_ones_own(redis_folder, record, run):
    """The URL names the file with its certificate; every connection is encrypted and checked."""
    authority = Authority(redis_folder / "authority")
    with run(redis_folder / "tls", authority=authority, password=PASSWORD) as servers:
        await works(servers.url, record)


@pytest.mark.parametrize("run", [alone, behind_sentinels, as_a_cluster])
async def test_a_server_that_cannot_be_trusted_is_not_talked_to(redis_folder, run):
    """The error says that it is the certificate, within the time for a call."""
    unknown = Authority(redis_folder / "unknown")
    Authority(redis_folder / "known")
    with run(redis_folder / "untrusted", authority=unknown) as servers:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"CERTIFICATE_VERIFY_FAILED.*ssl_ca_certs"):
            async with opened(servers.url.replace("%2Funknown%2F", "%2Fknown%2F")):
                pytest.fail("anybody is trusted")
        assert time.monotonic() - begun < TIMEOUT + SLACK


@pytest.mark.parametrize("run", [alone, on_a_socket, behind_sentinels, as_a_cluster])
async def test_a_password_opens_and_a_wrong_one_is_not_told(redis_folder, record, caplog, run):
    """The URL carries it, whatever it is made of; refusal is quick and quotes neither."""
    caplog.set_level(logging.DEBUG)
    wrong = "wrong-horse-battery"
    with run(redis_folder / "password", password=PASSWORD) as servers:
        await works(servers.url, record)
        url = servers.url.replace(quote(PASSWORD, safe=""), wrong)
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            async with opened(url):
                pytest.fail("a wrong password was good enough")
        assert time.monotonic() - begun < TIMEOUT + SLACK
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert "MEMSESSION_REDIS_URL" in str(caught.value)
    for secret in (wrong, PASSWORD, quote(PASSWORD, safe="")):
        assert secret not in told


async def test_sentinels_may_ask_for_a_password_of_their_own(redis_folder, record):
    """Told as such if it is wrong."""
    folder = redis_folder / "guarded"
    with sentinel(folder, password=PASSWORD, sentinel_password="another") as servers:
        await works(f"{servers.url}?sentinel_password=another", record)
        with pytest.raises(StoreUnavailable, match="credentials"):
            async with opened(f"{servers.url}?sentinel_password=wrong"):
                pytest.fail("a wrong password was good enough")


@pytest.mark.parametrize(
    "url",
    [
        "http://:geheim@localhost",
        "geheim",
        "",
        "redis+cluster://:geheim@",
        "redis+cluster://:geheim@localhost:port",
        "redis+sentinel://:geheim@localhost:26379",
        "redis+sentinel://:geheim@localhost:26379/service/database",
        "redis://:geheim@localhost:port",
        "redis://:geheim@[::1",
        "redis://:geheim@localhost?colour=red",
        "redis://:geheim@localhost?decode_responses=true",
        "redis+cluster://:geheim@localhost?db=2",
        "redis+cluster://:geheim@localhost?colour=red",
        "redis+sentinel://:geheim@localhost/service?colour=red",
        "redis://:geheim/41@localhost",
        "redis+cluster://:geheim/41@localhost",
        "redis+sentinel://:geheim/41@localhost/service",
    ],
)
def test_a_url_that_cannot_be_is_refused_and_not_quoted(url):
    """It may hold a password, so the message only says what a URL looks like."""
    with pytest.raises(SettingsError, match="redis\\+sentinel") as caught:
        RedisStore(url)
    assert "geheim" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None  # tools that report errors show it, too


def of_a_server(**options):
    return Redis(**options)


def of_a_socket(**options):
    return Redis.from_url("unix:///nowhere", **options)


def of_sentinels(**options):
    return Sentinel([("localhost", 1)]).master_for("service", **options)


def of_a_cluster(**options):
    return RedisCluster(host="localhost", **options)


OWN = [of_a_server, of_a_socket, of_sentinels, of_a_cluster]


@pytest.mark.parametrize("make", OWN)
@pytest.mark.parametrize("options", [{"decode_responses": True}, {"encoding": "latin-1"}])
def test_a_client_that_reads_or_writes_other_text_is_refused(make, options):
    """Where the store is made, not in the first request; the error says what to change."""
    for store in (RedisStore, NearStore):
        with pytest.raises(SessionUsageError, match=f"without {next(iter(options))}="):
            store(make(**options))


@pytest.mark.parametrize("make", OWN)
@pytest.mark.parametrize("options", [{}, {"encoding": "utf_8"}, {"encoding": "utf-8"}])
def test_a_client_that_reads_and_writes_as_we_do_is_taken(make, options):
    """Whichever it is."""
    RedisStore(make(**options))
