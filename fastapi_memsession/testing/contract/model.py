"""What a store does, on plain values and too simple to be wrong. Knows the contract, no store."""

from typing import Any

from fastapi_memsession import SessionDataError, SessionKey, SessionRecord, SessionTooLarge
from fastapi_memsession.stores.base import (
    LOGIN_SECONDS,
    CompareAndSet,
    DeleteValue,
    Increment,
    SetDefault,
    SetValue,
)
from fastapi_memsession.values import decode_value, encode_value

MAX_BYTES = 40
COMPARED = (
    "claims", "created_at", "last_seen_at", "expires_at", "deadline", "confirmed_at",
    "user_agent", "generation", "used_generation", "rotated_at",
)  # fmt: skip


class Model:
    """One session: a dict of plain values, and fields that may be written."""

    claims: Any
    created_at: float
    last_seen_at: float
    expires_at: float
    deadline: float
    confirmed_at: float
    user_agent: str | None
    generation: int
    used_generation: int
    rotated_at: float

    def __init__(self, record: SessionRecord) -> None:
        self.user_id = record.user_id
        self.data = {key: decode_value(value) for key, value in record.data.items()}
        self.expiration = record.expiration
        for name in COMPARED:
            setattr(self, name, getattr(record, name))

    def use(self, now: Any) -> None:
        self.last_seen_at = now
        self.expires_at = min(now + self.expiration, self.deadline)

    def matches(self, record: Any) -> bool:
        data = {key: decode_value(value) for key, value in record.data.items()}
        return data == self.data and all(
            getattr(self, name) == getattr(record, name) for name in COMPARED
        )


class Sessions:
    """All sessions there are, and why others are no more."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.models: dict[SessionKey, Model] = {}
        self.endings: dict[SessionKey, tuple[str, float]] = {}
        self.successors: dict[SessionKey, SessionKey] = {}
        self.revoked: dict[str, float] = {}
        self._turns = 0

    def live(self, key: SessionKey) -> Model | None:
        model = self.models.get(key)
        return model if model and self.now < model.expires_at else None

    def mostly_live(self, key: SessionKey) -> SessionKey:
        """Return the key; three times of four that of a session that lives, if there is one."""
        self._turns += 1
        living = [each for each in self.models if self.live(each)]
        return key if key in living or not living or self._turns % 4 == 0 else living[-1]

    def of_user(self, user: Any) -> list[SessionKey]:
        mine = [key for key in self.models if key.user_id == user and self.live(key)]
        return sorted(mine, key=lambda key: (self.models[key].created_at, key))

    def end(self, key: SessionKey, reason: Any) -> None:
        self.endings[key] = reason, self.models.pop(key).deadline

    def latest(self, key: SessionKey) -> SessionKey:
        while key in self.successors:
            key = self.successors[key]
        return key

    def successor(self, key: SessionKey) -> str | None:
        latest = self.latest(key)
        return latest.session_id if latest != key and self.reason(key) else None

    def reason(self, key: SessionKey) -> str | None:
        reason, deadline = self.endings.get(key, (None, 0.0))
        return reason if self.now < deadline else None

    def stops(self, user: Any, since: Any) -> bool:
        revoked_at = self.revoked.get(user, float("-inf"))
        return since is not None and since < revoked_at and self.now - revoked_at < LOGIN_SECONDS

    def rotate(self, key: SessionKey, generation: Any, grace: Any) -> str:
        model = self.live(key)
        if model is None or not 0 <= generation <= model.generation:
            return "gone"
        if generation == model.generation:
            model.generation, model.used_generation = generation + 1, generation
            model.rotated_at = self.now
            model.use(self.now)
            return "rotated"
        fresh = self.now - model.rotated_at < grace
        if generation == model.generation - 1 and (fresh or model.used_generation <= generation):
            model.use(self.now)
            return "repeated"
        self.end(key, "reused")
        return "reused"


def expect(data: Any, changes: Any) -> Any:
    """Apply changes to plain values, by the words of the contract."""
    before, values = dict(data), []
    for change in changes:
        key = change.key
        match change:
            case DeleteValue():
                values.append(data.pop(key, None))
                continue
            case SetValue():
                data[key] = decode_value(change.value)
            case SetDefault():
                data.setdefault(key, decode_value(change.value))
            case Increment():
                if type(data.get(key, 0)) not in (int, float):
                    raise SessionDataError("not a number")
                data[key] = data.get(key, 0) + change.by
                if type(data[key]) is int and not -(2**63) <= data[key] < 2**63:
                    raise SessionDataError("out of range")
            case CompareAndSet():
                if data.get(key) != decode_value(change.expected):
                    return False, [before.get(c.key) for c in changes], before
                data[key] = decode_value(change.value)
        values.append(data[key])
    size = sum(len(key.encode()) + len(encode_value(value)) for key, value in data.items())
    if size > MAX_BYTES:
        raise SessionTooLarge("too large", size=size, limit=MAX_BYTES)
    return True, values, data
