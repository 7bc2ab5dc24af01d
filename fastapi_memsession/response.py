"""What the response of one connection tells the client about its session, and what waits for it.

Tokens go out with the start of the response, whatever kind of response that becomes, and only then
does what they replace end. A login whose response never starts is undone.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import Message, Send

from fastapi_memsession.answers import Answers
from fastapi_memsession.caching import SAID, add_headers, join
from fastapi_memsession.errors import (
    EndReason,
    NotAuthenticated,
    SessionError,
    StoreUnavailable,
)
from fastapi_memsession.provider import SessionProvider
from fastapi_memsession.records import SessionKey
from fastapi_memsession.session import Session
from fastapi_memsession.unbroken import unbroken

logger = logging.getLogger("fastapi_memsession")

_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


@dataclass(slots=True)
class Pending:
    """What waits for the response of one connection.

    Attributes:
        headers: they bring tokens that were issued while the request was answered.
        forget: the client is to forget its tokens, unless there is a session.
        created: logins to undo if the response never starts.
        replaced: sessions to end when it does.
        renamed: a session before and after it got a new id, of which events are to tell.
        starting: the start of the response is under way, and sees to it that all is undone if it
            fails.
    """

    headers: MutableHeaders | None = field(default=None, repr=False)
    forget: bool = False
    created: tuple[SessionKey, ...] = ()
    replaced: tuple[SessionKey, ...] = ()
    renamed: tuple[SessionKey, SessionKey] | None = None
    starting: bool = False


class SessionResponse:
    """The response of one connection, as far as sessions are concerned.

    Attributes:
        provider: the application's.
        began: when the connection came, in seconds since the epoch.
        started: the response has started; no header can be added any more.
        connection: None as long as the connection has nothing to do with a session.
        forward: sends what the response is made of.
        session: the one that the client is to know of.
        peeked: the session was looked at, which is no use.
        refusal: makes the error for whoever asks for a session, once it is known to be none.
    """

    # Most connections have nothing to do with a session, and pay for this all the same. So what
    # only a session needs is set when the connection is touched; and slots are set and read faster
    # than other attributes, let alone defaults of the class.
    __slots__ = (
        "_answers", "_pending", "began", "connection", "forward", "peeked", "provider", "refusal",
        "session", "started",
    )  # fmt: skip

    connection: HTTPConnection | None
    session: Session | None
    refusal: Callable[[], NotAuthenticated] | None
    peeked: bool
    _pending: Pending | None  # made when there is something, as in few requests there is

    def __init__(self, provider: SessionProvider, answers: Answers, send: Send) -> None:
        self.provider = provider
        now = provider.clock.now  # read, then called: see the middleware
        self.began = now()
        self._answers = answers
        self.forward = send
        self.started = False
        self.connection = None

    def touch(self, connection: HTTPConnection) -> None:
        """Note that the connection has to do with a session."""
        if self.connection is None:
            self.connection = connection
            self.session = self.refusal = self._pending = None
            self.peeked = False
        # A mounted application has handlers of its own, and would answer 500.
        handlers = connection.scope.get("starlette.exception_handlers")
        if handlers is not None and SessionError not in handlers[0]:
            self._answers.register(handlers[0])

    @property
    def pending(self) -> Pending:
        """What waits for the response of a connection that was touched."""
        if self._pending is None:
            self._pending = Pending()
        return self._pending

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on, with our headers if it starts the response."""
        forward = self.forward
        if self.started or message["type"] not in _STARTS:
            return forward(message)
        connection = self.connection
        if connection is not None:
            session = self.session
            if session is None or session.needs_token or self._pending is not None:
                if session is not None and session.pending_id is not None:
                    # Under its new id the session is lost unless the client hears of it. Who is
                    # cancelled waits neither for the store nor for anybody who does not read.
                    self.pending.starting = True
                    return unbroken(self._start_renamed(message, connection, forward))
                return self._start(message, forward)
            session.can_send_token = False  # a session was used, and there is no more to tell
            if message["type"] != "websocket.accept":
                headers = message["headers"] = [*message.get("headers", ())]
                for name, _ in headers:
                    if name in SAID:
                        join(headers, self.provider.issuer)
                        break
                else:  # as add_headers does: most responses leave by here
                    headers += self.provider.issuer.private
        self.started = True
        return forward(message)

    async def _start_renamed(
        self, message: Message, connection: HTTPConnection, forward: Send
    ) -> None:
        pending = self.pending
        try:
            try:
                await self._start_under_new_id(message, connection, forward)
            finally:
                if pending.renamed is not None:
                    await self.provider.tell_renamed(*pending.renamed)
        except BaseException:
            await self._undo(pending)
            raise

    async def _start_under_new_id(
        self, message: Message, connection: HTTPConnection, forward: Send
    ) -> None:
        try:
            await self._rename()
        except StoreUnavailable as error:
            await self._answer(connection, error, forward)
        else:
            await self._start(message, forward)

    async def _rename(self) -> None:
        """Give the session the id that it asked for, unless it is not this client's any more."""
        session = self.session  # another one by now, if a task beside the response has logged in
        if session is None or session.pending_id is None or session.destroyed or session.moved:
            return
        pending, before = self.pending, session.record.key
        pending.headers = await self.provider.regenerate(session)
        if pending.headers is not None:
            pending.renamed = before, session.record.key

    async def _start(self, message: Message, forward: Send) -> None:
        session, provider = self.session, self.provider
        lost = False
        if session is not None:
            key, now = session.record.key, provider.clock.now()
            # Most are there, and a store that knows it without being asked spares the rest.
            if provider.store.version(key, now) is None:
                session.can_send_token = False
                lost = await self._is_lost(session, key, now)
        # From here on nobody logs in, and nothing waits, until what there is to tell is on its way.
        self.started = True
        add_headers(message, () if lost else self._news(), provider.issuer)
        if self.session is not None:
            self.session.can_send_token = False
        replaced = () if self._pending is None else self._pending.replaced
        try:
            await forward(message)
        except BaseException:
            self.started = False
            raise
        if replaced:
            await self.end(replaced, "replaced")

    async def _is_lost(self, session: Session, key: SessionKey, now: float) -> bool:
        """Whether the session has ended or moved on while this request was answered.

        Then the client may have better tokens by now, which those of this request must not replace.
        """
        if session.destroyed or session.moved:
            return False
        try:
            found = await self.provider.store.load(key, now=now, renew_interval=None)
        except StoreUnavailable:
            return False
        return found is None and self.session is session and not session.destroyed

    async def undo(self) -> None:
        """End the sessions of logins that no response has brought to the client."""
        pending = self._pending
        if pending is not None and not pending.starting:
            await self._undo(pending)

    async def _undo(self, pending: Pending) -> None:
        created, pending.created = pending.created, ()
        await self.end(created, "undone")

    async def end(self, keys: Sequence[SessionKey], reason: EndReason) -> None:
        """End sessions, come what may."""
        if keys:
            # The client may be gone, this task cancelled: the store must hear of it all the same.
            await unbroken(self._end_or_log(keys, reason))

    async def _end_or_log(self, keys: Sequence[SessionKey], reason: EndReason) -> None:
        for key in keys:
            try:
                await self.provider.end(key, reason=reason)
            except Exception:
                told = "A session that was %s could not be ended; it will expire."
                logger.exception(told, reason)

    def _news(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the headers that tell the client, with a token for what has changed."""
        session, pending = self.session, self._pending
        if session is None or session.destroyed:
            if session is None and (pending is None or not pending.forget):
                return ()
            news = MutableHeaders()
            self.provider.issuer.clear(news)
            return news.raw
        if session.moved:  # another request has told its client the tokens, and not this one
            return ()
        # With an id still pending, the session ended before it was renamed.
        if session.needs_token and session.pending_id is None:
            pending = self.pending
            issuer, now = self.provider.issuer, self.provider.clock()
            if pending.headers is None:
                # Of the generation that the client has: the next one may not have reached it.
                known = session.record._replace(generation=session.token_info.generation)
                issue = issuer.issue_access(known, now=now)
            else:
                issue = issuer.issue(session.record, now=now)
            pending.headers = issue.headers
            session.token_info, session.needs_token = issue, False
        return () if pending is None or pending.headers is None else pending.headers.raw

    async def _answer(
        self, connection: HTTPConnection, error: StoreUnavailable, forward: Send
    ) -> None:
        """Answer instead of the application, whose response says that all went well."""
        if not isinstance(connection, Request):
            raise error
        response = await self._answers.answer(connection, error)
        assert response is not None  # noqa: S101 - an HTTP request gets a response
        self.started = True
        self.forward = _drop
        await self._undo(self.pending)
        await response(connection.scope, connection.receive, forward)


async def _drop(_message: Message) -> None:
    """Send nothing of a response that was answered instead."""


async def over(_message: Message) -> None:
    """Refuse what comes when the connection is over, as servers do: with an OSError, by ASGI."""
    raise ConnectionError("Nothing can be sent any more: who served this connection has returned.")
