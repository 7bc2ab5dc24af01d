"""How sessions lie in Redis: names of keys, fields of hashes. Knows no connection.

    <prefix>:{<tag>}:s:<session id>   hash: the record
        c l e d x v   created, last seen, expires, deadline, idle expiration, confirmed; seconds
        g u r         generation, highest that was used, when it grew
        k z n         claims as JSON, bytes of data, the user id if the tag does not tell it
        i a a1 a2 a3  address and user agent at login, if they are recorded; the latter in pieces
        :<key>        a value as JSON, so that no key of the user's is one of those above
        q s           only with d, once the session was ended: why, and the id under which it
                      lives on, if it does; until its deadline
    <prefix>:{<tag>}:idx              sorted set: the user's session ids by creation
    <prefix>:{<tag>}:rev              when all sessions of the user were ended, for a while
    <prefix>:{<tag>}:l:<session id>   lock: lease and the time until which it is held
    <prefix>:{<tag>}:t:<session id>   ticket: that id may still be given, by whoever asked to
    <prefix>:{<tag>}:ended            channel: session id, reason and successor of each that ends

The tag is `=` and the user id, percent-encoded, or `#` and its hash if that is long: all keys of
a user are in one slot, whatever the user id.
"""

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast, get_args
from urllib.parse import quote, unquote

from pydantic_core import from_json, to_json

from fastapi_memsession.errors import EndReason
from fastapi_memsession.records import Ended, SessionInfo, SessionKey, SessionRecord
from fastapi_memsession.stores.base import (
    Change,
    ChangeResult,
    CompareAndSet,
    DeleteValue,
    Increment,
    SetDefault,
)
from fastapi_memsession.stores.changes import not_a_number, sum_out_of_range
from fastapi_memsession.stores.leases import lease_ran_out
from fastapi_memsession.values import size_of, too_large

logger = logging.getLogger("fastapi_memsession")

_LONGEST_TAG = 128  # characters
_SLACK = 60_000  # milliseconds that Redis keeps a dead record: callers' clocks differ
_LATEST = 1e17  # seconds: a later time is broken; see `time` in life.lua
_AGENT = ("a", "a1", "a2", "a3")
_AGENT_NAMES = tuple(name.encode() for name in _AGENT)
_PIECE = (
    64  # bytes: a hash with a longer value takes three times the memory (hash-max-listpack-value)
)

_PLUS = "+" if b"+" in to_json(1e16) else ""  # Pydantic's versions differ

INFO = ("c", "l", "e", "i", *_AGENT)
"""The fields of which `info_from` makes what may be shown."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of keys, all beginning with `prefix`."""

    prefix: str

    def session(self, user_id: str, session_id: str) -> str:
        """Name the record of a session."""
        return f"{self.prefix}:{{{_tag(user_id)}}}:s:{sendable(session_id)}"

    def index(self, user_id: str) -> str:
        """Name the sessions of a user."""
        return f"{self.prefix}:{{{_tag(user_id)}}}:idx"

    def revocation(self, user_id: str) -> str:
        """Name when all sessions of a user were ended."""
        return f"{self.prefix}:{{{_tag(user_id)}}}:rev"

    def channel(self, user_id: str) -> str:
        """Name the channel that tells of a user's sessions that end."""
        return f"{self.prefix}:{{{_tag(user_id)}}}:ended"

    def lock(self, key: SessionKey) -> str:
        """Name the lock of a session."""
        return f"{self.prefix}:{{{_tag(key.user_id)}}}:l:{sendable(key.session_id)}"

    def ticket(self, key: SessionKey) -> str:
        """Name what lets a session have a new id, for a moment."""
        return f"{self.prefix}:{{{_tag(key.user_id)}}}:t:{key.session_id}"

    def of_index(self, index: str, session_id: str) -> str:
        """Name a session that an index lists."""
        return f"{index.removesuffix('idx')}s:{session_id}"

    def pattern(self, ending: str) -> str:
        """Match all keys that end so, of all users."""
        return f"{self.prefix}:{{*}}:{ending}"

    @property
    def beginning(self) -> str:
        """What the names of all keys begin with, and of nobody else's."""
        return f"{self.prefix}:{{"

    def session_id(self, name: str) -> str:
        """Return the session id of a record's key; nothing of another key."""
        return name.partition("}:s:")[2]

    def parts(self, session: str, name: bytes | None) -> tuple[str, str]:
        """Return user and session id of a record's key; `name` is its field `n`."""
        tag, _, session_id = session.removeprefix(self.beginning).rpartition("}:s:")
        return unquote(tag[1:]) if name is None else name.decode(), session_id


@lru_cache(1024)
def _tag(user_id: str) -> str:
    # A lone surrogate names no user that could have logged in, which is no error.
    tag = "=" + quote(user_id, safe="", errors="surrogatepass")
    if len(tag) <= _LONGEST_TAG:
        return tag
    return "#" + hashlib.sha256(user_id.encode(errors="surrogatepass")).hexdigest()


def sendable(session_id: str) -> str:
    """Return a session id as it is named in Redis: one that nothing has, if it cannot be named."""
    if session_id.isascii():
        return session_id
    return session_id.encode(errors="backslashreplace").decode()


