"""SessionProvider: the policy over any store. Logs in, opens, renews, ends, cleans up; no FastAPI.

One class for every store: what differs between memory and Redis is behind the store contract,
what must not differ is here.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Unpack

from starlette.datastructures import MutableHeaders

from fastapi_memsession.carriers import TokenCarrier
from fastapi_memsession.claims import ClaimsEditor
from fastapi_memsession.clock import Clock, system_clock
from fastapi_memsession.errors import EndReason, SessionEnded, TokenExpired
from fastapi_memsession.events import Events, H
from fastapi_memsession.issuer import Issue, TokenIssuer
from fastapi_memsession.logins import LoginOptions, new_record
from fastapi_memsession.opening import Opening
from fastapi_memsession.records import (
    SessionInfo,
    SessionKey,
    SessionRecord,
    SessionStats,
    TokenPair,
)
from fastapi_memsession.session import Session
from fastapi_memsession.settings import SessionSettings
from fastapi_memsession.stores.base import SessionStore
from fastapi_memsession.tokens import TokenCodec
from fastapi_memsession.unbroken import unbroken
from fastapi_memsession.watches import Watches

SWEEP_BUDGET = 250
"""Sessions that a sweep looks at before it lets others run: a millisecond's work or two."""

# The user whose sessions were all ended by this very request, and when: whoever does that and then
# logs the user in, as after a change of the password, does not mean to be stopped by it.
_revoked_here: ContextVar[tuple[str, float]] = ContextVar("memsession_revoked_here")


@dataclass(slots=True)
class Login:
    """A session, its tokens, and the response headers that bring them to the client."""

    session: Session
    issue: Issue = field(repr=False)

    @property
    def tokens(self) -> TokenPair:
        """Its tokens."""
        return self.issue.tokens

    @property
    def headers(self) -> MutableHeaders:
        """They bring the tokens to the client."""
        return self.issue.headers


