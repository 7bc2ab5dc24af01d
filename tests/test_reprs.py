"""What small classes show of themselves: a repr ends up in logs and traces."""

import inspect
import pkgutil
from dataclasses import is_dataclass
from importlib import import_module

import pytest

import fastapi_memsession

SECRET = {
    "access", "claims", "data", "expected", "fields", "headers", "others", "refresh", "token",
    "value", "values", "version",
}  # fmt: skip


class Named(str):
    """A value that any repr can show."""

    __slots__ = ()

    def __format__(self, _: str) -> str:
        return str(self)


def small_classes():
    for room in pkgutil.walk_packages(fastapi_memsession.__path__, "fastapi_memsession."):
        if room.name.startswith(("fastapi_memsession.testing", "fastapi_memsession.__main__")):
            continue
        for _, each in inspect.getmembers(import_module(room.name), inspect.isclass):
            if each.__module__ == room.name and (is_dataclass(each) or hasattr(each, "_fields")):
                yield each


@pytest.mark.parametrize("small", list(small_classes()), ids=lambda each: each.__name__)
def test_no_class_shows_tokens_or_data(small):
    """Whatever it keeps under the names of those."""
    names = list(inspect.signature(small).parameters)
    told = repr(small(*(Named(f"<{name}>") for name in names)))
    assert not [name for name in SECRET.intersection(names) if f"<{name}>" in told]
