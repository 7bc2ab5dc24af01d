"""Sessions in memory that outlive a restart: the file, what is taken over, and what goes wrong."""

import asyncio
import json
import logging
import os
import resource
import signal
import stat
import subprocess
import sys

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from fastapi_memsession import CurrentSession, MemoryStore, SessionSettings, login_session
from fastapi_memsession import setup_sessions as set_up
from fastapi_memsession.records import SessionRecord, new_session_id
from fastapi_memsession.stores.endings import Ending
from fastapi_memsession.stores.memory import Contents
from fastapi_memsession.stores.snapshot import SnapshotStore
from tests.conftest import KEY, START
from tests.serving import serving


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.json"


@pytest.fixture
def start(path, clock):
    """Start the application anew, as another process would; keywords are settings."""

    def start(store=None, **values):
        app = FastAPI()
        settings = SessionSettings(**{"env": "test", "snapshot": path} | values)
        set_up(app, settings, store=store, clock=clock)

        @app.post("/login/{user}")
        async def login(request: Request, user: str):
            await login_session(request, user, data={"cart": ["tea", 1.5, None, "Käse"]})

        @app.get("/cart")
        async def cart(session: CurrentSession):
            return await session.get("cart")

        @app.post("/logout")
        async def logout(session: CurrentSession):
            await session.destroy()

        return TestClient(app)

    return start


def log_in(client, user="anna"):
    return {"Authorization": client.post(f"/login/{user}").headers["authorization"]}


def make(user="anna", **changes):
    record = SessionRecord(
        user_id=user,
        session_id=new_session_id(),
        claims={"role": "admin"},
        data={"a": b'{"b":[1,"\xc3\xa4"]}'},
        created_at=START - 10.5,
        last_seen_at=START,
        expires_at=START + 100.25,
        deadline=START + 1000,
        expiration=100.25,
        user_agent="Möbius",
    )
    return record._replace(**changes)


def store_at(path, **options):
    options = {
        "issuer": "me",
        "audience": "you",
        "max_sessions": 10,
        "clock": lambda: START,
    } | options
    return SnapshotStore(path, **options)


async def written(path, *records, **options):
    """Let a store write a file; return what is in it."""
    store = store_at(path, **options)
    for record in records:
        await store.create(record, now=START, limit_per_user=None)
    await store.aclose()
    return json.loads(path.read_text())


def held(store):
    return sorted(record.user_id for record in store.contents().records)


def test_a_restart_logs_nobody_out(start):
    """Data are what they were; who logged out stays logged out, and is told the same."""
    with start() as client:
        anna, ben = log_in(client), log_in(client, "ben")
        client.post("/logout", headers=ben)
    with start() as client:
        assert client.get("/cart", headers=anna).json() == ["tea", 1.5, None, "Käse"]
        answer = client.get("/cart", headers=ben)
        assert (answer.status_code, answer.json()["reason"]) == (401, "revoked")
        client.post("/logout", headers=anna)
    with start() as client:
        assert client.get("/cart", headers=anna).json()["reason"] == "revoked"


def test_only_its_owner_reads_the_file(start, path):
    """It holds what makes one log in as anyone; nothing else is left in the folder."""
    previous = os.umask(0)
    try:
        with start():
            pass
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_only_a_random_key_is_kept(start, path):
    """One that was chosen stays where it was chosen; sessions are kept in both cases."""
    with start() as client:
        anna = log_in(client)
    assert len(json.loads(path.read_text())["key"]) == 86
    with start(jwt_key=KEY) as client:
        assert client.get("/cart", headers=anna).status_code == 401
        anna = log_in(client)
    assert json.loads(path.read_text())["key"] is None
    assert KEY not in path.read_text()
    with start(jwt_key=KEY) as client:
        assert client.get("/cart", headers=anna).status_code == 200


def test_a_kept_key_is_no_reason_to_warn(start, caplog):
    """That a restart logs everyone out is then not true; without the file it is."""
    start(env="development")
    assert "logs everyone out" not in caplog.text
    start(env="development", snapshot=None)
    assert "logs everyone out" in caplog.text


def test_several_lifespans_and_clients(start, path):
    """Each that ends writes all there is; the store goes on."""
    client = start()
    with client:
        first = log_in(client)
        with TestClient(client.app) as inner:
            second = log_in(inner, "ben")
        assert len(json.loads(path.read_text())["records"]) == 2
        third = log_in(client, "cleo")
    with client:
        assert client.get("/cart", headers=first).status_code == 200
    with start() as client:
        for headers in (first, second, third):
            assert client.get("/cart", headers=headers).status_code == 200


