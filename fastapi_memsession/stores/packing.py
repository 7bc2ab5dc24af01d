"""How a record lies in memory: in one bytes object. Knows no store.

First the record as a tuple without its session id, marshalled, then what is asked for alone: when
it expires, the slot in the expiry queue, and the size of the data.

A record as Python objects takes some 1 400 bytes, most of them for dicts; packed it takes a
quarter, the garbage collector has nothing to look at, and reading it touches one place in memory,
which is what takes the time when there are many. `marshal` is the fastest reader there is of
tuples, dicts and bytes; what it writes never leaves the process that reads it.
"""

import marshal
import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

from fastapi_memsession.records import SessionRecord

Packed: TypeAlias = bytes

_FORMAT = 2  # of marshal: later ones note which objects are the same, which takes time
_TAIL = struct.Struct("<dqI")
_EXPIRES, _SLOT, _SIZE = struct.Struct("<d"), struct.Struct("<q"), struct.Struct("<I")
_EXPIRES_AT, _SLOT_AT, _SIZE_AT = -_TAIL.size, -12, -4


def pack(record: SessionRecord, slot: int, size: int) -> Packed:
    """Pack a record; `slot` is where the expiry queue has it, `size` that of its data."""
    tail = _TAIL.pack(record.expires_at, slot, size)
    fields: Any = record[:1] + record[2:]
    try:
        return marshal.dumps(fields, _FORMAT) + tail
    except ValueError:  # marshal takes no subclasses: a user id may be of a StrEnum
        user_id, claims, data, *rest = fields
        plain = _plain(user_id), _plain_dict(claims), _plain_dict(data), *map(_plain, rest)
        return marshal.dumps(plain, _FORMAT) + tail


def unpack(session_id: str, packed: Packed) -> SessionRecord:
    """Return the record that was packed."""
    fields = marshal.loads(packed)  # noqa: S302 - written above
    # A NamedTuple made of a tuple, without the call that its own function is.
    return tuple.__new__(SessionRecord, (fields[0], session_id, *fields[1:]))


def expires_at(packed: Packed) -> float:
    """Return when a packed record dies."""
    return _EXPIRES.unpack_from(packed, _EXPIRES_AT)[0]  # type: ignore[no-any-return]


def slot_of(packed: Packed) -> int:
    """Return where the expiry queue has it."""
    return _SLOT.unpack_from(packed, _SLOT_AT)[0]  # type: ignore[no-any-return]


def size_of_data(packed: Packed) -> int:
    """Return the bytes that keys and values of the data take together."""
    return _SIZE.unpack_from(packed, _SIZE_AT)[0]  # type: ignore[no-any-return]


def moved(packed: Packed, slot: int) -> Packed:
    """Return the same record, at another place in the expiry queue."""
    return packed[:_SLOT_AT] + _SLOT.pack(slot) + packed[_SIZE_AT:]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str.__str__(value)  # an enum's str() is another text in some versions of Python
    kinds: tuple[Any, ...] = (int, float, bytes)
    return next((kind(value) for kind in kinds if isinstance(value, kind)), value)


def _plain_dict(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_plain(key): _plain(value) for key, value in values.items()}
