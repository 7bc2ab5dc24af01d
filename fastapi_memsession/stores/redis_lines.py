"""Connections to one server that are kept for commands, each lent to one of them at a time.

The client's own pool tells metrics of everything it does, and guards what one task does to it from
others, which takes longer than the server needs to answer. Here each command is all of its own.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from fastapi_memsession.deadline import Deadline, Deadlines


class Lines:
    """Connections of one event loop.

    Args:
        pool: the client's, which tells how to connect; made on the loop that will use them. Its
            `socket_timeout` is what a command takes at most, all its steps together.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._deadlines = Deadlines(pool.connection_kwargs["socket_timeout"])
        # One timer is enough for all: by itself each connection makes one for every step.
        self._options = pool.connection_kwargs | {"socket_timeout": None}
        self._closed = False
        self.idle: list[Any] = []

    async def ask(self, *command: Any) -> Any:
        """Return the answer to a command; raise what the client's own call does.

        Raises:
            TimeoutError: there was none in time.
        """
        connection = self.idle.pop() if self.idle else self._pool.connection_class(**self._options)
        try:
            with Deadline(self._deadlines):
                await self._pool.ensure_connection(connection)
                await connection.send_command(*command)
                return await connection.read_response()
        finally:
            # Whatever came between, too: then it disconnected itself, and connects again.
            if self._closed:
                await connection.disconnect(nowait=True)
            else:
                self.idle.append(connection)

    async def aclose(self) -> None:
        """Close all; who still waits for an answer gets it first."""
        self._closed = True
        while self.idle:
            await self.idle.pop().disconnect()


def abandon(connections: Iterable[Any]) -> None:
    """Close the sockets of connections whose loop is gone, so that no file stays open.

    Nothing public does that without the loop; a test client makes a loop for each request.
    """
    for connection in connections:
        writer, connection._writer, connection._reader = connection._writer, None, None
        if writer is not None:  # pragma: no branch - else it was closed before
            _close_without_loop(writer.transport)


def _close_without_loop(transport: Any) -> None:
    with suppress(RuntimeError):  # "Event loop is closed": noted as closing all the same
        transport.close()
    opened = getattr(transport, "_sock", None)
    if opened is not None:  # pragma: no branch - else it is uvloop's, or was closed before
        transport._sock = None
        opened.close()
