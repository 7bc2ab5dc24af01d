"""The one codec of stored values: JSON text in UTF-8, by pydantic-core.

A value is encoded when it is handed in, so what cannot be stored fails at once and nothing that
the caller still holds is aliased. Every store keeps these bytes, so every store is equally strict.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from fastapi_memsession.errors import SessionDataError, SessionDataMismatch, SessionTooLarge

MAX_DEPTH = 100
"""Levels of lists and dicts that a value may have."""

INT64 = range(-(2**63), 2**63)
"""The integers that every reader can hold."""

# JSON has no form of its own for these. Pydantic would write them as text or as a list, and a
# reader would get another type back than was stored; a set would not even keep its order.
_NO_JSON_FORM = (bytes, bytearray, memoryview, AbstractSet, Iterator)


def encode_value(value: object) -> bytes:
    """Encode one value.

    Stored faithfully: what JSON can say (None, bool, int, finite float, str, list, dict with
    string keys; a tuple reads back as a list). Also taken, if Pydantic can read back what it
    wrote: models, dataclasses, datetimes, UUIDs, enums and the like; read those with
    `get(key, as_=Type)`.

    Raises:
        SessionDataError: the value cannot be stored. The message does not quote it.
    """
    try:
        if _is_plain(value):  # as most are: there is nothing to look for inside
            return to_json(value)
        _refuse_what_json_would_alter(value, 0)
        encoded = to_json(value)
        # Proves that the text can be read back: refuses NaN, infinities and huge integers.
        from_json(encoded, allow_inf_nan=False)
    except SessionDataError:
        raise
    except Exception:  # a serializer of the user's may raise anything, and quote the value
        raise SessionDataError(
            f"A {type(value).__name__} cannot be stored in a session: it is, or holds, something "
            "that JSON cannot say, such as NaN, a lone surrogate or an object of a plain class. "
            "Store JSON types, or a Pydantic model."
        ) from None
    return encoded


def decode_value(encoded: bytes) -> Any:
    """Decode one value to JSON types.

    Raises:
        SessionDataMismatch: it is no JSON: somebody else wrote it. It is not quoted.
    """
    try:
        return from_json(encoded)
    except ValueError:
        told = "A stored value is no JSON; the session did not write it."
        raise SessionDataMismatch(told, fields=()) from None


def decode_value_as(encoded: bytes, type_: Any) -> Any:
    """Decode one value and validate it into `type_`.

    Raises:
        SessionDataMismatch: it does not fit. The stored value is not quoted.
    """
    try:
        return _adapter(type_, repr(type_)).validate_json(encoded)
    except ValidationError as error:
        faults = {fault["type"] for fault in error.errors(include_input=False, include_url=False)}
        told = f"The stored value is not a {type_!r}: {', '.join(sorted(faults))}."
        raise SessionDataMismatch(told, fields=()) from None


def plain_text(text: str) -> str:
    """Return a text as a plain str: an enum's may be formatted as something else than it is."""
    return text if type(text) is str else str.__str__(text)


def check_key(key: object) -> str:
    """Return `key` if it can name a value: any string that UTF-8 can encode, even an empty one."""
    if not isinstance(key, str):
        raise SessionDataError(f"A session key must be a str, not {type(key).__name__}.")
    plain = plain_text(key)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise SessionDataError("A session key must not contain a lone surrogate.") from None
    return plain


def encode_data(data: object) -> dict[str, bytes]:
    """Encode several values by key, all or none."""
    if type(data) is not dict and not isinstance(data, Mapping):
        raise SessionDataError(f"Data must be a mapping, not a {type(data).__name__}.")
    return {
        # Nearly every key is ASCII, which is seen at a glance.
        key if type(key) is str and key.isascii() else check_key(key): encode_value(value)
        for key, value in data.items()
    }


def check_size(data: Mapping[str, bytes], limit: int) -> None:
    """Raise SessionTooLarge if keys and values together take more than `limit` bytes."""
    size = size_of(data)
    if size > limit:
        raise too_large(size, limit)


def size_of(data: Mapping[str, bytes]) -> int:
    """Return the bytes that keys and values take together."""
    return len("".join(data).encode()) + sum(map(len, data.values()))


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, a moment of time also in whichever zone it is told.

    Python has it that a moment in an hour that a zone's clock repeats, or skips, equals none that
    is told in another zone (PEP 495).
    """
    equal = bool(one == other)
    if equal or type(one) is not type(other):
        return equal
    if isinstance(one, datetime):
        aware = one.tzinfo is not None and other.tzinfo is not None
        return aware and one.astimezone(UTC) == other.astimezone(UTC)
    if isinstance(one, BaseModel) or (is_dataclass(one) and hasattr(one, "__dict__")):
        return same(vars(one), vars(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return False


def too_large(size: int, limit: int) -> SessionTooLarge:
    """Return the error for data of `size` bytes where `limit` are allowed."""
    return SessionTooLarge(
        f"The session would hold {size} bytes, the limit is {limit} (MEMSESSION_MAX_DATA_BYTES). "
        "Keep large things elsewhere and store a reference.",
        size=size,
        limit=limit,
    )


@lru_cache(maxsize=256)
def _adapter(type_: Any, _spelled: str) -> TypeAdapter[Any]:
    # `int | str` equals `str | int`, but reads otherwise: only spelled the same are they the same.
    return TypeAdapter(type_)


def _is_plain(value: object) -> bool:
    """Whether JSON says the value as it is: text, a truth, or a number that any reader can hold."""
    kind = type(value)
    return (
        kind is str
        or kind is bool
        or value is None
        or (kind is int and value in INT64)
        or (kind is float and isfinite(value))  # type: ignore[arg-type]
    )


def _refuse_what_json_would_alter(value: object, depth: int) -> None:
    if value is None or type(value) in (str, int, float, bool):
        return
    if depth >= MAX_DEPTH:
        raise SessionDataError(
            f"The value is nested more than {MAX_DEPTH} levels deep, or contains itself."
        )
    if isinstance(value, dict):
        for key, member in value.items():
            if not isinstance(key, str):
                raise SessionDataError(
                    f"A dict with a key of type {type(key).__name__} cannot be stored: "
                    "JSON keys are strings."
                )
            _refuse_what_json_would_alter(member, depth + 1)
    elif isinstance(value, list | tuple):
        for member in value:
            _refuse_what_json_would_alter(member, depth + 1)
    elif isinstance(value, _NO_JSON_FORM):
        raise SessionDataError(
            f"A {type(value).__name__} cannot be stored: JSON has no form for it. "
            "Store a list, or text such as base64."
        )
    elif isinstance(value, Enum) or not isinstance(value, str | int | float):
        _refuse_what_pydantic_would_alter(value, depth)


def _refuse_what_pydantic_would_alter(value: object, depth: int) -> None:
    """Raise SessionDataError unless JSON brings a model, a date and the like back as it was.

    Pydantic writes a secret as stars and NaN inside a model as null, and says nothing.
    """
    kind: Any = type(value)
    encoded = to_json(value)
    _refuse_what_json_would_alter(from_json(encoded), depth)  # what is inside may be deep
    back = _adapter(kind, repr(kind)).validate_json(encoded)
    if not same(back, value):
        raise SessionDataError(
            f"A {kind.__name__} would not come back from JSON as it is now: it holds a secret, "
            "NaN, or something that its own rules leave out or alter. Store plain values of it."
        )
