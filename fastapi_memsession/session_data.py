"""The data of a session: reads of what was loaded, and writes that are done when they return.

Reads come from the record that was loaded with the token and show this request's own writes.
Each write is one atomic step in the store.
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar, overload

from fastapi_memsession.clock import Clock
from fastapi_memsession.errors import (
    EndReason,
    LockTimeout,
    SessionDataError,
    SessionEnded,
    StoreUnavailable,
)
from fastapi_memsession.records import SessionKey, SessionRecord
from fastapi_memsession.stores.base import (
    Change,
    ChangeResult,
    CompareAndSet,
    DeleteValue,
    Increment,
    SessionStore,
    SetDefault,
    SetValue,
)
from fastapi_memsession.values import (
    check_key,
    decode_value,
    decode_value_as,
    encode_data,
    encode_value,
)
from fastapi_memsession.watches import Watches

T = TypeVar("T")
D = TypeVar("D")

_NO_LEASES: Mapping[int, str] = {}
held_leases: ContextVar[Mapping[int, str]] = ContextVar("memsession_leases", default=_NO_LEASES)
"""The leases that this task holds, or was started under, by the identity of a Session."""


class Keeper(Protocol):
    """What a session asks of the provider that opened it."""

    store: SessionStore
    clock: Clock
    max_data_bytes: int
    watches: Watches

    async def end(self, key: SessionKey, *, reason: EndReason) -> bool:
        """End a session; return whether it was live."""
        ...

    async def ended(self, key: SessionKey) -> SessionEnded:
        """Return the error for a session that is absent, with the reason."""
        ...

    async def change_claims(
        self, record: SessionRecord, changes: Mapping[str, str | None]
    ) -> SessionRecord | None:
        """Change claims of a session; return its record as it is then, None if it is absent."""
        ...


class Baseline(NamedTuple):
    """Where a model came from that was read from the data, or saved: its fields at that time."""

    value: object
    shape: object
    fields: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"<Baseline of {self.shape!r}>"  # no data: a repr ends up in logs and traces


@dataclass(slots=True)
class Turn:
    """Whose turn it is, on one event loop.

    Attributes:
        lock: of who asks the store.
        faults: how many have got no answer.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    faults: int = 0


@dataclass(frozen=True, slots=True)
class Shared:
    """What several handles on one session have in common.

    Attributes:
        guard: lets one thread at a time write, and note what it wrote.
        turns: let one task of a loop at a time ask the store, and note what it answered.
        baselines: of the models that were read or saved last; see `typed_session.py`.
    """

    guard: threading.RLock = field(default_factory=threading.RLock)
    turns: dict[asyncio.AbstractEventLoop, Turn] = field(default_factory=dict)
    baselines: list[Baseline] = field(default_factory=list, repr=False)


