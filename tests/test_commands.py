"""The command line, as shells and scripts see it: real processes and a real Redis."""

import asyncio
import io
import os
import re
import runpy
import subprocess
import sys
import time

import pytest

from fastapi_memsession import commands
from fastapi_memsession.records import SessionRecord, new_session_id
from fastapi_memsession.stores.redis import RedisStore
from tests.conftest import KEY
from tests.redis_server import RedisServer

COMMAND = [sys.executable, "-W", "error", "-m", "fastapi_memsession"]
STRICT = {
    "MEMSESSION_ENV": "production",
    "MEMSESSION_JWT_KEY": KEY,
    "MEMSESSION_REFRESH": "true",
    "MEMSESSION_RECORD_DEVICES": "false",
    "MEMSESSION_MAX_SESSIONS_PER_USER": "5",
}


@pytest.fixture(scope="module")
def server(redis_folder):
    with RedisServer(redis_folder / "commands", password="pass-word") as running:
        yield running


@pytest.fixture
def redis(server, monkeypatch):
    """Let the environment name a Redis that is empty."""
    monkeypatch.setenv("MEMSESSION_PROVIDER", "redis")
    monkeypatch.setenv("MEMSESSION_REDIS_URL", server.url)
    server.command("FLUSHALL")
    return server


def process(*arguments, **environment):
    """Run it as a shell does; return status, output and errors. No traceback, ever."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    errors = done.stderr.decode()
    assert "Traceback" not in errors
    return done.returncode, done.stdout.decode(), errors


@pytest.fixture
def here(capsys):
    """Run it in this process, which is quicker."""

    def run(*arguments):
        try:
            status = commands.main(arguments)
        except SystemExit as error:
            status = error.code
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def keep(server, *users, **changes):
    """Keep a session for each user, one second after the other; return their ids."""
    now = time.time()
    records = [
        SessionRecord(
            user_id=user,
            session_id=new_session_id(),
            claims={},
            data={},
            created_at=now - 100 + number,
            last_seen_at=now,
            expires_at=now + 1000,
            deadline=now + 10_000,
            expiration=1000.0,
        )
        for number, user in enumerate(users)
    ]
    records = [record._replace(**changes) for record in records]

    async def create():
        store = RedisStore(server.url, timeout=10)
        for record in records:
            await store.create(record, now=now, limit_per_user=None)
        await store.aclose()

    asyncio.run(create())
    return [record.session_id for record in records]


def test_a_key_is_printed_alone(here):
    """For a shell to take: the advice goes elsewhere. Another one each time, and production's."""
    status, key, advice = process("key")
    assert status == 0
    assert re.fullmatch(r"[A-Za-z0-9_-]{86}\n", key)
    assert advice.count("\n") == 1
    assert "MEMSESSION_JWT_KEY" in advice
    assert here("key")[1] != key
    good = STRICT | {"MEMSESSION_JWT_KEY": key.strip(), "MEMSESSION_JWT_ALGORITHM": "HS512"}
    assert process("check", **good) == (0, "All is well.\n", "")