def fields_of(record: SessionRecord) -> list[Any]:
    """Return fields and values of a record, one after the other."""
    meta = {
        "c": repr(record.created_at),
        "l": repr(record.last_seen_at),
        "e": repr(record.expires_at),
        "d": repr(record.deadline),
        "x": repr(record.expiration),
        "v": repr(record.confirmed_at),
        "g": record.generation,
        "u": record.used_generation,
        "r": repr(record.rotated_at),
        "k": claims_text(record.claims),
        "z": size_of(record.data),
    }
    if _tag(record.user_id)[0] == "#":
        meta["n"] = record.user_id
    if record.user_agent is not None:
        meta |= _pieces(record.user_agent.encode())
    if record.address is not None:
        meta["i"] = record.address
    data = {f":{key}": value for key, value in record.data.items()}
    return [part for pair in (meta | data).items() for part in pair]


def _pieces(text: bytes) -> dict[str, bytes]:
    whole = len(_AGENT) - 1
    cuts = [number * _PIECE for number in range(len(_AGENT))]
    pieces = [text[cut : cut + _PIECE] for cut in cuts[:whole]] + [text[cuts[whole] :]]
    return {name: piece for name, piece in zip(_AGENT, pieces, strict=True) if piece or name == "a"}


def _text(pieces: Iterable[bytes | None]) -> str | None:
    there = [piece for piece in pieces if piece is not None]
    return b"".join(there).decode() if there else None


def milliseconds_kept(seconds: float) -> int:
    """Return how long Redis keeps what is of use for so many seconds."""
    return math.ceil(seconds * 1000) + _SLACK


def claims_text(claims: Mapping[str, str]) -> bytes:
    """Return claims as JSON: equal ones as equal bytes."""
    return to_json(dict(sorted(claims.items())))


def result_of(reply: Sequence[Any], max_bytes: int) -> ChangeResult:
    """Return what a change did, from the script's reply; raise what `SessionStore.change` does."""
    outcome, *rest = reply
    if outcome == b"lease":
        raise lease_ran_out()
    if outcome == b"large":
        raise too_large(rest[0], max_bytes)
    if outcome == b"text":
        raise not_a_number()
    if outcome == b"range":
        raise sum_out_of_range()
    return ChangeResult(applied=outcome == 1, values=tuple(rest[0]))


def info_from(user_id: str, session_id: str, fields: Sequence[bytes | None]) -> SessionInfo | None:
    """Return what may be shown of a session, from its fields INFO; None if they are broken."""
    try:
        created, seen, expires = (_time(each or b"0") for each in fields[:3])
        address, agent = _text(fields[3:4]), _text(fields[4:])
    except ValueError:
        return None
    return SessionInfo(user_id, session_id, created, seen, expires, agent, address)


def record_from(
    key: SessionKey, reply: Mapping[bytes, bytes] | list[bytes] | None
) -> SessionRecord | None:
    """Return the record of all fields, as a script lists them or in a mapping.

    None if it is absent, or broken.
    """
    if reply is None:
        return None
    found = dict(zip(reply[::2], reply[1::2], strict=True)) if isinstance(reply, list) else reply
    if b"e" not in found:  # nothing is there, or why it ended
        return None
    try:
        return SessionRecord(
            key.user_id,
            key.session_id,
            _claims(found[b"k"]),
            {name[1:].decode(): value for name, value in found.items() if name[:1] == b":"},
            _time(found[b"c"]),
            _time(found[b"l"]),
            _time(found[b"e"]),
            _time(found[b"d"]),
            _time(found[b"x"]),
            _time(found[b"v"]),
            _text(map(found.get, _AGENT_NAMES)) if b"a" in found else None,
            found[b"i"].decode() if b"i" in found else None,
            int(found[b"g"]),
            int(found[b"u"]),
            _time(found[b"r"]),
        )
    except (KeyError, ValueError):
        logger.error("A record of a session is broken; it is taken as absent.")
        return None


def remembered(found: Sequence[bytes | None] | None, now: float) -> str | None:
    """Return a field that tells of a session that ended, of that and `d`; None if that is over."""
    text, deadline = found or (None, None)
    try:
        return text.decode() if text and deadline and now < _time(deadline) else None
    except ValueError:
        return None


def _time(text: bytes) -> float:
    """Return a time as it is kept.

    Raises:
        ValueError: it is none that we write.
    """
    time = float(text)
    if not abs(time) < _LATEST:
        raise ValueError("no time")
    return time


def _claims(text: bytes) -> dict[str, str]:
    """Return claims as they are kept.

    Raises:
        ValueError: they are none.
    """
    claims = from_json(text)
    if type(claims) is not dict or not all(type(value) is str for value in claims.values()):
        raise ValueError("no claims")
    return claims


def ending_from(message: bytes) -> Ended | None:
    """Return what a message on a user's channel says; None if it is none of ours."""
    session_id, *rest = message.decode(errors="replace").split(" ")
    if len(rest) != 2 or rest[0] not in get_args(EndReason):  # noqa: PLR2004 - see life.lua
        return None
    return Ended(session_id, cast("EndReason", rest[0]), rest[1] or None)


def steps_of(changes: Sequence[Change]) -> list[Any]:
    """Return what the script `change` takes for changes."""
    return [_PLUS, *(part for change in changes for part in _step_of(change))]


def _step_of(change: Change) -> tuple[Any, ...]:
    if isinstance(change, DeleteValue):
        return "delete", change.key, "", ""
    if isinstance(change, Increment):
        kind = "int" if type(change.by) is int else "float"
        return "add", change.key, repr(change.by), kind
    if isinstance(change, CompareAndSet):
        return "compare", change.key, change.value, change.expected
    verb = "default" if isinstance(change, SetDefault) else "set"
    return verb, change.key, change.value, ""