def test_without_a_lifespan_it_is_read_and_not_written(start, path):
    """As by a test client that is not entered."""
    with start() as client:
        anna = log_in(client)
    before = path.read_bytes()
    client = start()
    assert client.get("/cart", headers=anna).status_code == 200
    log_in(client, "ben")
    assert path.read_bytes() == before


def test_a_store_that_was_handed_in_is_left_alone(start, path):
    """The file is that of the store which the settings make."""
    with start(store=MemoryStore()) as client:
        log_in(client)
    assert not path.exists()


async def test_every_field_comes_back(path):
    """Records and endings are equal to those that were written."""
    record = make(
        confirmed_at=START - 1, address="::1", generation=2, used_generation=1, rotated_at=START
    )
    store = store_at(path)
    ended = make("ben")
    for each in (record, ended):
        await store.create(each, now=START, limit_per_user=None)
    await store.delete(ended.key, now=START, reason="evicted")
    await store.aclose()
    again = store_at(path)
    assert again.contents() == store.contents()
    assert again.contents().records == [record]
    assert await again.end_reason(ended.key, now=START) == "evicted"
    assert (await again.stats()).data_bytes == (await store.stats()).data_bytes
    assert await again.sweep(now=record.expires_at + 1, budget=10) == 1


async def test_what_is_over_is_not_taken_over(path):
    """Neither sessions nor endings whose time has come while nothing ran."""
    store = store_at(path)
    records = [make("anna"), make("ben", expires_at=START + 50), make("cleo", deadline=START + 60)]
    for record in records:
        await store.create(record, now=START, limit_per_user=None)
    await store.delete(records[2].key, now=START, reason="logout")
    await store.aclose()
    later = store_at(path, clock=lambda: START + 50)
    assert held(later) == ["anna"]
    assert await later.end_reason(records[2].key, now=START + 50) == "logout"
    again = store_at(path, clock=lambda: START + 60)
    assert again.contents().endings == []


async def test_limits_hold(path):
    """The sessions that were used last are taken over, as many as there may be."""
    users = {"anna": START - 3, "ben": START - 1, "cleo": START - 2}
    await written(path, *(make(user, last_seen_at=seen) for user, seen in users.items()))
    store = store_at(path, max_sessions=2)
    assert held(store) == ["ben", "cleo"]


def test_an_id_is_taken_once():
    """A session that has ended, or is there, does not come by a file."""
    store, record, ended = MemoryStore(), make(), make("ben")
    ending = (ended.user_id, ended.session_id, "logout", START + 100)

    contents = Contents([record, ended], [Ending(*ending)])
    for _ in range(2):
        store.restore(contents, now=START)
    assert store.contents() == Contents([record], [Ending(*ending)])


