"""Hears from Redis which keys change, and keeps copies of records only while it hears.

Client tracking in broadcast mode: the server names every key of ours that changes, whoever changes
it and by whatever command; also those that it lets expire, and that all are gone. One connection
for each event loop and master that loads. Its messages come as those of a channel (RESP2), for
which it names itself as the one to be told: so there is no second connection that could break
unnoticed. While it is not there, nothing is kept; when it breaks, all that was kept is dropped.
"""

import asyncio
import contextvars
import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from fastapi_memsession.errors import StoreUnavailable
from fastapi_memsession.stores.copies import Copies
from fastapi_memsession.stores.redis_client import RedisClients, faults_told
from fastapi_memsession.stores.redis_layout import Keys
from fastapi_memsession.stores.redis_places import place_of, places_of

logger = logging.getLogger("fastapi_memsession")

_CHANNEL = "__redis__:invalidate"
_SILENCE = 1.0  # seconds without a word, after which we ask whether the server is still there
_LONGEST_PAUSE = 1.0  # seconds before the next attempt to connect


class RedisTracking:
    """What was loaded lately and did not change since, on every event loop.

    Args:
        clients: they make the connections.
        names: of the keys.
        seconds: how old what is shown may be, whether a change was heard or not.
    """

    def __init__(self, clients: RedisClients, names: Keys, *, seconds: float) -> None:
        self._clients = clients
        self._names = names
        self._seconds = seconds
        self._trackers: dict[asyncio.AbstractEventLoop, Tracker] = {}

    @property
    def here(self) -> "Tracker":
        """The one of the running loop."""
        loop = asyncio.get_running_loop()
        tracker = self._trackers.get(loop)
        if tracker is None:
            for gone in [each for each in list(self._trackers) if each.is_closed()]:
                self._trackers.pop(gone, None)
            copies = Copies(seconds=self._seconds)
            tracker = self._trackers[loop] = Tracker(self._clients, self._names, copies)
        return tracker

    def forget(self, keys: Iterable[str]) -> None:
        """Show records no more as they were, on any loop: this process changes them."""
        ids = [self._names.session_id(each) for each in keys]
        for tracker in list(self._trackers.values()):
            for session_id in ids:
                tracker.copies.forget(session_id)

    async def aclose(self) -> None:
        """Close the connections of the running loop, and drop what was kept there."""
        tracker = self._trackers.pop(asyncio.get_running_loop(), None)
        if tracker is not None:
            await tracker.aclose()


class Tracker:
    """What was loaded lately on one event loop, and its ears: one for each master."""

    def __init__(self, clients: RedisClients, names: Keys, copies: Copies) -> None:
        self.copies = copies
        self._clients = clients
        self._names = names
        self._ears: dict[str, Ear] = {}

    def ear(self, key: str) -> "Ear | None":
        """Return what hears of changes to a key now; None if nothing does, so far."""
        place = place_of(self._clients.client, key)
        if place is None:
            return None
        ear = self._at(place)
        return ear if ear.hears else None

    async def open(self) -> None:
        """Return once every change is heard.

        Raises:
            StoreUnavailable: it cannot be.
        """
        ears = [self._at(place) for place in places_of(self._clients.client)]
        await asyncio.gather(*(each.ready() for each in ears))

    async def aclose(self) -> None:
        """Hear no more."""
        if self._ears:
            await asyncio.wait({each.close() for each in self._ears.values()})

    def _at(self, place: str) -> "Ear":
        ear = self._ears.get(place)
        if ear is None or ear.ended:
            ear = self._ears[place] = Ear(self._clients, self._names, self.copies, place)
        return ear


class Ear:
    """A connection on which one master tells what changes, while the client knows that master.

    Attributes:
        hears: whether every change is told from now on.
    """

    def __init__(self, clients: RedisClients, names: Keys, copies: Copies, place: str) -> None:
        self.hears = False
        self._clients = clients
        self._names = names
        self._copies = copies
        self._place = place
        self._failures = 0  # in a row
        self._fault = StoreUnavailable("It was given up.")  # the last one
        self._tried = asyncio.Event()
        # An empty context: nothing of the one who came first is kept alive.
        self._task = asyncio.create_task(self._listen(), context=contextvars.Context())
        self._task.add_done_callback(lambda _: self._tried.set())

    @property
    def ended(self) -> bool:
        """Whether it will hear no more."""
        return self._task.done()

    async def ready(self) -> None:
        """Return once it hears.

        Raises:
            StoreUnavailable: it does not.
        """
        await self._tried.wait()
        if not self.hears:
            raise StoreUnavailable(
                "Redis does not tell what changes, which MEMSESSION_NEAR_CACHE needs. "
                f"{self._fault}",
                retry_after=self._fault.retry_after,
            )

    def close(self) -> asyncio.Task[None]:
        """Begin to close; return the task that is done when it is closed."""
        self._task.cancel()
        return self._task

    async def _listen(self) -> None:
        while self._wanted():
            try:
                await self._serve(await self._clients.connect_apart(self._place))
            except StoreUnavailable as fault:
                self._lose(fault)
                await asyncio.sleep(min((self._failures - 1) / 10, _LONGEST_PAUSE))
            finally:
                self._tried.set()

    def _wanted(self) -> bool:
        return not self._stopping() and self._place in places_of(self._clients.client)

    def _stopping(self) -> bool:  # Python 3.11 loses a cancellation that comes with an answer
        return self._task.cancelling() > 0

    async def _serve(self, connection: Any) -> None:
        """Hear until the connection breaks, and raise what broke it."""
        try:
            if not self._wanted():  # what was connected to is another master
                return
            with faults_told():
                await self._begin(connection)
                await self._hear(connection)
        finally:
            self.hears = False
            self._copies.forget_all()
            await connection.disconnect(nowait=True)

    async def _begin(self, connection: Any) -> None:
        async def ask(*command: Any) -> Any:
            await connection.send_command(*command, check_health=False)
            return await connection.read_response(disconnect_on_error=False)

        with self._clients.deadline():
            whose = "REDIRECT", await ask("CLIENT", "ID"), "BCAST", "PREFIX", self._names.beginning
            await ask("CLIENT", "TRACKING", "ON", *whose)
            await ask("SUBSCRIBE", _CHANNEL)
        self.hears, self._failures = True, 0
        self._tried.set()

    async def _hear(self, connection: Any) -> None:
        read = partial(connection.read_response, disconnect_on_error=False)

        async def ask() -> Any:
            await connection.send_command("PING", check_health=False)
            return await read(timeout=self._clients.timeout)

        while not self._stopping():
            self._take(await read(timeout=_SILENCE) or await ask())

    def _take(self, reply: Any) -> None:
        """Take a word of the server's: which keys have changed, or that it is still there."""
        if reply is None:
            raise TimeoutError
        if reply[0] != b"message":
            return
        told = reply[2]
        if not isinstance(told, list):  # all are gone; or somebody else has written to the channel
            self._copies.forget_all()
            return
        for name in told:
            self._copies.forget(self._names.session_id(name.decode(errors="replace")))

    def _lose(self, fault: StoreUnavailable) -> None:
        if not self._failures:
            logger.warning(
                "The connection that hears of changed sessions broke; until it is there again, "
                "every request asks Redis: %s",
                fault,
            )
        self._failures += 1
        self._fault = fault
