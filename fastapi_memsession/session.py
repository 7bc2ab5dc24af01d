"""Session: what an endpoint works with. Knows one record and its store; no token and no HTTP.

Reads come from the record that was loaded with the token and show this request's own writes.
Each write is one atomic step in the store and done when the call returns.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, overload

from fastapi_memsession.errors import SessionDataError, SessionEnded, SessionUsageError
from fastapi_memsession.records import Claims, SessionRecord
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

T = TypeVar("T")
D = TypeVar("D")

# The leases that this task holds, or was started under, by the identity of a Session.
_NO_LEASES: Mapping[int, str] = {}
_leases: ContextVar[Mapping[int, str]] = ContextVar("memsession_leases", default=_NO_LEASES)


class Session:
    """A live session. Get one by `Depends(get_session)` or from `login_session`.

    Every awaitable method raises SessionEnded if this request destroyed the session, every write
    also if anyone else did or if it expired, and StoreUnavailable if the store cannot answer.
    Times are seconds since the epoch.
    """

    __slots__ = (
        "_claims",
        "_clock",
        "_data",
        "_destroyed",
        "_max_bytes",
        "_record",
        "_store",
    )

    def __init__(
        self,
        record: SessionRecord,
        claims: Claims,
        *,
        store: SessionStore,
        clock: Callable[[], float],
        max_bytes: int,
    ) -> None:
        self._record = record
        self._claims = claims
        self._data = record.data
        self._store = store
        self._clock = clock
        self._max_bytes = max_bytes
        self._destroyed = False

    def __repr__(self) -> str:
        # Neither id nor data: a repr ends up in logs and traces.
        return f"<Session of {self.user_id!r}{' (destroyed)' if self._destroyed else ''}>"

    @property
    def id(self) -> str:
        """The session id: 43 characters. Not a credential by itself, but keep it out of logs."""
        return self._record.session_id

    @property
    def user_id(self) -> str:
        """Who logged in."""
        return self._record.user_id

    @property
    def claims(self) -> Claims:
        """Who the session belongs to, with the small read-only facts given at login."""
        return self._claims

    @property
    def created_at(self) -> float:
        """When the user logged in."""
        return self._record.created_at

    @property
    def last_seen_at(self) -> float:
        """The last use that was written down; see `renew_interval` in the settings."""
        return self._record.last_seen_at

    @property
    def expires_at(self) -> float:
        """When the session dies unless it is used before."""
        return self._record.expires_at

    @property
    def destroyed(self) -> bool:
        """Whether this request destroyed the session."""
        return self._destroyed

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
            SessionDataError: the value does not fit `as_`.
        """
        self._check_alive()
        encoded = self._data.get(check_key(key))
        if encoded is None:
            return default
        return decode_value(encoded) if as_ is None else decode_value_as(encoded, as_)

    async def all(self) -> dict[str, Any]:
        """Return a copy of all data, sorted by key."""
        self._check_alive()
        return {key: decode_value(self._data[key]) for key in sorted(self._data)}

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

    @asynccontextmanager
    async def lock(self, timeout: float = 10) -> AsyncIterator[None]:
        """Be the only one to hold this session's lock; `async with session.lock(): ...`.

        Works across requests, tasks, event loops and threads. Entering reads the record again.
        The lock is advisory: it keeps out others who take it, not plain writes.

        Args:
            timeout: seconds to wait for it at most, and to hold it at most; after that others
                may enter, and writes made under it are refused.

        Raises:
            LockTimeout: it was not free in time; or, on leaving or writing, it was held too long.
            SessionUsageError: this task holds it already.
        """
        self._check_alive()
        held = _leases.get()
        if id(self) in held:
            raise SessionUsageError(
                "This task, or the one that started it, holds the session's lock already; "
                "take it once."
            )
        if not timeout > 0:
            raise SessionUsageError("A lock's timeout must be more than zero seconds.")
        async with self._store.lock(self._record.key, timeout=timeout, clock=self._clock) as lease:
            await self.reload()
            _leases.set({**held, id(self): lease})
            try:
                yield
            finally:
                _leases.set(held)

    async def refresh(self) -> None:
        """Extend the idle expiration now, up to the max lifetime, and read the record again."""
        await self._load(renew_interval=0)

    async def reload(self) -> None:
        """Read the record again, to see what others wrote. Extends nothing."""
        await self._load(renew_interval=None)

    async def destroy(self) -> None:
        """End the session for everyone at once, and make the response clear its token.

        A second call does nothing. Once the response has started, a cookie can no longer be
        cleared; it is worthless all the same.
        """
        if not self._destroyed:
            await self._store.delete(self._record.key, now=self._clock(), reason="logout")
            self._destroyed = True

    def _check_alive(self) -> None:
        if self._destroyed:
            raise SessionEnded(
                "This request destroyed the session; call login_session() to begin a new one."
            )

    async def _load(self, *, renew_interval: float | None) -> None:
        self._check_alive()
        record = await self._store.load(
            self._record.key, now=self._clock(), renew_interval=renew_interval
        )
        if record is None:
            raise SessionEnded
        self._record = record
        self._data = record.data
        self._claims = Claims(
            record.user_id, dict(record.claims), self._claims.issued_at, self._claims.expires_at
        )

    async def _change(self, *changes: Change) -> ChangeResult:
        self._check_alive()
        result = await self._store.change(
            self._record.key,
            changes,
            now=self._clock(),
            max_bytes=self._max_bytes,
            lease=_leases.get().get(id(self)),
        )
        if result is None:
            raise SessionEnded
        data = dict(self._data)
        for change, value in zip(changes, result.values, strict=True):
            if value is None or (result.applied and isinstance(change, DeleteValue)):
                data.pop(change.key, None)
            else:
                data[change.key] = value
        self._data = data
        return result

    @staticmethod
    def _decode_first(result: ChangeResult) -> Any:
        value = result.values[0]
        return None if value is None else decode_value(value)