class SessionData:
    """What every session can do with its data; see Session."""

    __slots__ = ("_destroyed", "_keeper", "_record", "_shared", "moved")

    _record: SessionRecord
    _keeper: Keeper
    _destroyed: bool
    moved: bool  # another request gave it a new id, which this one's client is not to know
    _shared: Shared  # made when the first handle asks for it: most sessions have no other

    @property
    def shared(self) -> Shared:
        """What all handles on this session have in common. For them."""
        try:
            return self._shared
        except AttributeError:
            self._shared = Shared()
            return self._shared

    @overload
    async def get(self, key: str) -> Any: ...
    @overload
    async def get(self, key: str, default: D) -> Any | D: ...
    @overload
    async def get(self, key: str, *, as_: type[T]) -> T | None: ...
    @overload
    async def get(self, key: str, default: D, *, as_: type[T]) -> T | D: ...
    @overload
    async def get(self, key: str, default: Any = None, *, as_: Any) -> Any: ...

    async def get(self, key: str, default: Any = None, *, as_: Any = None) -> Any:
        """Return the value under `key`, or `default` if there is none.

        The value is the caller's own copy, of JSON types; with `as_` it is validated into that
        type by Pydantic.

        Raises:
            SessionDataMismatch: the value does not fit `as_`.
        """
        if self._destroyed:  # asked before the call, which nearly every request would make
            self._check_alive()
        try:
            encoded = self._record.data.get(key)
        except TypeError:  # no dict has such a key
            encoded = None
        if encoded is None:
            check_key(key)
            return default
        return decode_value(encoded) if as_ is None else decode_value_as(encoded, as_)

    async def all(self) -> dict[str, Any]:
        """Return a copy of all data, sorted by key."""
        self._check_alive()
        data = self._record.data
        return {key: decode_value(data[key]) for key in sorted(data)}

    async def set(self, key: str, value: object) -> None:
        """Store `value` under `key`.

        Raises:
            SessionDataError: it cannot be stored.
            SessionTooLarge: the session would become too large.
        """
        await self._change(SetValue(check_key(key), encode_value(value)))

    async def update(self, values: Mapping[str, object]) -> None:
        """Store several values, all or none. Raises as `set` does."""
        encoded = encode_data(values)
        await self._change(*(SetValue(key, value) for key, value in encoded.items()))

    async def delete(self, key: str) -> None:
        """Remove the value under `key`; an absent one is no error."""
        await self._change(DeleteValue(check_key(key)))

    async def pop(self, key: str, default: Any = None) -> Any:
        """Remove the value under `key` and return it, or `default` if there was none."""
        removed = (await self._change(DeleteValue(check_key(key)))).values[0]
        return default if removed is None else decode_value(removed)

    async def setdefault(self, key: str, value: object) -> Any:
        """Store `value` under `key` unless something is there; return what is there then."""
        change = SetDefault(check_key(key), encode_value(value))
        return self._decode_first(await self._change(change))

    async def incr(self, key: str, by: int | float = 1) -> int | float:
        """Add `by` to the number under `key` and return the sum; an absent one counts as 0.

        Exact for integers of 64 bits.

        Raises:
            SessionDataError: something else than a number is there, or the sum is out of range.
        """
        if type(by) not in (int, float):
            raise SessionDataError(f"incr() adds an int or a float, not a {type(by).__name__}.")
        encode_value(by)  # refuses NaN and infinities
        total: int | float = self._decode_first(await self._change(Increment(check_key(key), by)))
        return total

    async def compare_and_set(self, key: str, expected: object, value: object) -> bool:
        """Store `value` under `key` if the value there is `expected`; return whether it was.

        Compared is the stored JSON: `1` is not `1.0`, the members of a dict count in order, and
        an absent key is None. When it differs, a following `get` shows what is there.
        """
        change = CompareAndSet(check_key(key), encode_value(expected), encode_value(value))
        return (await self._change(change)).applied

    def _check_alive(self) -> None:
        if self._destroyed:
            raise SessionEnded(
                "logout",
                "This request destroyed the session; call login_session() to begin a new one.",
            )

    def _in_turn(self, step: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Return what does a step with the store, and notes what comes of it, one after another.

        Answers to several steps at once may come in any order, and the last is not the latest.
        """
        if not self._keeper.store.waits:
            return step
        turns, loop = self.shared.turns, asyncio.get_running_loop()
        return _one_by_one(turns.get(loop) or turns.setdefault(loop, Turn()), step)

    def _change(self, *changes: Change) -> Coroutine[Any, Any, ChangeResult]:
        return self._in_turn(self._change_now(*changes))

    async def _change_now(self, *changes: Change) -> ChangeResult:
        self._check_alive()
        keeper = self._keeper
        while True:
            result = await keeper.store.change(
                self._record.key,
                changes,
                now=keeper.clock(),
                max_bytes=keeper.max_data_bytes,
                lease=held_leases.get().get(id(self)),
            )
            if result is not None:
                break
            await self._go_on()
        data = dict(self._record.data)
        for change, value in zip(changes, result.values, strict=True):
            if value is None or (result.applied and isinstance(change, DeleteValue)):
                data.pop(change.key, None)
            else:
                data[change.key] = value
        self._record = self._record._replace(data=data)
        return result

    async def _go_on(self) -> None:
        """Follow the session, which is not where it was, or raise SessionEnded."""
        keeper, key = self._keeper, self._record.key
        session_id = await keeper.store.successor(key, now=keeper.clock())
        if session_id is None:
            raise await keeper.ended(key)
        self._follow(SessionKey(key.user_id, session_id))

    def _follow(self, key: SessionKey) -> None:
        """Go on under the id that another request gave to the session."""
        if key != self._record.key:
            self._record = self._record._replace(session_id=key.session_id)
            self.moved = True

    @staticmethod
    def _decode_first(result: ChangeResult) -> Any:
        value = result.values[0]
        return None if value is None else decode_value(value)


async def _one_by_one(turn: Turn, step: Coroutine[Any, Any, T]) -> T:
    faults = turn.faults
    try:
        async with turn.lock:
            if turn.faults > faults:  # each would wait as long as the one before did
                raise StoreUnavailable("The store did not answer the call before this one.")
            try:
                return await step
            except StoreUnavailable as error:
                turn.faults += not isinstance(error, LockTimeout)  # which is an answer
                raise
    finally:
        step.close()  # else who is cancelled in the line leaves one that was never begun
