"""SessionSettings: all that can be configured, and the checks that refuse what is unsafe.

Read from the environment (and `.env`) when the class is called, never at import.
"""

import difflib
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    SettingsConfigDict,
)

from fastapi_memsession.checks import PREFIX, problems_of
from fastapi_memsession.errors import SettingsError
from fastapi_memsession.spellings import (
    Carriers,
    Duration,
    Environment,
    Key,
    Keys,
    Name,
    Origins,
    SameSite,
)

_reading: ContextVar[dict[str, Any]] = ContextVar("memsession_reading")
"""How the settings that are being made read their environment."""


def _plain_env() -> str:
    # Wherever ours stands, it goes before a plain ENV, which may be somebody else's. So that one
    # is no source, but what is taken where no source has ours.
    how = _reading.get()
    for source in (EnvSettingsSource(how["settings_cls"]), DotEnvSettingsSource(**how)):
        if found := source.env_vars.get("env"):
            return found
    return "development"


class SessionSettings(BaseSettings):
    """How sessions behave. Each field is the variable `MEMSESSION_<FIELD>`; durations in seconds.

    An instance is consistent and, if `env` is production, safe: anything else fails to build.

    Raises:
        SettingsError: lists what is wrong, names that are no settings included; quotes no secret.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",  # `.env` holds other programs' variables too; ours are checked below
        frozen=True,
        hide_input_in_errors=True,
    )

    env: Environment = Field(default_factory=_plain_env, validate_default=True)
    """What this process is for; without it a plain `ENV` says, and else it is `development`.
    Production refuses unsafe settings."""
    provider: Literal["auto", "memory", "redis"] = "auto"
    """Where sessions are kept; `auto` is redis in production, memory otherwise."""

    jwt_key: Key | None = None
    """Signs tokens; at least 32 bytes, blanks around it left out. Missing: random per process,
    refused in production."""
    jwt_previous_keys: Keys = ()
    """Keys that still verify and never sign. JSON list, or separated by commas."""
    jwt_algorithm: Literal["HS256", "HS384", "HS512"] = "HS256"
    issuer: Name = "fastapi-memsession"
    audience: Name = "fastapi-memsession"

    expiration: Duration = timedelta(hours=24)
    """Idle: a session dies this long after its last use."""
    max_lifetime: Duration = timedelta(days=30)
    """Absolute: a session dies this long after login, whatever happens."""
    renew_interval: Duration | None = None
    """A use closer than this to the last one is not written down; default `expiration` / 20."""

    refresh: bool = False
    """Log in with a pair of tokens: one that opens the session for `access_expiration`, and one
    that buys the next pair, once."""
    access_expiration: Duration = timedelta(minutes=15)
    """With `refresh`: an access token opens the session for so long."""
    refresh_grace: Duration = timedelta(seconds=10)
    """With `refresh`: a token that was exchanged just now is given the same successor again."""

    carrier: Carriers = "header"
    header_name: str = "Authorization"
    header_scheme: str = "Bearer"
    refresh_header_name: str = "X-Refresh-Token"
    cookie_name: str = "session_token"
    refresh_cookie_name: str = "refresh_token"
    cookie_path: str = "/"
    cookie_domain: str | None = None
    cookie_secure: bool | None = None
    """Send the cookie over HTTPS only; default: in production."""
    cookie_http_only: bool = True
    cookie_samesite: SameSite = "lax"
    trusted_origins: Origins = ()
    """Other origins (`https://app.example.com`) whose pages may send unsafe requests with the
    cookie. JSON list, or separated by commas."""

    cleanup_interval: Duration = timedelta(minutes=5)
    """Between two sweeps of dead sessions."""
    max_sessions: int = Field(default=100_000, ge=1)
    """Memory store: live sessions at most. Past it a login gets 503 and the living stay."""
    max_sessions_per_user: int | None = Field(default=None, ge=1)
    """Past it a login ends the user's oldest session."""
    record_devices: bool = True
    """Keep user agent and address of a login, for a list of devices. (Personal data.)"""
    max_data_bytes: int = Field(default=64 * 1024, ge=1)
    """Bytes of keys and encoded values that one session may hold."""
    snapshot: Path | None = None
    """Memory store, not in production: a file that keeps sessions and random key when stopped."""

    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """`redis://`, `rediss://`, `unix://`, `redis+sentinel://host:port,host:port/service` or
    `redis+cluster://host:port,host:port`; user and password before the first host."""
    redis_prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]+$")] = "memsession"
    """What all our keys in Redis begin with."""
    redis_timeout: Duration = timedelta(seconds=1)
    """Every call of Redis is answered within this time, or fails with 503."""
    near_cache: bool = False
    """Redis: answer from memory for sessions that were loaded lately and did not change since."""
    near_cache_staleness: Duration = timedelta(seconds=1)
    """With `near_cache`: no such answer is older, whether a change was heard of or not."""

    @property
    def store_kind(self) -> Literal["memory", "redis"]:
        """`provider`, with `auto` resolved."""
        if self.provider == "auto":
            return "redis" if self.env == "production" else "memory"
        return self.provider

    @property
    def secure_cookie(self) -> bool:
        """`cookie_secure`, with its default resolved."""
        return self.env == "production" if self.cookie_secure is None else self.cookie_secure

    @property
    def wire_cookie_name(self) -> str:
        """The cookie's name as browsers see it: see `_on_the_wire`."""
        return self._on_the_wire(self.cookie_name)

    @property
    def wire_refresh_cookie_name(self) -> str:
        """The name of the refresh token's cookie, likewise."""
        return self._on_the_wire(self.refresh_cookie_name)

    @property
    def renew_seconds(self) -> float:
        """`renew_interval` in seconds, with its default resolved."""
        if self.renew_interval is None:
            return self.expiration.total_seconds() / 20
        return self.renew_interval.total_seconds()

    def _on_the_wire(self, name: str) -> str:
        """Return a cookie's name as browsers see it.

        With the prefix `__Host-` wherever a browser would accept it: it then also guarantees
        that no sibling domain and no plain-HTTP page planted the cookie (RFC 6265bis 4.1.3.2);
        else with `__Secure-`, which guarantees the latter (4.1.3.1).
        """
        if not self.secure_cookie or name.startswith(("__Host-", "__Secure-")):
            return name
        host_only = self.cookie_path == "/" and self.cookie_domain is None
        return f"__Host-{name}" if host_only else f"__Secure-{name}"

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> Self:
        if problems := problems_of(self):
            raise ValueError("\n- ".join(["these settings are wrong or unsafe:", *problems]))
        return self

    if not TYPE_CHECKING:  # type checkers know the fields as arguments

        def __init__(self, **values: Any) -> None:
            faults = _unknown_names(type(self), values)
            try:
                self._read(values)
            except ValidationError as error:
                faults += _told(_faults_of(error))
            if faults:  # raised out here, it does not hold the other error, which holds the input
                raise SettingsError("\n".join(faults))

    def _read(self, values: dict[str, Any]) -> None:
        how = {"settings_cls": type(self)}
        how |= {"env_file": values["_env_file"]} if "_env_file" in values else {}
        before = _reading.set(how)
        try:
            super().__init__(**values)
        finally:
            _reading.reset(before)


