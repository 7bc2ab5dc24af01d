"""A session whose data have a shape: read as one model, saved by what changed. No HTTP.

It is another handle on a session that is there: all it is and all it does is that session's.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from fastapi_memsession.errors import SessionDataMismatch
from fastapi_memsession.session import Session
from fastapi_memsession.session_data import Baseline
from fastapi_memsession.shapes import DataT, Shape, shape_of
from fastapi_memsession.stores.base import Change, ChangeResult, DeleteValue, SetValue

_REMEMBERED = 16  # models that a session knows the baseline of: a WebSocket may read on for ever


def typed_session(
    session: Session[Any], model: type[DataT], *, fresh: Callable[[], DataT] | None = None
) -> Session[DataT]:
    """Return the same session, whose data have the shape of `model`.

    In endpoints declare `Depends(session_of(model))` instead; this is for a session that comes
    from elsewhere: from `login_session`, or one that may be None.

    Args:
        session: any session.
        model: a Pydantic model, dataclass or TypedDict; each of its fields is a key.
        fresh: makes what to begin anew with where the data do not fit the model.

    Raises:
        SessionUsageError: the model has no fields.
    """
    return TypedSession(session, shape_of(model), fresh)


class TypedSession(Session[DataT]):
    """See `typed_session`."""

    __slots__ = ("_fresh", "_session", "_shape")

    _session: Session[Any]
    _shape: Shape[DataT]
    _fresh: Callable[[], DataT] | None

    def __init__(
        self, session: Session[Any], shape: Shape[DataT], fresh: Callable[[], DataT] | None
    ) -> None:
        own = {"_session": session, "_shape": shape, "_fresh": fresh}
        for name, value in own.items():
            object.__setattr__(self, name, value)

    # The attributes that Session has are empty here, and stay so.

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._session, name, value)

    def __copy__(self) -> "TypedSession[DataT]":
        return TypedSession(self._session, self._shape, self._fresh)

    async def data(self) -> DataT:
        """See Session."""
        self._check_alive()
        try:
            value = self._shape.read(self._record.data)
            fields: Mapping[str, bytes] = self._shape.fields(value)
        except SessionDataMismatch as error:
            if self._fresh is None:
                raise
            # The first save writes all of it, and removes what did not fit.
            value, fields = self._fresh(), self._misfits(error)
        self._remember(value, fields)
        return value

    async def save(self, data: DataT) -> None:
        """See Session."""
        self._check_alive()
        before, after = self._baseline(data), self._shape.write(data)
        changes: list[Change] = [
            SetValue(key, value) for key, value in after.items() if before.get(key) != value
        ]
        changes += [DeleteValue(key) for key in before if key not in after]
        await self._change(*changes)
        self._remember(data, after)

    # A lock is held by one handle: the session itself.

    def store_lock(self, timeout: float) -> AbstractAsyncContextManager[str]:
        """See Session."""
        return self._session.store_lock(timeout)

    @contextmanager
    def under(self, lease: str) -> Iterator[None]:
        """See Session."""
        with self._session.under(lease):
            yield

    async def _change(self, *changes: Change) -> ChangeResult:
        return await self._session._change(*changes)  # noqa: SLF001 - of the same family

    def _baseline(self, data: DataT) -> Mapping[str, bytes]:
        """Return the fields as they were when `data` was read.

        Of a model that was made by the caller, or copied: as they were when one was read last.
        """
        mine = [each for each in self.shared.baselines if each.shape is self._shape]
        for baseline in mine:
            if baseline.value is data:
                return baseline.fields
        if mine:
            return mine[-1].fields
        try:
            return self._shape.fields(self._shape.read(self._record.data))
        except SessionDataMismatch as error:
            return self._misfits(error)

    def _misfits(self, error: SessionDataMismatch) -> Mapping[str, bytes]:
        return {key: self._record.data[key] for key in error.fields if key in self._record.data}

    def _remember(self, value: DataT, fields: Mapping[str, bytes]) -> None:
        baselines = self.shared.baselines
        others = [each for each in baselines if each.value is not value]
        baselines[:] = [*others, Baseline(value, self._shape, fields)][-_REMEMBERED:]
