"""Session: what an endpoint works with. Knows one record and who keeps it; no token and no HTTP.

What a client must be told of a session, a new id or other claims, is noted here and goes out with
the response: see `connection.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Generic

from fastapi_memsession.errors import SessionEnded, SessionUsageError
from fastapi_memsession.records import Claims, SessionRecord, TokenInfo, new_session_id
from fastapi_memsession.session_data import Keeper, held_leases
from fastapi_memsession.session_life import SessionLife
from fastapi_memsession.shapes import DataT
from fastapi_memsession.stores.base import SessionStore


class Session(SessionLife, Generic[DataT]):
    """A live session. Get one by `Depends(get_session)` or from `login_session`.

    `Session[Cart]` is one whose data have the shape of Cart: see `session_of`.

    Every awaitable method raises SessionEnded if this request destroyed the session, every write
    also if anyone else did or if it expired, and StoreUnavailable if the store cannot answer.
    Where another request gives the session a new id, this one goes on with it to its end.
    Times are seconds since the epoch.
    """

    __slots__ = ("_confirmed_at", "_next_id", "can_send_token", "needs_token", "token_info")

    def __init__(self, record: SessionRecord, keeper: Keeper, token_info: TokenInfo) -> None:
        self._record = record
        self._keeper = keeper
        self._destroyed = False
        self.token_info = token_info  # of the token that the client is known to have
        self._confirmed_at: float | None = None
        self._next_id: str | None = None
        self.moved = False
        self.needs_token = False  # the client's token is not what the record says, or is worthless
        self.can_send_token = False  # a response is still to come that can bring the client a token

    def __repr__(self) -> str:
        # Neither id nor data: a repr ends up in logs and traces.
        return f"<Session of {self.user_id!r}{' (destroyed)' if self._destroyed else ''}>"

    @property
    def id(self) -> str:
        """The session id: 43 characters. Not a credential by itself, but keep it out of logs.

        After `regenerate()` it is the old one until the response starts: the store's.
        """
        return self._record.session_id

    @property
    def user_id(self) -> str:
        """Who logged in."""
        return self._record.user_id

    @property
    def claims(self) -> Claims:
        """Who the session belongs to, with small facts: those given at login, or updated since."""
        record = self._record
        return Claims(
            record.user_id,
            dict(record.claims),
            self.token_info.issued_at,
            self.token_info.expires_at,
        )

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
    def expires_in(self) -> float:
        """Seconds until then, at least 0. Looking extends nothing; `get_session` did, see there."""
        return max(0.0, self._record.expires_at - self._keeper.clock())

    @property
    def confirmed_at(self) -> float:
        """When the user last proved who they are: at login, or at the last `confirm()`."""
        return self._record.confirmed_at if self._confirmed_at is None else self._confirmed_at

    @property
    def destroyed(self) -> bool:
        """Whether this request destroyed the session."""
        return self._destroyed

    @asynccontextmanager
    async def lock(self, timeout: float = 10) -> AsyncIterator[None]:
        """Be the only one to hold this session's lock; `async with session.lock(): ...`.

        Works across requests, tasks, event loops and threads. Entering reads the record again.
        The lock is advisory: it keeps out others who take it, not plain writes.

        Args:
            timeout: seconds to wait for it at most, and to hold it at most; after that others
                may enter, and writes made under it are refused.

        Raises:
            LockTimeout: it was not free in time; or, later, held too long or under an old id.
            SessionUsageError: this task or thread holds it already.
        """
        while True:
            key = self._record.key
            async with self.store_lock(timeout) as lease:
                await self.reload()
                if self._record.key == key:  # else the lock is under another id
                    with self.under(lease):
                        yield
                    return

    async def data(self) -> DataT:
        """Return the data as the model that the session was declared with; see `session_of`.

        Each call gives a model of its own. Other keys than its fields are left to the model, as
        its configuration of extra fields says.

        Raises:
            SessionDataMismatch: the data do not fit, and there is no `fresh` to begin anew with.
            SessionUsageError: the session was declared without a model.
        """
        raise _shapeless()

    async def save(self, data: DataT) -> None:  # noqa: ARG002 - see TypedSession
        """Store the fields of a model that changed since it was read, in one atomic step.

        The other fields are left as they are in the store, whoever wrote them meanwhile. A field
        that is None is stored; a key that is no longer there, as in a TypedDict, is removed. Of a
        model that was copied, or made anew, those fields are stored that differ from the model
        read last, or else from the data that the request loaded.

        Raises:
            SessionDataError: a field cannot be stored, or not be read back. Nothing was changed.
            SessionTooLarge: the session would become too large. Nothing was changed.
            SessionUsageError: the session was declared without a model.
        """
        raise _shapeless()

    async def refresh(self) -> None:
        """Extend the idle expiration now, up to the max lifetime, and read the record again."""
        await self.load(renew_interval=0)

    async def reload(self) -> None:
        """Read the record again, to see what others wrote. Extends nothing."""
        await self.load(renew_interval=None)

    async def regenerate(self) -> None:
        """Give the session a new id, which keeps all it holds; call it when rights grow.

        The response brings the new token. The old id ends when that response starts; if it never
        does, the old id stays and the new one never was (ASVS 7.2.4).

        Raises:
            SessionEnded: another request gave the session a new id meanwhile.
            SessionUsageError: no response can bring the token any more.
        """
        self._check_can_send()
        await self.reload()  # tells at once if the session has ended
        self._check_can_send()  # the response may have started meanwhile
        if self.moved:  # whoever held the old token must not get another one by asking in time
            raise SessionEnded("replaced", **self._record.key._asdict())
        self._next_id = new_session_id()
        self.needs_token = True

    async def confirm(self) -> None:
        """Note that the user has just proved again who they are; check the password first.

        Opens what `require(fresh=...)` guards, and gives the session a new id (ASVS 7.2.4): see
        `regenerate` for when it takes effect, and what it raises.
        """
        await self.regenerate()
        self._confirmed_at = self._keeper.clock()

    async def update_claims(self, **claims: str | None) -> None:
        """Change claims of this session; None removes one. The response brings a fresh token.

        The record is the authority: the next request sees them, whatever its token says.

        Raises:
            SessionDataError: a claim is no text.
            SessionTooLarge: no token could carry them. Nothing was changed.
        """
        await self._in_turn(self._update_claims(claims))

    async def destroy(self) -> None:
        """End the session for everyone at once, and make the response clear its token.

        A second call does nothing. Once the response has started, a cookie can no longer be
        cleared; it is worthless all the same.
        """
        if not self._destroyed:
            try:
                await self._keeper.end(self._record.key, reason="logout")
            except asyncio.CancelledError:  # as in a block that ends with the session: it is done
                self._destroyed = self.needs_token = True
                raise
            self._destroyed = self.needs_token = True

    @property
    def record(self) -> SessionRecord:
        """What was loaded last. For the provider; endpoints have no use for it."""
        return self._record

    @property
    def pending_id(self) -> str | None:
        """The id that the session gets when the response starts. For the provider."""
        return self._next_id

    def adopt_tokens(self, record: SessionRecord, token_info: TokenInfo) -> None:
        """Go on with new tokens. For the provider."""
        self._take(record)
        self.token_info = token_info
        if record.session_id == self._next_id:
            self._next_id = self._confirmed_at = None
        self.moved, self.needs_token = False, self._next_id is not None

    @property
    def store(self) -> SessionStore:
        """Where it is kept. For SyncSession."""
        return self._keeper.store

    def store_lock(self, timeout: float) -> AbstractAsyncContextManager[str]:
        """Return the store's lock, which gives a lease. For `lock`, which see."""
        self._check_alive()
        if id(self) in held_leases.get():
            raise SessionUsageError(
                "This task or thread, or the task that started it, holds the session's lock "
                "already; take it once."
            )
        if not 0 < timeout < float("inf"):
            raise SessionUsageError("A lock's timeout must be more than zero seconds, and finite.")
        keeper = self._keeper
        return keeper.store.lock(self._record.key, timeout=timeout, clock=keeper.clock)

    @contextmanager
    def under(self, lease: str) -> Iterator[None]:
        """Have writes prove that the lock is still held. For `lock`."""
        held = held_leases.get()
        held_leases.set({**held, id(self): lease})
        try:
            yield
        finally:
            held_leases.set(held)

    def load(self, *, renew_interval: float | None) -> Coroutine[Any, Any, None]:
        """Read the record again; a use, unless the interval is None. For the connection."""
        return self._in_turn(self._load(renew_interval))

    async def _load(self, renew_interval: float | None) -> None:
        self._check_alive()
        keeper = self._keeper
        while True:
            key, now = self._record.key, keeper.clock()
            record = await keeper.store.load(key, now=now, renew_interval=renew_interval)
            if record is not None:
                break
            await self._go_on()
        self._take(record)

    async def _update_claims(self, changes: Mapping[str, str | None]) -> None:
        self._check_alive()
        while (after := await self._keeper.change_claims(self._record, changes)) is None:
            await self._go_on()
        self._take(after)
        self.needs_token = True

    def _check_can_send(self) -> None:
        if not self.can_send_token:
            raise SessionUsageError(
                "The new id must reach the client, and no response can bring it: regenerate() and "
                "confirm() work while a request is answered, before its response starts."
            )

    def _take(self, record: SessionRecord) -> None:
        if record.claims != self._record.claims:
            self.needs_token = True
        self._record = record


def _shapeless() -> SessionUsageError:
    return SessionUsageError(
        "This session was not told the shape of its data: declare Depends(session_of(Model)) "
        "instead of Depends(get_session), or call typed_session(session, Model)."
    )
