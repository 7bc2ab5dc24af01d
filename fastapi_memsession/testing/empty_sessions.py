"""EmptySessions: nobody is logged in, for one test."""

from typing import Self

from fastapi_memsession.provider import SessionProvider
from fastapi_memsession.stores.base import SessionStore
from fastapi_memsession.stores.memory import MemoryStore
from fastapi_memsession.testing.application import provider_of


class EmptySessions:
    """Gives applications a memory store of their own, until its `with` block ends."""

    def __init__(self) -> None:
        self._before: list[tuple[SessionProvider, SessionStore]] = []

    def __call__(self, app: object) -> MemoryStore:
        """Exchange the store of an application, whatever it is, for an empty one in memory.

        Returns the new store. Called before the application starts, it keeps the application from
        connecting to the old one.

        Args:
            app: the application; a middleware around it will do.

        Raises:
            SessionUsageError: it has no sessions.
        """
        provider = provider_of(app)
        self._before.append((provider, provider.store))
        store = MemoryStore(max_sessions=provider.settings.max_sessions)
        provider.store = store
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        while self._before:
            provider, store = self._before.pop()
            provider.store = store
