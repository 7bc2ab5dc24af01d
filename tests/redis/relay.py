"""Stands between stores and a server, and holds back what the server says, or cuts it off."""

import asyncio
from contextlib import suppress

from tests.redis_server import RedisServer


class Relay:
    """A way to a server. Enter it to open it.

    Attributes:
        refuses: whether new connections are closed at once.
        distance: seconds that each answer travels.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._connections: set[_Connection] = set()
        self.deaf = False
        self.refuses = False
        self.distance = 0.0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    async def __aenter__(self) -> "Relay":
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        self._listening.close()
        for each in list(self._connections):
            each.cut()
        while self._connections:  # noqa: ASYNC110 - each leaves by itself
            await asyncio.sleep(0)

    async def _serve(self, reader, writer) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run(self._server.port)
        finally:
            self._connections.discard(connection)

    def hold(self) -> None:
        """Hold back the answers on the connections that there are, but for those that track."""
        for each in self._connections:
            if not each.tracks:
                each.open.clear()

    def deafen(self) -> None:
        """Hold back what tracking connections are told, also those that are still to come."""
        self.deaf = True
        for each in self._connections:
            if each.tracks:
                each.open.clear()

    def release(self) -> None:
        """Pass on what was held back, and what comes from now on."""
        self.deaf = False
        for each in self._connections:
            each.open.set()

    def cut(self) -> None:
        """Cut the connections that track."""
        for each in self._connections:
            if each.tracks:
                each.cut()

    @property
    def holds(self) -> bool:
        """Whether an answer is being held back."""
        return any(each.holds for each in self._connections)


class _Connection:
    def __init__(self, relay: Relay, reader, writer) -> None:
        self._relay = relay
        self._reader, self._writer = reader, writer
        self.tracks = self.holds = False
        self.open = asyncio.Event()
        self.open.set()

    async def run(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        passing = [self._ask(self._reader, writer), self._answer(reader, self._writer)]
        tasks = [asyncio.create_task(each) for each in passing]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in tasks:
                each.cancel()
            for each in (writer, self._writer):
                each.transport.abort()
            await asyncio.wait(tasks)

    def cut(self) -> None:
        self._writer.transport.abort()

    async def _ask(self, reader, writer) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if b"TRACKING" in data:
                    self.tracks = True
                    if self._relay.deaf:
                        self.open.clear()
                writer.write(data)

    async def _answer(self, reader, writer) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                self.holds = not self.open.is_set()
                await self.open.wait()
                self.holds = False
                if self._relay.distance:
                    await asyncio.sleep(self._relay.distance)
                writer.write(data)
