"""The contract of a store. Knows nothing of HTTP, tokens or the clock.

What holds for every method:

- `now` is an argument, in seconds since the epoch, so one clock moves every store. A record lives
  while `now < expires_at`; a dead one is treated as absent, whether or not it was swept already.
- Absence is a value, an exception is a fault: None or False means "there is no such live session",
  `StoreUnavailable` means "I cannot tell".
- Each call is one atomic step. `create` never overwrites, no other call creates.
- Why a session was ended is remembered for as long as its tokens could live: until its deadline.
  An id that is remembered is taken.
- Whoever ends or spares a session by an id that it had before `rename` means that session: a logout
  beside a change of the id must not miss it. Every other call finds it under its last id only.
- Calls may come from several event loops and threads at once.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from fastapi_memsession.errors import EndReason
from fastapi_memsession.records import Ended, SessionInfo, SessionKey, SessionRecord, SessionStats
from fastapi_memsession.stores.verbs import (
    Change,
    ChangeResult,
    CompareAndSet,
    DeleteValue,
    Increment,
    SetDefault,
    SetValue,
)

__all__ = [
    "LOGIN_SECONDS",
    "Change",
    "ChangeResult",
    "CompareAndSet",
    "DeleteValue",
    "Increment",
    "Rotation",
    "SessionStore",
    "SetDefault",
    "SetValue",
]

LOGIN_SECONDS = 600
"""How long a login may be under way, and still be stopped when its user's sessions are ended."""


class Rotation(NamedTuple):
    """What `rotate` found, see there; and the session as it is then, None if it is gone."""

    outcome: Literal["rotated", "repeated", "reused", "gone"]
    record: SessionRecord | None