def test_what_is_unfit_is_listed_at_once(tmp_path, monkeypatch):
    """Of the environment and of .env, each in a line, with the status of a failure."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("MEMSESSION_CARIER=cookie\nMEMSESSION_JWT_KEY=sh0rt-k3y\n")
    environment = {
        "MEMSESSION_CARRIER": "cookie",
        "MEMSESSION_COOKIE_SECURE": "false",
        "MEMSESSION_EXPIRATION": "soon",
        "MEMSESSION_REDIS_URL": "http://:pass-word@db.example",
        "MEMSESSION_TRUSTED_ORIGINS": "http://a.example",
    }
    status, told, errors = process("check", **environment)
    assert (status, errors) == (1, "")
    *lines, last = told.splitlines()
    names = [re.match(r"(error|warning|note) +\D*?MEMSESSION_([A-Z_]+)", line) for line in lines]
    assert [(name[1], name[2]) for name in names] == [
        ("error", "CARIER"),
        ("error", "EXPIRATION"),
        ("error", "JWT_KEY"),
        ("error", "COOKIE_SECURE"),
        ("error", "TRUSTED_ORIGINS"),
        ("error", "REDIS_URL"),
        ("warning", "ENV"),
        ("note", "REDIS_URL"),
        ("note", "REFRESH"),
        ("note", "RECORD_DEVICES"),
        ("note", "MAX_SESSIONS_PER_USER"),
    ]
    assert last == "Not fit for production: 6 errors, 1 warning, 4 notes."
    assert not [secret for secret in ("sh0rt-k3y", "pass-word") if secret in told]


def test_notes_are_no_failure(here, monkeypatch):
    """They ask for a decision, which somebody may have made."""
    for name in ("MEMSESSION_ENV", "MEMSESSION_JWT_KEY"):
        monkeypatch.setenv(name, STRICT[name])
    status, told, _ = here("check")
    assert status == 0
    assert told.splitlines()[-1] == "All is well: 3 notes."


def test_a_redis_that_is_none_is_told(here, monkeypatch):
    """Without connecting to one that could be."""
    monkeypatch.setenv("MEMSESSION_REDIS_URL", "redis://127.0.0.1:1")
    assert "error    MEMSESSION_REDIS_URL" not in here("check")[1]
    monkeypatch.setenv("MEMSESSION_REDIS_URL", "http://127.0.0.1:1")
    assert "error    MEMSESSION_REDIS_URL must be redis://" in here("check")[1]


def test_memory_needs_no_redis(here, monkeypatch):
    """A Redis that is not used cannot be wrong; memory in production is told."""
    monkeypatch.setenv("MEMSESSION_PROVIDER", "memory")
    status, told, _ = here("check")
    assert status == 1
    assert "warning  MEMSESSION_PROVIDER is memory" in told


@pytest.mark.parametrize("content", [b"MEMSESSION_JWT_KEY=\xff\xfe-secret", None])
def test_an_unreadable_file_is_one_line(here, tmp_path, monkeypatch, content):
    """Without what stands in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(content or b"")
    if content is None:  # as root one may read whatever the permissions say

        def refuse(**values):
            raise PermissionError(13, "Permission denied", ".env")

        monkeypatch.setattr(commands, "examine_settings", refuse)
    status, told, errors = here("check")
    assert (status, told) == (2, "")
    assert re.fullmatch(r"The file \.env cannot be read \(\w+\)\.\n", errors)


def test_a_users_sessions_are_a_table(redis):
    """Oldest first, the whole id, times in UTC; only that user's."""
    device = {"user_agent": "curl/8.0 (a b)", "address": "192.0.2.1"}
    first, second, _ = keep(redis, "anna", "anna", "ben", **device)
    status, table, errors = process("sessions", "anna")
    assert (status, errors) == (0, "")
    header, *rows = table.splitlines()
    assert header.split("  ")[0] == "ID"
    assert [row.split()[0] for row in rows] == [first, second]
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    for row in rows:
        assert re.fullmatch(rf"\S{{43}}(  {moment}){{3}}  192\.0\.2\.1 +curl/8\.0 \(a b\)", row)
        assert row.index("curl") == header.index("USER AGENT")


def test_what_others_wrote_is_printed_safely(redis, here):
    """Escapes, new lines, text that turns around, times of no calendar: one line, in columns."""
    (kept,) = keep(redis, "anna")
    key = redis.command("KEYS", "*:s:*").strip()
    redis.command("HSET", key, "a", "\x1b[31m\u202eevil\nroot", "i", "::1 \x07", "l", "1e16")
    redis.command("HSET", key, "e", "9e16")
    _, table, _ = here("sessions", "anna")
    (row,) = table.splitlines()[1:]
    cells = row.split()
    assert (cells[0], cells[2], cells[3]) == (kept, "?", "?")
    assert cells[4:] == ["::1??", "?[31m?evil?root"]


def test_a_terminal_without_unicode_gets_question_marks(redis, monkeypatch):
    """What it cannot show is no error."""
    keep(redis, "anna", user_agent="Müller 1.0")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert commands.main(["sessions", "anna"]) == 0
    assert b"M?ller 1.0" in raw.getvalue()


