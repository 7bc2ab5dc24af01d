"""What changes do to encoded data, for a store that holds the data in Python.

Pure: takes data, returns data. A store whose data live elsewhere does the same over there.
"""

import math
from collections.abc import Mapping, Sequence

from fastapi_memsession.errors import SessionDataError
from fastapi_memsession.stores.base import (
    Change,
    ChangeResult,
    CompareAndSet,
    DeleteValue,
    Increment,
    SetDefault,
)
from fastapi_memsession.values import INT64, decode_value, encode_value


def apply_changes(
    data: Mapping[str, bytes], changes: Sequence[Change]
) -> tuple[dict[str, bytes], ChangeResult]:
    """Return what the data become, and the result; a failed comparison leaves them as they were.

    Raises:
        SessionDataError: an increment does not apply to what is there.
    """
    after = dict(data)
    values: list[bytes | None] = []
    for change in changes:
        key = change.key
        if isinstance(change, DeleteValue):
            values.append(after.pop(key, None))
            continue
        if isinstance(change, CompareAndSet):
            if after.get(key, b"null") != change.expected:
                now_there = tuple(data.get(each.key) for each in changes)
                return dict(data), ChangeResult(applied=False, values=now_there)
            after[key] = change.value
        elif isinstance(change, SetDefault):
            after.setdefault(key, change.value)
        elif isinstance(change, Increment):
            after[key] = _sum(after.get(key, b"0"), change.by)
        else:
            after[key] = change.value
        values.append(after[key])
    return after, ChangeResult(applied=True, values=tuple(values))


def not_a_number() -> SessionDataError:
    """Return the error for an increment of what is no number."""
    return SessionDataError("What is there cannot be incremented; only a number can.")


def sum_out_of_range() -> SessionDataError:
    """Return the error for an increment whose sum cannot be stored."""
    return SessionDataError(
        "The sum is out of range: integers have 64 bits, signed, and floats must stay finite."
    )


def _sum(encoded: bytes, by: int | float) -> bytes:
    value = decode_value(encoded)
    if type(value) not in (int, float):
        raise not_a_number()
    if type(value) is int and type(by) is int:
        total = value + by
        if not (value in INT64 and by in INT64 and total in INT64):
            raise sum_out_of_range()
        return encode_value(total)
    try:
        result = float(value) + float(by)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise sum_out_of_range()
    return encode_value(result)
