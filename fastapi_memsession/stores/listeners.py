"""Who is told when sessions end, in one process. Knows keys and loops, neither stores nor HTTP.

Sessions end in any thread; whoever listens is told on the event loop on which it began to.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from fastapi_memsession.records import Ended, SessionKey

Tell = Callable[[Ended | None], None]


class _Listener:
    __slots__ = ("key", "left", "loop", "tell")

    def __init__(self, key: SessionKey, tell: Tell) -> None:
        self.key = key
        self.tell = tell
        self.loop = asyncio.get_running_loop()
        self.left = False

    def wake(self, ending: Ended | None) -> None:
        with suppress(RuntimeError):  # its loop was closed: nobody is there any more
            self.loop.call_soon_threadsafe(self._hear, ending)

    def _hear(self, ending: Ended | None) -> None:
        if not self.left:
            self.tell(ending)


class Listeners:
    """Those who listen, by user and session id."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._users: dict[str, dict[str, set[_Listener]]] = {}

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._users

    def __len__(self) -> int:
        return len(self._users)

    @contextmanager
    def listening(self, key: SessionKey, tell: Tell) -> Iterator[None]:
        """Listen for what becomes of a session, as `SessionStore.watch` describes."""
        listener = _Listener(key, tell)
        with self._guard:
            self._add(listener)
        try:
            yield
        finally:
            listener.left = True
            with self._guard:
                self._remove(listener)

    def tell(self, user_id: str, ending: Ended) -> None:
        """Tell those who listen for the session; they go on under the id of its successor."""
        if user_id not in self._users:  # nobody does, as a rule: not worth a lock
            return
        with self._guard:
            for listener in list(self._users.get(user_id, {}).get(ending.session_id, ())):
                if ending.successor is not None:
                    self._remove(listener)
                    listener.key = SessionKey(user_id, ending.successor)
                    self._add(listener)
                listener.wake(ending)

    def tell_all(self, user_id: str) -> None:
        """Tell those who listen for any session of a user that an ending may have been missed."""
        with self._guard:
            for listeners in self._users.get(user_id, {}).values():
                for listener in listeners:
                    listener.wake(None)

    def _add(self, listener: _Listener) -> None:
        sessions = self._users.setdefault(listener.key.user_id, {})
        sessions.setdefault(listener.key.session_id, set()).add(listener)

    def _remove(self, listener: _Listener) -> None:
        user_id, session_id = listener.key
        sessions = self._users[user_id]
        sessions[session_id].remove(listener)
        if not sessions[session_id]:
            del sessions[session_id]
        if not sessions:
            del self._users[user_id]
