"""The command line: make a key, check the settings, look at the sessions in Redis and end them.

`python -m fastapi_memsession --help`. Knows settings and stores; neither tokens nor applications.
What it prints goes to programs, too: one line for each thing, columns that stay, no colours.
"""

import argparse
import asyncio
import logging
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn, TextIO

from fastapi_memsession.audit import findings_of
from fastapi_memsession.checks import KEY_BYTES, PREFIX
from fastapi_memsession.errors import SettingsError, StoreUnavailable
from fastapi_memsession.records import SessionInfo, SessionKey
from fastapi_memsession.settings import SessionSettings, examine_settings
from fastapi_memsession.stores.base import SessionStore
from fastapi_memsession.stores.chosen import store_of

PROGRAM = "python -m fastapi_memsession"

FOUND = 1
"""Exit status: settings are not fit for production, or there is no such session."""
UNUSABLE = 2
"""Exit status: the command, or the settings that it needs, cannot be used."""
UNAVAILABLE = 3
"""Exit status: Redis cannot answer."""
_INTERRUPTED, _PIPE_CLOSED = 130, 141  # as a shell counts SIGINT and SIGPIPE

_COLUMNS = ("ID", "CREATED", "LAST SEEN", "EXPIRES", "ADDRESS", "USER AGENT")
_WIDTHS = (43, 20, 20, 20, 15)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, by default that of the command line; return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser().parse_args(_joined(given))
        status: int = options.run(options)
        sys.stdout.flush()
    except SettingsError as error:
        return _complain(str(error), UNUSABLE)
    except StoreUnavailable as error:
        return _complain(str(error), UNAVAILABLE)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # whoever reads has seen enough; nor may the interpreter write the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    return status


def _key(_options: argparse.Namespace) -> int:
    _say(secrets.token_urlsafe(KEY_BYTES))
    _say(
        f"Keep it secret, and give the same one to every worker, as {PREFIX}JWT_KEY in its "
        "environment or in .env.",
        sys.stderr,
    )
    return 0


def _check(_options: argparse.Namespace) -> int:
    # As they are, for what this environment says it is; and as they would be in production.
    now, told = _examined()
    settings, problems = _examined(env="production")
    errors = list(dict.fromkeys([*told, *problems]))
    if settings.store_kind == "redis":
        try:
            store_of(settings)
        except SettingsError as error:
            errors.append(str(error))
    found = [("error", text) for text in errors]
    if now.env != "production":
        advice = "to run in production, with the checks at start, set it to production"
        found.append(("warning", f"{PREFIX}ENV is {now.env}: {advice}"))
    found += findings_of(settings)
    for level, text in found:
        _say(f"{level:7}  {text}.")
    counts = [
        f"{number} {level}{'' if number == 1 else 's'}"
        for level in ("error", "warning", "note")
        if (number := [each[0] for each in found].count(level))
    ]
    if any(level != "note" for level, _ in found):
        _say(f"Not fit for production: {', '.join(counts)}.")
        return FOUND
    _say(f"All is well{': ' if counts else ''}{', '.join(counts)}.")
    return 0


def _sessions(options: argparse.Namespace) -> int:
    async def look(store: SessionStore) -> list[SessionInfo]:
        return await store.list_user(options.user, now=time.time())

    infos = _ask_store(look)
    _say(_row(_COLUMNS))
    for info in infos:
        times = (info.created_at, info.last_seen_at, info.expires_at)
        whole = (info.session_id, *map(_moment, times), _word(info.address))
        _say(_row((*whole, info.user_agent or "-")))
    return 0


def _revoke(options: argparse.Namespace) -> int:
    user: str = options.user
    session_id: str | None = options.session

    async def end(store: SessionStore) -> list[str]:
        now = time.time()
        if session_id is None:
            return await store.delete_user(user, now=now, reason="revoked")
        key = SessionKey(user, session_id)
        latest = await store.delete(key, now=now, reason="revoked")
        return [latest] if latest else []

    ended = _ask_store(end)
    for each in ended:
        _say(each)
    if session_id is not None and not ended:
        return _complain("The user has no such session.", FOUND)
    sessions = "1 session was" if len(ended) == 1 else f"{len(ended)} sessions were"
    return _complain(f"{sessions} ended.", 0)