@runtime_checkable
class SessionStore(Protocol):
    """Keeps records. Write one, and the contract suite tells whether it is right.

    Attributes:
        waits: whether a call may wait for something: a server, a file. False is a promise that
            what a session calls (`load`, `change`, `set_claims`, `successor`, `end_reason`) ends in
            its first step and needs no event loop, so that any thread may run it itself.
    """

    waits: bool = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "load" in vars(cls) and "version" not in vars(cls):
            # What is inherited knows nothing of what this one looks at.
            cls.version = SessionStore.version  # type: ignore[method-assign]

    @abstractmethod
    async def open(self) -> None:
        """Get ready on the running event loop. Called once per start of an application.

        Raises:
            StoreUnavailable: it cannot be reached; the application then does not start.
        """
        ...

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of what belongs to the running event loop. Live sessions stay."""
        ...

    @abstractmethod
    async def create(
        self,
        record: SessionRecord,
        *,
        now: float,
        limit_per_user: int | None,
        replacing: SessionKey | None = None,
        since: float | None = None,
    ) -> list[str]:
        """Keep a new record.

        With `limit_per_user`, the user's oldest live sessions make room for it. Returns the ids
        of the sessions that were ended so. A session that the new one is `replacing` is about to
        be ended by the caller: it is left alone, and counts as gone. `since` is when the login
        began: a `delete_user` after that stops it, for `LOGIN_SECONDS`. With None nothing does.

        Raises:
            SessionEnded: all sessions of the user were ended meanwhile; nothing was changed.
            SessionIdTaken: nothing was changed.
            StoreFull: there is no room; nothing was changed.
        """
        ...

    @abstractmethod
    async def load(
        self,
        key: SessionKey,
        *,
        now: float,
        renew_interval: float | None,
        generation: int | None = None,
    ) -> SessionRecord | None:
        """Return the record, renewed if `SessionRecord.used` says so; None if absent.

        Renewal is part of the same step and never passes the deadline; with `renew_interval=None`
        nothing is renewed. `generation` is that of the token the client showed: it is then known
        to have arrived. Others may get the same record: change nothing that is in it.
        """
        ...

    def version(self, key: SessionKey, now: float) -> object | None:  # noqa: ARG002
        """Return an object that is another one once the record has changed or ended; or None.

        Known without waiting, and compared by identity: as long as it is the same, a record that
        was loaded under it is what `load` would return, but for what time brings: expiry, and a use
        that is to be written down. None, as here, if only `load` can tell; a subclass with a `load`
        of its own has that, unless it has a version of its own as well.
        """
        return None

    @abstractmethod
    async def change(
        self,
        key: SessionKey,
        changes: Sequence[Change],
        *,
        now: float,
        max_bytes: int,
        lease: str | None = None,
    ) -> ChangeResult | None:
        """Apply changes in order, all or none; None if the session is absent.

        Does not count as a use. `lease` is what `lock` gave, for a caller that holds it.

        Raises:
            SessionTooLarge: keys and values would take more than `max_bytes`.
            SessionDataError: an increment does not apply to what is there.
            LockTimeout: the lease has run out.
        """
        ...

    @abstractmethod
    async def set_claims(
        self,
        key: SessionKey,
        claims: Mapping[str, str],
        *,
        expected: Mapping[str, str],
        now: float,
    ) -> SessionRecord | None:
        """Replace the claims if they are the expected ones; does not count as a use.

        Returns the record as it is then, which tells whether they were; None if absent.
        """
        ...

    @abstractmethod
    async def rename(
        self, key: SessionKey, session_id: str, *, now: float, confirmed_at: float | None = None
    ) -> SessionRecord | None:
        """Give a live session a new id, with all it holds; the old id was `replaced` from then on.

        `confirmed_at` is when the user proved who they are, if that is why. Returns the record
        under its new id, also to whoever asks for the same again; None if the session is absent.

        Raises:
            SessionIdTaken: by the new id; nothing was changed.
        """
        ...

    @abstractmethod
    async def rotate(
        self, key: SessionKey, generation: int, *, now: float, grace: float
    ) -> Rotation:
        """Exchange the token of `generation` for the next one; where that can be, it is a use.

        - `rotated`: it was the current generation, which has grown by one.
        - `repeated`: it was the previous one, and either the rotation is less than `grace` seconds
          ago or its successor was never used: the caller may hand out the same successor again.
        - `reused`: it is older than that; the session was ended (RFC 9700 section 4.14.2).
        - `gone`: the session is absent, or never had that generation. Nothing was changed.
        """
        ...

    @abstractmethod
    async def delete(self, key: SessionKey, *, now: float, reason: EndReason) -> str | None:
        """End a session. Returns the id under which it was live, None if it was not."""
        ...

    @abstractmethod
    async def end_reason(self, key: SessionKey, *, now: float) -> EndReason | None:
        """Return why a session was ended; None if it was not, or if that is forgotten."""
        ...

    @abstractmethod
    async def successor(self, key: SessionKey, *, now: float) -> str | None:
        """Return the id under which a session lives on; None if it has no other.

        Of several that it was given one after the other, the last.
        """
        ...

    @abstractmethod
    def watch(
        self, key: SessionKey, tell: Callable[[Ended | None], None]
    ) -> AbstractAsyncContextManager[None]:
        """From entering to leaving, `tell` when the session ends, wherever it is ended.

        Called on the event loop that entered, at once and without being asked: with an Ended; if
        that has a successor, watching goes on under its id. With None if an end may have been
        missed, as by a connection that broke: `load` tells then. So it does after entering, for
        what ended before. That a session expires is not told: its record says when.

        Raises:
            StoreUnavailable: on entering.
        """
        ...

    @abstractmethod
    async def list_user(self, user_id: str, *, now: float) -> list[SessionInfo]:
        """Return the user's live sessions, oldest first; of the same age, by session id."""
        ...

    @abstractmethod
    async def delete_user(
        self, user_id: str, *, now: float, keep: str | None = None, reason: EndReason
    ) -> list[str]:
        """End all sessions of a user but `keep`. Returns the ids that were live.

        Logins of the user that began before `now` are stopped for `LOGIN_SECONDS`: see `create`.
        """
        ...

    @abstractmethod
    async def count(self, *, now: float) -> int:
        """Return the number of live sessions."""
        ...

    @abstractmethod
    async def stats(self) -> SessionStats:
        """Return what can be told at a cost that does not grow with the sessions."""
        ...

    @abstractmethod
    def scan(self, *, now: float) -> AsyncIterator[SessionInfo]:
        """Iterate over live sessions, in no order; one created or ended meanwhile may be missed."""
        ...

    @abstractmethod
    async def sweep(self, *, now: float, budget: int) -> int:
        """Free what the dead take. Returns how many were removed.

        Works in chunks of at most `budget` records and lets other tasks run in between.
        A second sweep beside a running one does nothing.
        """
        ...

    @abstractmethod
    def lock(
        self, key: SessionKey, *, timeout: float, clock: Callable[[], float]
    ) -> AbstractAsyncContextManager[str]:
        """Hold the session's lock: one holder at a time, across tasks, loops and threads.

        Waits for at most `timeout` seconds, first come first served, then holds for at most
        `timeout` seconds by `clock`: a holder that died or dawdles loses it. Gives a lease,
        which `change` takes as proof that the lock is still held.

        Raises:
            LockTimeout: on entering, it was not free in time; on leaving, it was lost meanwhile.
        """
        ...