def test_a_reader_that_has_seen_enough(redis):
    """`| head` ends the output, without a word, as other programs' is."""
    keep(redis, *["anna"] * 500, user_agent="x" * 200)  # more than a pipe holds
    writer = subprocess.Popen(
        [*COMMAND, "sessions", "anna"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert writer.stdout.read(2) == b"ID"
    writer.stdout.close()
    assert writer.stderr.read() == b""
    writer.stderr.close()
    assert writer.wait(60) == 141


def test_a_reader_that_has_gone(monkeypatch):
    """Before anything was written: nor is that an error that anybody sees."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert commands.main(["key"]) == 141


def test_a_users_sessions_are_ended(redis, here):
    """Their ids go out for a script; nobody else's end, and a second time ends none."""
    first, second, others = keep(redis, "anna", "anna", "ben")
    status, ended, told = process("revoke", "anna")
    assert (status, told) == (0, "2 sessions were ended.\n")
    assert sorted(ended.split()) == sorted([first, second])
    assert here("revoke", "anna") == (0, "", "0 sessions were ended.\n")
    assert here("sessions", "ben")[1].splitlines()[1].startswith(others)
    assert "revoked" in redis.command("HGETALL", redis.command("KEYS", f"*{first}").strip())


def test_one_session_is_ended(redis, here):
    """Also if its id begins with a hyphen; of that user only; a second time it is not there."""
    kept, stays = keep(redis, "anna", "anna")
    odd = f"-{new_session_id()[1:]}"
    keep(redis, "anna", session_id=odd)
    missing = (1, "", "The user has no such session.\n")
    assert here("revoke", "ben", "--session", kept) == missing
    assert here("revoke", "anna", "--session", odd) == (0, f"{odd}\n", "1 session was ended.\n")
    assert here("revoke", "anna", f"--session={kept}")[0] == 0
    assert here("revoke", "anna", "--session", kept) == missing
    assert [row.split()[0] for row in here("sessions", "anna")[1].splitlines()[1:]] == [stays]


def test_stats(redis, here):
    """Live sessions of all users, and what the server uses."""
    keep(redis, "anna", "ben", "ben")
    status, told, errors = here("stats")
    assert (status, errors) == (0, "")
    assert re.fullmatch(r"sessions +3\nserver_bytes +\d{6,}\n", told)


@pytest.mark.parametrize("command", [["sessions", "anna"], ["revoke", "anna"], ["stats"]])
def test_sessions_in_memory_are_out_of_reach(here, command):
    """And the command says where they are."""
    status, told, errors = here(*command)
    assert (status, told) == (2, "")
    assert "application's own process" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://127.0.0.1:1", "Redis cannot answer"),
        ("redis://:wr0ng@{}", "Redis refuses these credentials"),
    ],
)
def test_a_redis_that_does_not_answer_is_one_line(redis, here, monkeypatch, url, told):
    """With a status of its own, without the password, and without what the log would say."""
    monkeypatch.setenv("MEMSESSION_REDIS_URL", url.format(redis.address))
    run = process if "{}" in url else here
    status, output, errors = run("stats")
    assert here("stats") == (status, output, errors)
    assert (status, output) == (3, "")
    assert told in errors
    assert errors.count("\n") == 1
    assert "wr0ng" not in errors


def test_wrong_settings_are_one_line(here, monkeypatch):
    """That leads to the list of them."""
    monkeypatch.setenv("MEMSESSION_EXPIRATION", "soon")
    status, told, errors = here("stats")
    assert (status, told) == (2, "")
    assert errors.endswith("python -m fastapi_memsession check\n")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "required: COMMAND"),
        (["keys"], "invalid choice: 'keys'"),
        (["revoke"], "required: USER"),
        (["revoke", "anna", "--session"], "expected one argument"),
        (["revoke", "anna", "--sess", "x"], "unrecognized arguments"),
        (["sessions", "\udcff"], "invalid"),
    ],
)
def test_a_wrong_command_is_one_line(here, arguments, told):
    """That names the help."""
    status, output, errors = here(*arguments)
    assert (status, output) == (2, "")
    assert told in errors
    assert errors.endswith("--help\n")
    assert errors.count("\n") == 1


def test_help_names_the_commands(here):
    """And goes to standard output."""
    status, told, errors = here("--help")
    assert (status, errors) == (0, "")
    for command in ("key", "check", "sessions", "revoke", "stats"):
        assert re.search(rf"^ +{command} ", told, re.MULTILINE)


def test_interrupted(here, monkeypatch):
    """It says nothing, as other programs."""

    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_key", interrupt)
    assert here("key") == (130, "", "")


def test_as_a_module(monkeypatch, capsys):
    """With the arguments of the command line."""
    monkeypatch.setattr(sys, "argv", ["fastapi-memsession", "key"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("fastapi_memsession", run_name="__main__")
    assert caught.value.code == 0
    assert len(capsys.readouterr().out) == 87
    runpy.run_module("fastapi_memsession.__main__", run_name="imported")
    assert capsys.readouterr().out == ""