def _stats(_options: argparse.Namespace) -> int:
    async def look(store: SessionStore) -> tuple[int, int | None]:
        return await store.count(now=time.time()), (await store.stats()).server_bytes

    sessions, server_bytes = _ask_store(look)
    _say(f"sessions      {sessions}")
    _say(f"server_bytes  {server_bytes}")
    return 0


def _ask_store(ask: Callable[[SessionStore], Coroutine[Any, Any, Any]]) -> Any:
    """Return what a function finds in the store of the settings.

    Raises:
        SettingsError: the settings are wrong, or keep sessions in memory.
        StoreUnavailable: the store cannot answer.
    """
    _, problems = _examined()
    if problems:
        raise SettingsError(f"The settings are wrong; see all that is: {PROGRAM} check")
    settings = SessionSettings()
    if settings.store_kind == "memory":
        raise SettingsError(
            "These settings keep sessions in memory: they live in the application's own process, "
            f"where no other program sees them. This command works with {PREFIX}PROVIDER=redis."
        )

    async def asked() -> Any:
        async with _opened(store_of(settings)) as store:
            return await ask(store)

    return asyncio.run(asked())


@asynccontextmanager
async def _opened(store: SessionStore) -> AsyncIterator[SessionStore]:
    # What the log would tell is for those who run the application; here, errors are told.
    logger = logging.getLogger("fastapi_memsession")
    before, logger.disabled = logger.disabled, True
    try:
        await store.open()
        try:
            yield store
        finally:
            await store.aclose()
    finally:
        logger.disabled = before


def _examined(**values: str) -> tuple[SessionSettings, list[str]]:
    try:
        return examine_settings(**values)
    except (OSError, UnicodeError) as error:  # both may name the file, and one would quote it
        raise SettingsError(f"The file .env cannot be read ({type(error).__name__}).") from None


def _row(cells: Sequence[str]) -> str:
    padded = [f"{cell:{width}}" for cell, width in zip(cells, _WIDTHS, strict=False)]
    return "  ".join([*padded, cells[-1]])


def _word(text: str | None) -> str:
    """Return text without spaces: what comes after it stays in its column."""
    return "".join("?" if each.isspace() else each for each in text or "-")


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "?"


def _say(line: str, stream: TextIO | None = None) -> None:
    """Print a line that disturbs no terminal, whoever wrote what stands in it."""
    out: Any = stream or sys.stdout
    printable = "".join(each if each.isprintable() else "?" for each in line)
    out.write(printable.encode(out.encoding, "replace").decode(out.encoding) + "\n")


def _complain(message: str, status: int) -> int:
    _say(message, sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.exit(_complain(f"{message}; see {self.prog} --help", UNUSABLE))


def _joined(arguments: list[str]) -> list[str]:
    """Let a session id begin with a hyphen, as one in 64 does."""
    if "--session" in arguments[:-1]:
        at = arguments.index("--session")
        arguments[at : at + 2] = [f"--session={arguments[at + 1]}"]
    return arguments


def _user(text: str) -> str:
    text.encode()  # a ValueError, which argparse tells, if the shell gave bytes that are no text
    return text


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Server-side sessions for FastAPI: keys, settings, and sessions in Redis.",
        epilog=f"Settings come from the environment ({PREFIX}...) and .env, as the application's.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], told: str) -> _Parser:
        command: _Parser = commands.add_parser(
            name, help=told, description=told, allow_abbrev=False
        )
        command.set_defaults(run=run)
        return command

    add("key", _key, "Print a new key to sign tokens with.")
    add("check", _check, "List what is unsafe for production in the settings; exit with 1 if so.")
    sessions = add("sessions", _sessions, "List a user's live sessions, oldest first.")
    revoke = add("revoke", _revoke, "End a user's sessions and print their ids.")
    for command in (sessions, revoke):
        command.add_argument("user", type=_user, metavar="USER", help="the user id of the login")
    revoke.add_argument("--session", metavar="ID", type=_user, help="end this one only")
    add("stats", _stats, "Count the live sessions, walking over all of them.")
    return parser
