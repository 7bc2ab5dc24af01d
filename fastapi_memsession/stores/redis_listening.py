"""Hears in Redis that sessions end, whichever process ended them. Knows channels, not records.

One connection for each event loop on which somebody listens, and none where nobody does. Scripts
publish on a channel of the user's; that reaches every node of a cluster, and whoever listens to
any of them. A connection that breaks is made again; what may have been missed is told as None.
"""

import asyncio
import contextvars
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi_memsession.errors import StoreUnavailable
from fastapi_memsession.records import SessionKey
from fastapi_memsession.stores.listeners import Listeners, Tell
from fastapi_memsession.stores.redis_client import RedisClients, faults_told
from fastapi_memsession.stores.redis_layout import Keys, ending_from

logger = logging.getLogger("fastapi_memsession")

_SILENCE = 5.0  # seconds without a word, after which we ask whether the server is still there
_PAUSES = (0.0, 0.1, 0.2, 0.5, 1.0)  # seconds before the next attempt to connect
_AT_ONCE = 500  # channels that one command names


class RedisListening:
    """What `SessionStore.watch` needs, on every event loop.

    Args:
        clients: they make the connections.
        names: of the channels.
    """

    def __init__(self, clients: RedisClients, names: Keys) -> None:
        self._clients = clients
        self._names = names
        self._lines: dict[asyncio.AbstractEventLoop, _Line] = {}

    @asynccontextmanager
    async def listening(self, key: SessionKey, tell: Tell) -> AsyncIterator[None]:
        """Listen for what becomes of a session, as `SessionStore.watch` describes."""
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = _Line(self._clients, self._names)
        try:
            with line.listeners.listening(key, tell):
                await line.hear(key.user_id)
                yield
        finally:
            line.leave(key.user_id)
            if not line.listeners and self._lines.get(loop) is line:
                del self._lines[loop]
                line.close()

    async def aclose(self) -> None:
        """Close the connection of the running loop. Who still listens there hears no more."""
        line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            await asyncio.wait({line.close()})


class _Line:
    """The connection of one event loop: one task that reads, one that writes."""

    def __init__(self, clients: RedisClients, names: Keys) -> None:
        self.listeners = Listeners()
        self._clients = clients
        self._names = names
        self._connection: Any = None
        self._commands: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        self._users: dict[str, str] = {}  # by the channels that somebody wants to hear
        self._waiting: dict[str, asyncio.Event] = {}  # set: heard, or there is a fault
        self._asked: Counter[str] = Counter()  # answers to come, by channel
        self._heard: set[str] = set()  # channels that are subscribed to
        self._missed: set[str] = set()  # channels that were, when the connection broke
        self._failures = 0  # in a row
        self._fault: StoreUnavailable | None = None
        # An empty context: nothing of the one who came first is kept alive.
        self._task = asyncio.create_task(self._listen(), context=contextvars.Context())

    async def hear(self, user_id: str) -> None:
        """Return once a user's channel is subscribed to."""
        channel = self._names.channel(user_id)
        self._users[channel] = user_id
        if channel in self._heard:
            return
        if self._connection is not None:
            self._subscribe(channel)
        event = self._waiting.setdefault(channel, asyncio.Event())
        try:
            async with asyncio.timeout(self._clients.timeout):
                await event.wait()
        except TimeoutError:
            raise StoreUnavailable(
                "Redis did not answer in time when the ends of sessions were to be listened for. "
                "Is it running, reachable and not overloaded?"
            ) from None
        fault = self._fault
        if fault is not None and channel not in self._heard:
            raise StoreUnavailable(str(fault), retry_after=fault.retry_after)

    def leave(self, user_id: str) -> None:
        """Hear a user's channel no more, unless somebody else does."""
        if user_id in self.listeners:
            return
        channel = self._names.channel(user_id)
        self._users.pop(channel, None)
        self._waiting.pop(channel, None)
        self._heard.discard(channel)
        self._missed.discard(channel)
        self._commands.put_nowait(("UNSUBSCRIBE", channel))

    def close(self) -> asyncio.Task[None]:
        """Begin to close; return the task that is done when it is closed."""
        self._task.cancel()
        return self._task

    async def _listen(self) -> None:
        while True:
            try:
                await self._serve(await self._clients.connect_apart())
            except StoreUnavailable as fault:
                self._lose(fault)
            await asyncio.sleep(_PAUSES[min(self._failures, len(_PAUSES)) - 1])

    async def _serve(self, connection: Any) -> None:
        """Read until the connection breaks, and raise what broke it."""
        self._connection = connection
        self._commands = asyncio.Queue()
        self._subscribe(*self._users)
        writing = asyncio.create_task(self._write(connection, self._commands))
        try:
            with faults_told():
                while True:
                    patience = _SILENCE + self._clients.timeout
                    reply = await connection.read_response(
                        timeout=patience, disconnect_on_error=False
                    )
                    self._take(reply)
        finally:
            self._connection = None
            writing.cancel()
            try:
                await asyncio.wait({writing})
            finally:
                await connection.disconnect(nowait=True)

    async def _write(self, connection: Any, commands: "asyncio.Queue[tuple[str, ...]]") -> None:
        """Send what is to be sent, and otherwise ask now and then whether anybody is there."""
        with suppress(StoreUnavailable), faults_told():  # who reads notices, too
            # Python 3.11 loses a cancellation that comes together with an answer.
            while self._connection is connection:  # pragma: no branch
                try:
                    async with asyncio.timeout(_SILENCE):
                        command = await commands.get()
                except TimeoutError:
                    command = ("PING",)
                await connection.send_command(*command, check_health=False)

    def _subscribe(self, *channels: str) -> None:
        for first in range(0, len(channels), _AT_ONCE):
            some = channels[first : first + _AT_ONCE]
            self._asked.update(some)
            self._commands.put_nowait(("SUBSCRIBE", *some))

    def _take(self, reply: Any) -> None:
        """Take a word of the server's: a message, or that a channel is subscribed to."""
        if reply is None:  # not even an answer to our question
            raise TimeoutError
        if not isinstance(reply, list):  # the answer to a PING before the first subscription
            return
        channel = reply[1].decode()
        user_id = self._users.get(channel)
        if reply[0] == b"message" and user_id is not None:
            ending = ending_from(reply[2])
            if ending is None:
                self.listeners.tell_all(user_id)
            else:
                self.listeners.tell(user_id, ending)
        if reply[0] != b"subscribe":
            return
        self._asked[channel] -= 1
        # Who left and came back has asked twice, and was unsubscribed in between.
        if user_id is None or self._asked[channel] > 0:
            return
        self._failures = 0
        self._heard.add(channel)
        waiting = self._waiting.pop(channel, None)
        if waiting is not None:
            waiting.set()
        if channel in self._missed:
            self._missed.remove(channel)
            self.listeners.tell_all(user_id)

    def _lose(self, fault: StoreUnavailable) -> None:
        if not self._failures:
            logger.warning("The connection that hears of ended sessions broke: %s", fault)
        self._failures += 1
        self._missed |= self._heard
        self._heard.clear()
        self._asked.clear()
        self._fault = fault
        if self._failures > 1:  # as with every call that may be repeated: tried a second time
            for waiting in self._waiting.values():
                waiting.set()
            self._waiting.clear()
