"""What `SessionStore.change` can do to the data of a session. Knows keys and bytes, no session."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SetValue:
    """Store `value` under `key`."""

    key: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeleteValue:
    """Remove `key`; an absent one is no error. The result is the value that was there, or None."""

    key: str


@dataclass(frozen=True, slots=True)
class SetDefault:
    """Store `value` under `key` unless something is there."""

    key: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Increment:
    """Add `by` to the number under `key`; an absent one counts as 0.

    Two ints give an int and must stay within 64 bits, signed; otherwise the sum is a float and
    must stay finite. It is stored as the bytes that `encode_value` gives, as if it had been set.
    """

    key: str
    by: int | float = field(repr=False)


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """Store `value` under `key` if the value there is `expected`, byte for byte.

    An absent key compares as `null`, as it reads. If the value differs, none of the changes
    that were handed in together is applied.
    """

    key: str
    expected: bytes = field(repr=False)
    value: bytes = field(repr=False)


Change = SetValue | DeleteValue | SetDefault | Increment | CompareAndSet


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """What became of changes.

    Attributes:
        applied: False if a comparison failed, and then nothing was changed.
        values: for each change the value now under its key, None if there is none; for
            DeleteValue the value that was removed.
    """

    applied: bool
    values: tuple[bytes | None, ...] = field(repr=False)