class SessionProvider(Opening):
    """Logs users in and opens their sessions. `setup_sessions` makes one for each application.

    Args:
        settings: how sessions behave.
        store: where records are kept.
        carrier: how access tokens travel.
        refresh_carrier: how refresh tokens travel; None where the settings ask for none.
        tokens: signs and verifies them.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        settings: SessionSettings,
        *,
        store: SessionStore,
        carrier: TokenCarrier,
        refresh_carrier: TokenCarrier | None = None,
        tokens: TokenCodec,
        clock: Clock = system_clock,
    ) -> None:
        super().__init__(carrier, tokens)
        self.settings = settings
        self.store = store
        self.carrier = carrier
        self.refresh_carrier = refresh_carrier
        self.clock = clock
        self.issuer = TokenIssuer(
            settings, tokens=tokens, carrier=carrier, refresh_carrier=refresh_carrier
        )
        self.max_data_bytes = settings.max_data_bytes
        self.renew_seconds = settings.renew_seconds
        self.events = Events(clock)
        self.watches = Watches(clock)

    @property
    def ambient(self) -> bool:
        """Whether a browser may send a token of ours by itself."""
        refresh = self.refresh_carrier
        return self.carrier.ambient or (refresh is not None and refresh.ambient)

    def subscribe(self, handler: H) -> H:
        """Call `handler`, sync or async, with each SessionEvent; also as a decorator.

        One that raises is logged, and disturbs neither the request nor the other handlers.
        """
        return self.events.subscribe(handler)

    async def login(self, user_id: str, **options: Unpack[LoginOptions]) -> Login:
        """Begin a session for `user_id`. See `login_session`, which also answers the request."""
        login = self.prepare_login(user_id, **options)
        await self.begin(login)
        return login

    def prepare_login(self, user_id: str, **options: Unpack[LoginOptions]) -> Login:
        """Make all that a new session is, and store nothing yet.

        Everything is checked here, so an error leaves no session behind. Takes and raises what
        `login_session` does.
        """
        now = self.clock.now()
        return self._issued(new_record(self.settings, user_id, now=now, **options), now)

    async def begin(
        self, login: Login, *, replacing: SessionKey | None = None, since: float | None = None
    ) -> None:
        """Store a prepared session. See SessionStore.create for what the arguments mean."""
        record = login.session.record
        user_id, revoked_at = _revoked_here.get(("", 0.0))
        if since is not None and user_id == record.user_id:
            since = max(since, revoked_at)
        evicted = await self.store.create(
            record,
            now=record.created_at,
            limit_per_user=self.settings.max_sessions_per_user,
            replacing=replacing,
            since=since,
        )
        if self.events.heard("created"):  # seldom, and every login comes by here
            await self.events.tell("created", record.key)
        for session_id in evicted:
            await self.events.tell("ended", SessionKey(record.user_id, session_id), "evicted")

    async def renew(self, refresh_token: str) -> Login:
        """Exchange a refresh token for the next pair. See `renew_session`.

        Raises:
            InvalidToken: the token does not verify; nothing was changed.
            SessionEnded: its session is over; `reused` if it was exchanged before.
            StoreUnavailable: the store cannot tell.
        """
        now = self.clock()
        try:
            claims = self.tokens.decode_refresh(refresh_token)
        except TokenExpired:  # a refresh token lives as long as its session may
            raise SessionEnded("expired") from None
        outcome, record = await self.store.rotate(
            claims.key,
            claims.generation,
            now=now,
            grace=self.settings.refresh_grace.total_seconds(),
        )
        if outcome == "reused":
            await self.events.tell("reused", claims.key)
            await self.events.tell("ended", claims.key, "reused")
        if record is None:
            raise await self.ended(claims.key)
        login = self._issued(record, now)
        await self.events.tell("renewed", record.key)
        return login

    async def regenerate(self, session: Session) -> MutableHeaders | None:
        """Give a session the id that it asked for; return the headers that bring its tokens.

        None if the session has ended meanwhile. Events hear of it from `tell_renamed`.
        """
        record, now, session_id = session.record, self.clock(), session.pending_id
        assert session_id is not None  # noqa: S101 - who calls this has looked
        confirmed_at = session.confirmed_at
        after = await self.store.rename(record.key, session_id, now=now, confirmed_at=confirmed_at)
        if after is None:
            return None
        issue = self.issuer.issue(after, now=now)
        session.adopt_tokens(after, issue)
        return issue.headers

    async def tell_renamed(self, before: SessionKey, after: SessionKey) -> None:
        """Tell events of a new id, now that the client knows: their handlers may take a while."""
        await self.events.tell("created", after)
        await self.events.tell("ended", before, "replaced")

    async def end(self, key: SessionKey, *, reason: EndReason) -> bool:
        """End a session; return whether it was live. Ending it again is quiet."""
        # The caller may wait in a block that ends with this very session: see Session.alive.
        return await unbroken(self._end(key, reason))

    async def _end(self, key: SessionKey, reason: EndReason) -> bool:
        ended = await self.store.delete(key, now=self.clock(), reason=reason)
        if ended is not None:
            await self.events.tell("ended", SessionKey(key.user_id, ended), reason)
        return ended is not None

    async def update_claims(self, user_id: str, /, **claims: str | None) -> int:
        """Change claims of all sessions of a user; None removes one. Returns how many there are.

        Nobody is logged out: each session's next request sees them and gets a fresh token.
        Sessions that begin later have the claims that their login gives them.

        Raises:
            SessionDataError: a claim is no text.
            SessionTooLarge: some session's token could not carry them. Nothing was changed.
        """
        return await self._claims_editor().change_all(user_id, claims)

    async def change_claims(
        self, record: SessionRecord, changes: Mapping[str, str | None]
    ) -> SessionRecord | None:
        """Change claims of one session; return its record as it is then, None if it is absent.

        See `update_claims`.
        """
        return await self._claims_editor().change(record, changes)

    async def list_sessions(self, user_id: str) -> list[SessionInfo]:
        """Return a user's live sessions, oldest first: their devices."""
        return await self.store.list_user(user_id, now=self.clock())

    async def revoke(self, session_id: str, *, user_id: str) -> bool:
        """End one session of a user; return whether it was live, and that user's."""
        return await self.end(SessionKey(user_id, session_id), reason="revoked")

    async def revoke_user(self, user_id: str, *, keep: str | None = None) -> list[str]:
        """End all sessions of a user but the one with the id `keep`; return their ids.

        A login of the user that is under way is stopped, too: its password may be the old one.
        """
        now = self.clock()
        _revoked_here.set((user_id, now))
        return await unbroken(self._end_all(user_id, keep, now))

    async def _end_all(self, user_id: str, keep: str | None, now: float) -> list[str]:
        ids = await self.store.delete_user(user_id, now=now, keep=keep, reason="revoked")
        for session_id in ids:
            await self.events.tell("ended", SessionKey(user_id, session_id), "revoked")
        return ids

    async def count(self) -> int:
        """Return the number of live sessions."""
        return await self.store.count(now=self.clock())

    async def stats(self) -> SessionStats:
        """Return what the store can tell about itself at little cost."""
        return await self.store.stats()

    async def sweep(self) -> int:
        """Free what dead sessions take, now. Returns how many were removed."""
        self.watches.look()
        return await self.store.sweep(now=self.clock(), budget=SWEEP_BUDGET)

    def _issued(self, record: SessionRecord, now: float) -> Login:
        issue = self.issuer.issue(record, now=now)
        return Login(Session(record, self, issue), issue)

    def _claims_editor(self) -> ClaimsEditor:
        # Made when it is needed: tests exchange the store.
        return ClaimsEditor(self.store, self.issuer, self.clock)