class _Unrefused(SessionSettings):
    """Settings to look at, whatever is wrong with them; not to be used."""

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> Self:
        return self

    def __init__(self, **values: Any) -> None:
        self._read(values)


def examine_settings(**values: Any) -> tuple[SessionSettings, list[str]]:
    """Return the settings as far as they can be read, and all that is wrong with them.

    What cannot be read stands there with its default. Arguments go before the environment. The
    settings are for a look, not for use; quotes no secret.
    """
    told = _unknown_names(SessionSettings, values)
    while True:
        try:
            settings = _Unrefused(**values)
        except ValidationError as error:
            faults = _faults_of(error)
            told += _told(faults)
            for name, _ in faults:
                field = SessionSettings.model_fields[name]
                values[name] = "development" if name == "env" else field.default
        else:
            return settings, told + problems_of(settings)


def _faults_of(error: ValidationError) -> list[tuple[str, str]]:
    """Return field and text of each fault; an empty field if it is the settings as a whole."""
    return [
        (str((*fault["loc"], "")[0]), fault["msg"].removeprefix("Value error, "))
        for fault in error.errors()
    ]


def _told(faults: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{_as_variable(name)}: {text}" if name else text for name, text in faults]


def _unknown_names(settings: type[SessionSettings], arguments: Iterable[str]) -> list[str]:
    """Tell the arguments, and variables with our prefix, that are no settings: likely typos."""
    fields = settings.model_fields
    variables = {*EnvSettingsSource(settings).env_vars, *DotEnvSettingsSource(settings).env_vars}
    prefix = PREFIX.lower()
    ours = sorted(name.removeprefix(prefix) for name in variables if name.startswith(prefix))
    found: list[tuple[str, Callable[[str], str]]] = [
        *((name, str) for name in arguments if name not in fields and name[0] != "_"),
        *((name, _as_variable) for name in ours if name not in fields),
    ]
    told = []
    for name, spell in found:
        near = difflib.get_close_matches(name, fields, 1)
        hint = f" (did you mean {spell(near[0])}?)" if near else ""
        told.append(f"No such setting: {spell(name)}{hint}.")
    return told


def _as_variable(name: str) -> str:
    return PREFIX + name.upper()
