"""The session of one connection: loaded once, shared by all who ask.

The state stands in the scope, where mounted applications and inner middlewares find it too. What
a login, a renewal, a new id or a logout must tell the client is left to the response.
"""

from typing import Unpack

from starlette.requests import HTTPConnection

from fastapi_memsession.carriers import Credential, TokenCarrier
from fastapi_memsession.errors import (
    CredentialConflict,
    CrossOriginRefused,
    NotAuthenticated,
    SessionEnded,
    SessionError,
    SessionUsageError,
    maker_of,
)
from fastapi_memsession.logins import LoginOptions, device_of
from fastapi_memsession.origins import SAFE_METHODS, refuse_cross_origin
from fastapi_memsession.records import SessionKey
from fastapi_memsession.response import SessionResponse, over
from fastapi_memsession.session import Session

SCOPE_KEY = "fastapi_memsession"
"""Where in the scope the state of a connection stands."""


class ConnectionState(SessionResponse):
    """The session of one HTTP request or WebSocket: loaded once, shared by all who ask."""

    __slots__ = ()

    def at_hand(self, connection: HTTPConnection) -> Session | None:
        """Return the session as `open` would, if that needs no waiting; None says nothing."""
        if self.connection is not None:
            return None
        provider = self.provider
        scope = connection.scope
        session = provider.at_hand(scope)
        if session is None:
            return None
        if provider.carrier.ambient and scope.get("method") not in SAFE_METHODS:
            try:
                refuse_cross_origin(connection, provider.settings.trusted_origins)
            except CrossOriginRefused:  # open() looks whether this one came by itself
                return None
        # As touch() and _adopt() do: most requests come by here. Who has a session is not refused.
        self.connection = connection
        self._pending = None
        self.peeked = False
        handlers = scope.get("starlette.exception_handlers")
        if handlers is not None and SessionError not in handlers[0]:
            self._answers.register(handlers[0])
        session.can_send_token = not self.started
        self.session = session
        return session

    async def open(self, connection: HTTPConnection, *, renew: bool = True) -> Session:
        """Return the session that the connection's credential names.

        Args:
            connection: the request or WebSocket.
            renew: False for a look that is no use, and extends nothing.

        Raises:
            NotAuthenticated: there is none; InvalidToken and SessionEnded tell why.
            CredentialConflict: two credentials disagree.
            CrossOriginRefused: another origin's page sent an unsafe request.
            StoreUnavailable: the store cannot tell.
        """
        self.touch(connection)
        if self.session is None and self.refusal is None:
            provider = self.provider
            try:
                token = self._token(connection, provider.carrier)
                if token is None:
                    raise NotAuthenticated
                loaded = await provider.open(token, renew=renew, scope=connection.scope)
            except SessionError as error:
                await provider.events.refused(error)
                if not isinstance(error, NotAuthenticated):
                    raise
                self.refusal = maker_of(error)
            else:
                # A login, or another task that asked at the same time, may have been faster.
                if self.session is None:
                    self._adopt(loaded)
                    self.peeked = not renew
                    return loaded
        session = self.session
        if session is None:
            raise (self.refusal or NotAuthenticated)()
        if session.destroyed:
            raise SessionEnded("logout")
        if renew and self.peeked:
            self.peeked = False
            await session.load(renew_interval=self.provider.renew_seconds)
        return session

    async def login(
        self, connection: HTTPConnection, user_id: str, **options: Unpack[LoginOptions]
    ) -> Session:
        """Begin a new session and end the one the connection came with, both with the response."""
        self._refuse_late("login_session()")
        self.touch(connection)
        provider = self.provider
        if provider.ambient:
            await self._refuse_other_origins(connection)
        replaced = self._current_keys(connection)
        options.update(device_of(connection.scope))
        login = provider.prepare_login(user_id, **options)
        key = login.session.record.key
        try:
            replacing = replaced[0] if replaced else None
            await provider.begin(login, replacing=replacing, since=self.began)
            self._refuse_late("login_session()")  # which it may have become while it was stored
        except BaseException as error:
            # Refused, cancelled, or stored with the reply lost: whichever it was, it is not.
            await self.end((key,), "undone")
            if isinstance(error, SessionEnded):
                error.user_id = user_id  # which the store does not say
                await provider.events.refused(error)
            raise
        pending = self.pending
        pending.created += (key,)
        if replaced:
            pending.replaced += replaced
        pending.headers = login.issue.headers
        return self._adopt(login.session)

    async def renew(self, connection: HTTPConnection) -> Session:
        """Exchange the connection's refresh token for the next pair.

        Needs no undoing: until the next pair is used, the same token buys it again.
        """
        provider = self.provider
        if provider.refresh_carrier is None:
            raise SessionUsageError(
                "This application issues no refresh tokens; set MEMSESSION_REFRESH=true."
            )
        self._refuse_late("renew_session()")
        self.touch(connection)
        if provider.ambient:
            await self._refuse_other_origins(connection)
        try:
            token = self._token(connection, provider.refresh_carrier)
            if token is None:
                raise NotAuthenticated("The request carries no refresh token; log in first.")
            keys = self._keys(connection)
            # One is over: late responses and idle tabs leave its tokens beside those of the other.
            if len(keys) > 1 and len(await provider.living(keys)) > 1:
                raise CredentialConflict(
                    "The request carries tokens of two sessions; log in again."
                )
            login = await provider.renew(token)
        except SessionError as error:
            await provider.events.refused(error)
            raise
        self.pending.headers = login.headers
        session = self.session
        if session is None or session.destroyed or session.record.key != login.session.record.key:
            return self._adopt(login.session)
        # Whoever has the session already, has this one: what they do to it is to be told.
        session.adopt_tokens(login.session.record, login.session.token_info)
        self.peeked = False
        return session

    async def logout(self, connection: HTTPConnection) -> bool:
        """End every session that a genuine token names, and make the client forget them all.

        Also one whose time is over: its session may live. And of several tokens that disagree.
        """
        self.touch(connection)
        if self.provider.ambient:
            await self._refuse_other_origins(connection, unless_shown=True)
        ended = False
        if self.session is not None and not self.session.destroyed:
            await self.session.destroy()
            ended = True
        try:
            for key in self._keys(connection):
                ended = await self.provider.end(key, reason="logout") or ended
        except CredentialConflict as error:  # nobody knows which; the client is to have neither
            self.pending.forget = True
            await self.provider.events.refused(error)
            raise
        self.pending.forget = True
        return ended

    def _refuse_late(self, call: str) -> None:
        if self.started or self.forward is over:
            raise SessionUsageError(
                f"{call} was called after the response started or the request was over, when no "
                "header can carry the token any more. Call it before returning the response, or "
                "before websocket.accept()."
            )

    async def _refuse_other_origins(
        self, connection: HTTPConnection, *, unless_shown: bool = False
    ) -> None:
        """Refuse another origin's page, whether or not a cookie came: the answer sets cookies.

        A browser that keeps them back from another site's form takes those of the answer to it.
        `unless_shown` lets pass who shows a token that no such page can send.
        """
        provider = self.provider
        try:
            refuse_cross_origin(connection, provider.settings.trusted_origins)
        except CrossOriginRefused as error:
            if unless_shown and self._shown(connection):
                return
            await provider.events.refused(error)
            raise

    def _shown(self, connection: HTTPConnection) -> bool:
        """Whether a genuine token came that no page of another origin can send.

        In a handshake it can: as a subprotocol, and the cookie comes by itself.
        """
        if connection.scope["type"] != "http":
            return False
        try:
            found = self._credentials(connection)
        except CredentialConflict:
            return False
        read = self.provider.tokens.read
        return any(not each.ambient and read(each.token) for each in found)

    def _token(self, connection: HTTPConnection, carrier: TokenCarrier) -> str | None:
        credential = carrier.extract(connection)
        if credential is None:
            return None
        if credential.ambient:
            refuse_cross_origin(connection, self.provider.settings.trusted_origins)
        return self._newest(credential) if credential.others else credential.token

    def _newest(self, credential: Credential) -> str:
        """Return the newest of several tokens of one session, which its client has: two tabs."""
        tokens = (credential.token, *credential.others)
        read = {token: self.provider.tokens.read(token) for token in tokens}
        genuine = {token: claims for token, claims in read.items() if claims is not None}
        if len(genuine) < len(read) or len({claims.key for claims in genuine.values()}) > 1:
            raise CredentialConflict("The request carries two different session tokens.")
        return max(genuine, key=lambda token: (genuine[token].generation, genuine[token].issued_at))

    def _credentials(self, connection: HTTPConnection) -> list[Credential]:
        carriers = (self.provider.carrier, self.provider.refresh_carrier)
        return [
            found
            for carrier in carriers
            if carrier is not None and (found := carrier.extract(connection)) is not None
        ]

    def _keys(self, connection: HTTPConnection) -> list[SessionKey]:
        """Return which sessions the tokens name that came, whatever their time."""
        found = self._credentials(connection)
        if not found:
            return []
        tokens = [token for each in found for token in (each.token, *each.others)]
        read = map(self.provider.tokens.read, tokens)
        return list(dict.fromkeys(claims.key for claims in read if claims is not None))

    def _current_keys(self, connection: HTTPConnection) -> tuple[SessionKey, ...]:
        mine = () if self.session is None else (self.session.record.key,)
        if self.provider.refresh_carrier is None and self.provider.shown(connection.scope) == b"":
            return mine  # as of most who log in
        try:
            return tuple(dict.fromkeys((*mine, *self._keys(connection))))
        except CredentialConflict:  # nobody knows which is meant, and a login must still work
            return mine

    def _adopt(self, session: Session) -> Session:
        session.can_send_token = not self.started
        self.session = session
        self.peeked = False
        return session


def state_of(connection: HTTPConnection) -> ConnectionState:
    """Return the state of a connection.

    Raises:
        SessionUsageError: it has none.
    """
    state = connection.scope.get(SCOPE_KEY)
    if state is None:
        raise SessionUsageError(
            "This connection has no session state. Either setup_sessions(app) was not called for "
            "this application, or this code runs in a middleware outside of it: middlewares run "
            "in the reverse order of being added, so call setup_sessions(app) after adding those "
            "that use sessions."
        )
    return state  # type: ignore[no-any-return]
