"""How settings are written in an environment: texts that become durations, lists, names."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, SecretStr, StringConstraints, ValidationError, WrapValidator
from pydantic_settings import NoDecode

from fastapi_memsession.checks import PREFIX


def _duration(value: object, read: Callable[[object], timedelta]) -> timedelta:
    if isinstance(value, str) and re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        value = float(value)
    try:
        return read(value)
    except ValidationError:
        told = "must be seconds (3600), HH:MM:SS (01:00:00) or ISO 8601 (PT1H, P30D)"
        raise ValueError(told) from None


def _several(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _stripped(value: object) -> object:
    """Return a key without blanks at its ends: files of secrets end in a newline."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return text.strip() if isinstance(text, str) else text


def _carriers(value: object) -> object:
    if isinstance(value, str):
        names = [part.strip().lower() for part in value.split(",")]
        return "header,cookie" if sorted(names) == ["cookie", "header"] else ",".join(names)
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _environment(value: object) -> object:
    value = _lower(value)
    if value not in get_args(EnvironmentName):
        raise ValueError(
            f"{value!r} is none of {', '.join(get_args(EnvironmentName))}. A plain ENV is read "
            f"where {PREFIX}ENV is not set: set {PREFIX}ENV to say which of them this is"
        )
    return value


EnvironmentName = Literal["development", "test", "production"]
Environment = Annotated[EnvironmentName, BeforeValidator(_environment)]
Duration = Annotated[timedelta, WrapValidator(_duration)]
"""A timedelta; from the environment a number of seconds, `HH:MM:SS` or ISO 8601 (`P30D`)."""

Carriers = Annotated[Literal["header", "cookie", "header,cookie"], BeforeValidator(_carriers)]
SameSite = Annotated[Literal["lax", "strict", "none"], BeforeValidator(_lower)]
Key = Annotated[SecretStr, BeforeValidator(_stripped)]
Keys = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(_several)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_several)]
Name = Annotated[str, StringConstraints(min_length=1)]
