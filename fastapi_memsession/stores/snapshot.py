"""Sessions in memory that outlive a restart while you develop: a store, and the file it leaves.

Knows records and files. The file is JSON; it holds sessions, why others ended, and the key that
signs tokens if nobody chose one: whoever can read it can be anyone. Never for production.
"""

import asyncio
import errno
import logging
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json, to_json

from fastapi_memsession.records import SessionRecord
from fastapi_memsession.stores.endings import Ending
from fastapi_memsession.stores.memory import Contents, MemoryStore

logger = logging.getLogger("fastapi_memsession")

FORMAT = 1
"""Changes with what a record holds: a file of another format is not read."""

_SHORTEST_KEY = 64  # characters; any algorithm takes such a key
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class _Header(BaseModel):
    format: int


class _File(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid", hide_input_in_errors=True)

    format: Literal[1]
    issuer: str
    audience: str
    key: str | None = Field(min_length=_SHORTEST_KEY)
    records: list[SessionRecord]
    endings: list[Ending]


class _Unfit(Exception):
    """Why a file is not read. It is set aside."""


class SnapshotStore(MemoryStore):
    """A MemoryStore that begins with what a file holds, and writes it when it is closed.

    Whatever is wrong with the file is a warning in the log, and the store begins empty. A kill
    leaves the file as it was: sessions that ended since are in it.

    Args:
        path: the file; its folder must be there.
        issuer: of the application's tokens; another application's file is not read.
        audience: likewise.
        max_sessions: as for MemoryStore; the file's latest sessions are taken over.
        clock: seconds since the epoch; sessions that are over by then are not taken over.
    """

    def __init__(
        self,
        path: Path,
        *,
        issuer: str,
        audience: str,
        max_sessions: int,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(max_sessions=max_sessions)
        self._path: Path | None = path.absolute()
        self._issuer = issuer
        self._audience = audience
        self._key: str | None = None  # none is written unless somebody asked for one
        found = self._found(self._path)
        self._found_key = found.key if found else None
        if found is not None:
            self.restore(Contents(found.records, found.endings), now=clock())

    def key_or(self, key: str) -> str:
        """Return the key that the file had, `key` if it had none; it is kept from now on."""
        self._key = self._found_key or key
        return self._key

    async def aclose(self) -> None:
        """Write the file. The store goes on holding what it holds."""
        await super().aclose()
        if self._path is not None:
            await asyncio.to_thread(self._write, self._path)

    def _found(self, path: Path) -> _File | None:
        try:
            try:
                text = _read(path)
                return None if text is None else self._decoded(text)
            except _Unfit as reason:
                aside = _set_aside(path)
                told = "The snapshot of the sessions was not read, because %s. It is %s now."
                logger.warning(told, reason, aside)
        except OSError as error:
            self._path = None  # what is there is left alone
            told = "The snapshot of the sessions is neither read nor written: %s: %s."
            logger.warning(told, path, error.strerror)
        return None

    def _decoded(self, text: bytes) -> _File:
        try:
            version = _Header.model_validate_json(text).format
            if version != FORMAT:
                raise _Unfit(f"{self._path} has format {version}, this is format {FORMAT}")
            found = _File.model_validate_json(text)
            for record in found.records:
                for value in record.data.values():
                    from_json(value)
        except ValidationError as error:
            # The errors themselves quote what was read.
            raise _Unfit(f"{self._path} is broken ({error.error_count()} errors)") from None
        except ValueError:
            raise _Unfit(f"{self._path} is broken (a value is no JSON)") from None
        if (found.issuer, found.audience) != (self._issuer, self._audience):
            raise _Unfit(f"{self._path} has another MEMSESSION_ISSUER or MEMSESSION_AUDIENCE")
        return found

    def _write(self, path: Path) -> None:
        held = self.contents()
        text = to_json(
            {
                "format": FORMAT,
                "issuer": self._issuer,
                "audience": self._audience,
                "key": self._key,
                "records": [record._asdict() for record in held.records],
                "endings": held.endings,
            }
        )
        try:
            _replace(path, text)
        except OSError as error:
            logger.warning("The sessions could not be written to %s: %s.", path, error.strerror)


def _read(path: Path) -> bytes | None:
    """Return what is in the file, None if there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(path, flags)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "It is no regular file")
        if status.st_uid != os.geteuid():
            raise _Unfit(f"{path} belongs to another user")
        if status.st_mode & _OTHERS:
            raise _Unfit(f"{path} is open to others, who may have read or written it")
        with os.fdopen(file, "rb", closefd=False) as opened:
            return opened.read()
    finally:
        os.close(file)


def _set_aside(path: Path) -> Path:
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.bad-{number}")):
        number += 1
    return path.rename(aside)


def _replace(path: Path, text: bytes) -> None:
    """Write the whole file or leave the old one; only its owner may read it."""
    file, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
