"""Commands over connections of a client's pool, without the ceremony of the client.

For every command the client counts, notes times, makes a timer for each step and is ready to try
again by rules of its own: together that takes longer than the server needs to answer.
"""

from typing import Any

from fastapi_memsession.deadline import Deadline, Deadlines


class Pooled:
    """Commands to one server.

    Args:
        pool: the client's, made on the loop that will use it. Whoever asks sees to it that there
            are never more at once than it may have connections.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._seconds = pool.connection_kwargs["socket_timeout"]
        self._deadlines = Deadlines(self._seconds)

    async def ask(self, *command: Any) -> Any:
        """Return the answer to a command, as the server words it; raise what the client would.

        Raises:
            TimeoutError: there was none within the client's `socket_timeout`.
        """
        pool = self._pool
        connection = pool.get_available_connection()
        try:
            await pool.ensure_connection(connection)
            connection.socket_timeout = None  # one timer is enough for both steps, and for all
            with Deadline(self._deadlines):
                await connection.send_command(*command)
                return await connection.read_response()
        finally:
            connection.socket_timeout = self._seconds
            await pool.release(connection)
