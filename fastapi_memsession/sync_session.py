"""SyncSession: a session for `def` endpoints and threads. Knows Session and threads, no HTTP.

The same session as its async twin, so all that holds for that one holds here: what waits for the
response, what events tell. Reads cost the thread no more than the reading. Writes are done by the
thread itself where the store never waits, and on the event loop where it does.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, overload

from fastapi_memsession.records import Claims
from fastapi_memsession.session import Session
from fastapi_memsession.shapes import DataT
from fastapi_memsession.threads import finish_here, finish_on, held_on

T = TypeVar("T")
D = TypeVar("D")


class SyncSession(Generic[DataT]):
    """A live session whose calls block. Get one by `Depends(get_sync_session)` in a `def` endpoint.

    For threads: those in which FastAPI runs `def` endpoints and dependencies, and any of your own,
    several at once if need be. Each call does what that of Session does, raises what that raises,
    and SessionUsageError where an event loop runs, which it would hold up.

    Args:
        session: its async twin.
        loop: the event loop that serves the session's request.
    """

    __slots__ = ("_guard", "_loop", "_session", "_waits")

    def __init__(self, session: Session[DataT], loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._loop = loop
        self._waits = session.store.waits
        self._guard = session.shared.guard

    def __repr__(self) -> str:
        return f"<Sync{repr(self._session).removeprefix('<')}"

    @property
    def id(self) -> str:
        """The session id: 43 characters. Not a credential by itself, but keep it out of logs."""
        return self._session.id

    @property
    def user_id(self) -> str:
        """Who logged in."""
        return self._session.user_id

    @property
    def claims(self) -> Claims:
        """Who the session belongs to, with small facts: those given at login, or updated since."""
        return self._session.claims

    @property
    def created_at(self) -> float:
        """When the user logged in."""
        return self._session.created_at

    @property
    def last_seen_at(self) -> float:
        """The last use that was written down; see `renew_interval` in the settings."""
        return self._session.last_seen_at

    @property
    def expires_at(self) -> float:
        """When the session dies unless it is used before."""
        return self._session.expires_at

    @property
    def expires_in(self) -> float:
        """Seconds until then, at least 0."""
        return self._session.expires_in

    @property
    def confirmed_at(self) -> float:
        """When the user last proved who they are: at login, or at the last `confirm()`."""
        return self._session.confirmed_at

    @property
    def destroyed(self) -> bool:
        """Whether this request destroyed the session."""
        return self._session.destroyed

    @overload
    def get(self, key: str) -> Any: ...
    @overload
    def get(self, key: str, default: D) -> Any | D: ...
    @overload
    def get(self, key: str, *, as_: type[T]) -> T | None: ...
    @overload
    def get(self, key: str, default: D, *, as_: type[T]) -> T | D: ...
    @overload
    def get(self, key: str, default: Any = None, *, as_: Any) -> Any: ...

    def get(self, key: str, default: Any = None, *, as_: Any = None) -> Any:
        """Return the value under `key`, or `default` if there is none. See Session.get."""
        return finish_here(self._session.get(key, default, as_=as_))

    def all(self) -> dict[str, Any]:
        """Return a copy of all data, sorted by key."""
        return finish_here(self._session.all())

    def set(self, key: str, value: object) -> None:
        """Store `value` under `key`. See Session.set."""
        self._do(self._session.set(key, value))

    def update(self, values: Mapping[str, object]) -> None:
        """Store several values, all or none. See Session.update."""
        self._do(self._session.update(values))

    def delete(self, key: str) -> None:
        """Remove the value under `key`; an absent one is no error."""
        self._do(self._session.delete(key))

    def pop(self, key: str, default: Any = None) -> Any:
        """Remove the value under `key` and return it, or `default` if there was none."""
        return self._do(self._session.pop(key, default))

    def setdefault(self, key: str, value: object) -> Any:
        """Store `value` under `key` unless something is there; return what is there then."""
        return self._do(self._session.setdefault(key, value))

    def incr(self, key: str, by: int | float = 1) -> int | float:
        """Add `by` to the number under `key` and return the sum. See Session.incr."""
        return self._do(self._session.incr(key, by))

    def compare_and_set(self, key: str, expected: object, value: object) -> bool:
        """Store `value` under `key` if the value there is `expected`; return whether it was.

        See Session.compare_and_set.
        """
        return self._do(self._session.compare_and_set(key, expected, value))

    @contextmanager
    def lock(self, timeout: float = 10) -> Iterator[None]:
        """Be the only one to hold this session's lock; `with session.lock(): ...`.

        The same lock as Session.lock, which see. It belongs to the thread that took it: what
        another thread writes meanwhile is a plain write.
        """
        session = self._session
        while True:
            key = session.record.key
            with held_on(self._loop, session.store_lock(timeout)) as lease:
                self.reload()
                if session.record.key == key:
                    with session.under(lease):
                        yield
                    return

    def data(self) -> DataT:
        """Return the data as the model that the session was declared with. See Session.data."""
        return finish_here(self._session.data(), self._guard)

    def save(self, data: DataT) -> None:
        """Store the fields of a model that changed since it was read. See Session.save."""
        self._do(self._session.save(data))

    def refresh(self) -> None:
        """Extend the idle expiration now, up to the max lifetime, and read the record again."""
        self._do(self._session.refresh())

    def reload(self) -> None:
        """Read the record again, to see what others wrote. Extends nothing."""
        self._do(self._session.reload())

    def regenerate(self) -> None:
        """Give the session a new id; call it when rights grow. See Session.regenerate."""
        self._do(self._session.regenerate())

    def confirm(self) -> None:
        """Note that the user has just proved again who they are. See Session.confirm."""
        self._do(self._session.confirm())

    def update_claims(self, **claims: str | None) -> None:
        """Change claims of this session; None removes one. See Session.update_claims."""
        self._do(self._session.update_claims(**claims))

    def destroy(self) -> None:
        """End the session for everyone at once. See Session.destroy."""
        # Handlers of events may be anything: they run on the event loop, where they always do.
        finish_on(self._loop, self._session.destroy())

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        # One thread at a time: what it wrote is noted before another one writes.
        if self._waits:
            return finish_on(self._loop, coroutine, self._guard)
        return finish_here(coroutine, self._guard)
