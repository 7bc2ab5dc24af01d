"""What a login must be: a record for the store, made of checked parts. Stores nothing."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypedDict

from fastapi_memsession.errors import SessionDataError, SessionUsageError
from fastapi_memsession.records import SessionRecord, new_session_id
from fastapi_memsession.settings import SessionSettings
from fastapi_memsession.values import check_size, encode_data, plain_text

_LONGEST_AGENT = 256  # characters that are kept of what a client calls itself


class LoginOptions(TypedDict, total=False):
    """The keywords of a login; see `login_session`."""

    claims: Mapping[str, str] | None
    data: Mapping[str, object] | None
    expiration: float | timedelta | None
    max_lifetime: float | timedelta | None
    user_agent: str | None
    address: str | None


def new_record(
    settings: SessionSettings,
    user_id: str,
    *,
    now: float,
    claims: Mapping[str, str] | None = None,
    data: Mapping[str, object] | None = None,
    expiration: float | timedelta | None = None,
    max_lifetime: float | timedelta | None = None,
    user_agent: str | None = None,
    address: str | None = None,
) -> SessionRecord:
    """Make the record of a new session. Takes and raises what `login_session` does."""
    life = longest = settings.max_lifetime.total_seconds()
    if max_lifetime is not None:
        life = _seconds("max_lifetime", max_lifetime, longest)
    idle = settings.expiration.total_seconds()
    if expiration is not None:
        idle = _seconds("expiration", expiration, longest)
    idle = min(idle, life)
    devices = settings.record_devices
    record = SessionRecord(
        user_id=_checked_user_id(user_id),
        session_id=new_session_id(),
        claims=checked_claims(claims or {}),
        data=encode_data(data or {}),
        created_at=now,
        last_seen_at=now,
        expires_at=now + idle,
        deadline=now + life,
        expiration=idle,
        confirmed_at=now,
        user_agent=_printable(user_agent) if devices else None,
        address=_printable(address) if devices else None,
    )
    check_size(record.data, settings.max_data_bytes)
    return record


def device_of(scope: Mapping[str, Any]) -> LoginOptions:
    """Return what the client of an ASGI scope calls itself, and where it comes from."""
    agent: str | None = None
    for name, value in scope["headers"]:
        if name == b"user-agent":
            agent = value.decode("latin-1")
            break
    client = scope.get("client")
    return {"user_agent": agent, "address": client[0] if client else None}


def changed_claims(claims: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return claims after changes, of which None removes one.

    Raises:
        SessionDataError: a claim is no text.
    """
    kept = {name: value for name, value in claims.items() if name not in changes}
    added = {name: value for name, value in changes.items() if value is not None}
    return dict(sorted((kept | checked_claims(added)).items()))


def checked_claims(claims: object) -> dict[str, str]:
    """Return claims that can be signed into a token, sorted by name: so every store keeps them.

    Raises:
        SessionDataError: they are not text by text.
    """
    if type(claims) is not dict and not isinstance(claims, Mapping):
        raise SessionDataError(f"Claims must be a mapping, not a {type(claims).__name__}.")
    checked: dict[str, str] = {}
    for name, value in claims.items():
        if not isinstance(name, str):
            raise _no_text(f"the name {name!r}", name)
        if not isinstance(value, str):
            raise _no_text(f"claim {name!r}", value)
        checked[plain_text(name)] = plain_text(value)
    return dict(sorted(checked.items())) if len(checked) > 1 else checked


def _no_text(what: str, value: object) -> SessionDataError:
    return SessionDataError(
        f"Claims are text by text, but {what} is of type {type(value).__name__}; use str(...), or "
        "put it into the session's data."
    )


def _checked_user_id(user_id: object) -> str:
    if not isinstance(user_id, str):
        raise SessionDataError(
            f"user_id must be a str, not {type(user_id).__name__}; use str(...)."
        )
    if not user_id:
        raise SessionDataError("user_id is empty; a session must belong to someone.")
    return plain_text(user_id)


def _seconds(name: str, value: float | timedelta, longest: float) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 < seconds <= longest:
        raise SessionUsageError(
            f"{name} must be more than 0 and at most {longest:.15g} seconds, which is "
            "MEMSESSION_MAX_LIFETIME: the longest that any session may live."
        )
    return float(seconds)  # an enum's member has a repr of its own, which a store may write


def _printable(text: str | None) -> str | None:
    # A client may call itself anything; what is listed must not disturb a terminal or a log.
    if text is None:
        return None
    text = text[:_LONGEST_AGENT]
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "?" for each in text)
