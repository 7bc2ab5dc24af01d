"""The shape of a session's data: fields as values by key, and back. Knows Pydantic, no session.

Each field of a model is a key of its own, by its alias if it has one: requests that change
different fields change different keys.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, get_origin

from pydantic import BaseModel, RootModel, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from fastapi_memsession.errors import SessionDataError, SessionDataMismatch, SessionUsageError
from fastapi_memsession.values import check_key, encode_value, same

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # type checkers bring it along

    DataT = TypeVar("DataT", default=Any)
else:
    from typing import TypeVar

    DataT = TypeVar("DataT")


class Shape(Generic[DataT]):
    """Reads data into a model, and writes a model as data.

    Args:
        model: a Pydantic model, dataclass or TypedDict.
    """

    __slots__ = ("_adapter", "_derived", "_name")

    def __init__(self, model: type[DataT]) -> None:
        kind: Any = get_origin(model) or model
        self._name = kind.__name__
        self._adapter: TypeAdapter[DataT] = TypeAdapter(model)
        decorators = getattr(kind, "__pydantic_decorators__", None)
        self._derived = set(decorators.computed_fields) if decorators else None

    def read(self, data: Mapping[str, bytes]) -> DataT:
        """Return the data as the model says.

        Raises:
            SessionDataMismatch: they do not fit. Names fields, and quotes no values.
        """
        document = b",".join(
            b"%b:%b" % (to_json(key), value) for key, value in sorted(data.items())
        )
        try:
            return self._adapter.validate_json(b"{%b}" % document)
        except ValidationError as error:
            faults = _faults(error)
        raise SessionDataMismatch(
            f"The data of the session do not fit {self._name}: {_listed(faults)}. Give new fields "
            "a default; or say what to begin anew with, session_of(..., fresh=...).",
            fields=tuple(faults),
        )

    def fields(self, value: DataT) -> dict[str, bytes]:
        """Return the fields of what was read, encoded, by key."""
        return {key: to_json(field) for key, field in self._dumped(value).items()}

    def write(self, value: DataT) -> dict[str, bytes]:
        """Return the fields of a model, encoded, by key, once it is sure that they can be read.

        Raises:
            SessionDataError: they cannot. Names fields, and quotes no values.
        """
        faults = {}
        try:
            dumped = self._dumped(value)
            back = self._adapter.validate_json(to_json(dumped))
        except ValidationError as error:
            faults = _faults(error)
        except Exception:  # a serializer of the user's may raise anything, and quote the value
            raise SessionDataError(f"This {self._name} cannot be written as JSON.") from None
        else:
            if same(back, value):
                return {check_key(key): encode_value(field) for key, field in dumped.items()}
        reason = _listed(faults) or (
            "it holds a secret, NaN, or something that its own rules leave out or alter"
        )
        raise SessionDataError(
            f"A {type(value).__name__} would not come back from the session as the {self._name} "
            f"that it is now: {reason}."
        )

    def _dumped(self, value: DataT) -> dict[str, Any]:
        document = self._adapter.dump_json(
            value, by_alias=True, exclude=self._derived, warnings=False
        )
        dumped: dict[str, Any] = from_json(document)
        return dumped


def shape_of(model: type[DataT]) -> Shape[DataT]:
    """Return the shape of a model; the same for the same model.

    Raises:
        SessionUsageError: it has no fields.
    """
    kind: Any = get_origin(model) or model
    if not isinstance(kind, type) or not (
        (issubclass(kind, BaseModel) and not issubclass(kind, RootModel))
        or is_dataclass(kind)
        or hasattr(kind, "__total__")  # a TypedDict, whichever module's
    ):
        raise SessionUsageError(
            "What was given has no fields that could be the keys of a session; give a Pydantic "
            "model, a dataclass or a TypedDict."
        )
    hashable: Any = model
    return _shape_of(hashable)


@lru_cache(maxsize=256)
def _shape_of(model: Any) -> Shape[Any]:
    return Shape(model)


def _faults(error: ValidationError) -> dict[str, str]:
    """Return the fields that are at fault, and how. What is inside a field may tell of values."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return {str(fault["loc"][0]) if fault["loc"] else "": fault["type"] for fault in faults}


def _listed(faults: Mapping[str, str]) -> str:
    # A field may be a key that some client chose, and what is told stands in the log, too.
    named = ((repr(field)[1:-1] or "all of it", fault) for field, fault in faults.items())
    return ", ".join(f"{field} ({fault})" for field, fault in named)