def edit(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


BROKEN = {
    "broken (": [
        lambda path: path.write_text(""),
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("[" * 10_000),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: edit(path, lambda found: found.pop("endings")),
        lambda path: edit(path, lambda found: found.update(more=1)),
        lambda path: edit(path, lambda found: found.update(key="short")),
        lambda path: edit(path, lambda found: found["records"][0].pop("deadline")),
        lambda path: edit(path, lambda found: found["records"][0].update(expires_at=float("nan"))),
        lambda path: edit(path, lambda found: found["records"][0].update(claims={"role": 7})),
        lambda path: edit(path, lambda found: found["records"][0]["data"].update(a="{")),
        lambda path: edit(path, lambda found: found["endings"].append(["a", "b", "boredom", 1])),
    ],
    "has format 0": [lambda path: edit(path, lambda found: found.update(format=0))],
    "another MEMSESSION_ISSUER": [
        lambda path: edit(path, lambda found: found.update(issuer="other")),
        lambda path: edit(path, lambda found: found.update(audience="other")),
    ],
    "open to others": [lambda path: path.chmod(0o640), lambda path: path.chmod(0o602)],
}


@pytest.mark.parametrize(
    ("told", "change"), [(told, change) for told, changes in BROKEN.items() for change in changes]
)
async def test_an_unfit_file_is_set_aside(path, caplog, told, change):
    """With a warning that says why and where it is, and quotes nothing; then all is as without."""
    await written(path, make(claims={"role": "s3cret"}))
    change(path)
    before = path.read_bytes()
    assert held(store_at(path)) == []
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert told in warning.getMessage()
    aside = path.with_name("sessions.json.bad-1")
    assert str(aside) in warning.getMessage()
    assert "s3cret" not in caplog.text
    assert aside.read_bytes() == before
    assert not path.exists()
    path.write_text("{")
    path.chmod(0o600)
    await written(path, make())
    assert path.with_name("sessions.json.bad-2").read_text() == "{"
    assert held(store_at(path)) == ["anna"]


async def test_another_users_file_is_set_aside(path, caplog, monkeypatch):
    """Who may have put anybody's session, or a key of their own, into it."""
    await written(path, make())
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert held(store_at(path)) == []
    assert "belongs to another user" in caplog.text
    assert path.with_name("sessions.json.bad-1").exists()


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
async def test_what_is_no_file_is_left_alone(path, caplog, kind):
    """It was not made here, and may be something that others need."""
    target = path.with_name("target")
    target.write_text("precious")
    {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(target),
        "pipe": lambda: os.mkfifo(path, 0o600),
    }[kind]()
    before = path.lstat()
    store = store_at(path)
    assert "neither read nor written" in caplog.text
    await store.aclose()
    assert path.lstat().st_ino == before.st_ino
    assert stat.S_IFMT(path.lstat().st_mode) == stat.S_IFMT(before.st_mode)
    assert target.read_text() == "precious"


async def test_a_file_that_cannot_be_set_aside_is_left_alone(path, caplog, monkeypatch):
    """As one of another user in a folder where everybody may make files."""
    path.write_text("{")
    path.chmod(0o600)

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(type(path), "rename", refuse)
        store = store_at(path)
    assert "neither read nor written: " in caplog.text
    await store.aclose()
    assert path.read_text() == "{"


def test_a_folder_that_takes_no_file_is_a_warning(start, path, caplog):
    """The application runs, and stops, all the same."""
    with start(snapshot=path / "missing" / "sessions.json") as client:
        assert client.get("/cart", headers=log_in(client)).status_code == 200
    assert "could not be written" in caplog.text
    assert "No such file or directory" in caplog.text


async def test_a_full_disk_leaves_the_old_file(path, caplog):
    """Whole, and nothing beside it; by the system's own limit on the size of files."""
    await written(path, make())
    before = path.read_bytes()
    store = store_at(path)
    await store.create(make("ben"), now=START, limit_per_user=None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        await store.aclose()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "could not be written" in caplog.text
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_kill_leaves_the_old_file(path):
    """Whole, even if it comes while the new one is being written."""
    asyncio.run(written(path, make()))
    code = f"""if True:
        import asyncio, os, signal, pathlib
        from tests.test_snapshot import make, store_at, written
        def killed(_):
            os.kill(os.getpid(), signal.SIGKILL)
        os.fsync = killed
        asyncio.run(written(pathlib.Path({str(path)!r}), make("ben")))
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert held(store_at(path)) == ["anna"]


APP = """
import os
from fastapi import FastAPI, Request
from fastapi_memsession import CurrentSession, login_session, setup_sessions

app = FastAPI()
setup_sessions(app)

@app.post("/login")
async def login(request: Request):
    await login_session(request, "anna")

@app.get("/profile")
async def profile(session: CurrentSession):
    return [session.user_id, os.getpid()]

@app.post("/logout")
async def logout(session: CurrentSession):
    await session.destroy()
"""


def wait_for_start(process):
    """Wait for a server that would go on waiting if its application cannot be started."""
    for line in process.stdout:
        assert "Traceback" not in line, process.stdout.readline()
        if "Application startup complete" in line:
            return


def test_a_reload_logs_nobody_out(tmp_path):
    """By a real server that is told to reload, when a file is touched."""
    environment = {"MEMSESSION_SNAPSHOT": "sessions.json", "MEMSESSION_PROVIDER": "memory"}
    with serving(tmp_path, APP, "--reload", **environment) as (process, address):
        wait_for_start(process)
        anna, ben = (
            {"Authorization": httpx.post(f"{address}/login").headers["authorization"]}
            for _ in range(2)
        )
        _, first = httpx.get(f"{address}/profile", headers=anna).json()
        httpx.post(f"{address}/logout", headers=ben)
        later = (tmp_path / "served.py").stat().st_mtime + 10
        os.utime(tmp_path / "served.py", (later, later))
        wait_for_start(process)
        user, second = httpx.get(f"{address}/profile", headers=anna).json()
        assert (user, first == second) == ("anna", False)
        assert httpx.get(f"{address}/profile", headers=ben).json()["reason"] == "revoked"
