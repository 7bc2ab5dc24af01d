"""How a record lies in memory: one tuple of strings, bytes and numbers. Knows no store.

A record as Python objects takes some 1 400 bytes, most of them for dicts; packed it takes less
than half, and the garbage collector has nothing to look at. Sessions that hold the same keys share
them. Unpacking costs about a microsecond.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from fastapi_memsession.records import SessionRecord

Names: TypeAlias = tuple[str, ...]
Packed: TypeAlias = tuple[Any, ...]
"""user id; names and values of claims, of data; created, seen, deadline, idle; slot; the rest."""

_SHORT = 64  # characters of claims that other sessions probably have, too
_MOST_NAMES = 1024  # sets of names that are shared


_shared: dict[Names, Names] = {}


def pack(record: SessionRecord, slot: int) -> Packed:
    """Pack a record; `slot` is where the expiry queue has it."""
    claim_names, claim_values = _shape(record.claims), list(record.claims.values())
    claims: Any = "\0".join(claim_values)
    if claims.count("\0") >= max(1, len(claim_values)):
        claims = tuple(claim_values)
    elif len(claims) <= _SHORT:
        claims = sys.intern(claims)
    values = list(record.data.values())
    # JSON text has no line breaks of its own, but a value that came in another way may.
    data: Any = b"\n".join(values)
    if data.count(b"\n") >= max(1, len(values)):
        data = tuple(values)
    created = record.created_at
    # What most records do not have: other times than a login gives, a device, a generation.
    rest: Any = (record.expires_at, *record[9:])
    if rest == (
        min(record.last_seen_at + record.expiration, record.deadline),
        created, None, None, 0, 0, 0.0,
    ):  # fmt: skip
        rest = None
    elif record.user_agent is not None:  # many have the same
        rest = (*rest[:2], sys.intern(record.user_agent), *rest[3:])
    return (
        record.user_id,
        claim_names,
        claims,
        _shape(record.data),
        data,
        created,
        record.last_seen_at,
        record.deadline,
        record.expiration,
        slot,
        rest,
    )


def unpack(session_id: str, packed: Packed) -> SessionRecord:
    """Return the record that was packed."""
    user_id, claim_names, claims, names, data, created, seen, deadline, idle, _, rest = packed
    # Not strict: of no names the value is one empty text.
    values = data.split(b"\n") if type(data) is bytes else data
    data = dict(zip(names, values, strict=False))
    claims = _unpack_claims(claim_names, claims)
    if rest is None:
        dies_at = seen + idle
        return SessionRecord(
            user_id, session_id, claims, data, created, seen,
            min(dies_at, deadline), deadline, idle, created,
        )  # fmt: skip
    dies_at, *rest = rest
    return SessionRecord(
        user_id, session_id, claims, data, created, seen, dies_at, deadline, idle, *rest
    )


def expires_at(packed: Packed) -> float:
    """Return when a packed record dies."""
    rest: tuple[float] | None = packed[10]
    return min(packed[6] + packed[8], packed[7]) if rest is None else rest[0]


def slot_of(packed: Packed) -> int:
    """Return where the expiry queue has it."""
    return packed[9]  # type: ignore[no-any-return]


def size_of_data(packed: Packed) -> int:
    """Return the bytes that keys and values of the data take together."""
    names, data = packed[3], packed[4]
    if type(data) is tuple:
        return _size_of(names) + sum(map(len, data))
    return _size_of(names) + len(data) - max(0, len(names) - 1)


def _shape(mapping: Mapping[str, Any]) -> Names:
    names = tuple(mapping)
    shared = _shared.get(names)
    if shared is None:
        if len(_shared) >= _MOST_NAMES:  # keys that clients choose: sharing them gains nothing
            _shared.clear()
        shared = _shared[names] = names
    return shared


@lru_cache(maxsize=4096)
def _unpack_claims(names: Names, values: str | Names) -> Mapping[str, str]:
    # The same for all who have the same: nobody changes the claims of a record in place.
    texts = values.split("\0") if isinstance(values, str) else values
    return dict(zip(names, texts, strict=False))


@lru_cache(maxsize=_MOST_NAMES)
def _size_of(names: Sequence[str]) -> int:
    return sum(len(name.encode()) for name in names)
