"""setup_sessions: puts the pieces together, once for each application.

The only room that sees all the others.
"""

import logging
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from fastapi_memsession.answers import Answers
from fastapi_memsession.carriers import (
    CompositeCarrier,
    CookieCarrier,
    HeaderCarrier,
    TokenCarrier,
)
from fastapi_memsession.checks import KEY_BYTES, MAKE_A_KEY
from fastapi_memsession.clock import Clock, system_clock
from fastapi_memsession.errors import SessionUsageError
from fastapi_memsession.middleware import ConnectionMiddleware
from fastapi_memsession.openapi import describe
from fastapi_memsession.provider import SessionProvider
from fastapi_memsession.settings import SessionSettings
from fastapi_memsession.stores.base import SessionStore
from fastapi_memsession.stores.chosen import store_of
from fastapi_memsession.strangers import WatchfulTokenCodec
from fastapi_memsession.tokens import TokenCodec

if TYPE_CHECKING:
    from fastapi_memsession.stores.snapshot import SnapshotStore

logger = logging.getLogger("fastapi_memsession")


def setup_sessions(
    app: FastAPI,
    settings: SessionSettings | None = None,
    *,
    store: SessionStore | None = None,
    carrier: TokenCarrier | None = None,
    refresh_carrier: TokenCarrier | None = None,
    clock: Callable[[], float] | None = None,
) -> SessionProvider:
    """Give an application sessions. Call it once, before the application starts.

    Adds one middleware, which also starts and stops the clean-up with the application's lifespan.
    Mounted applications share the sessions, unless they are set up themselves. The provider is
    also at `app.state.sessions`. The API's description tells which endpoints need a session.

    Args:
        app: the application.
        settings: default: read from the environment (`MEMSESSION_*`) and `.env`.
        store: where sessions are kept; default: what the settings name.
        carrier: how access tokens travel; default: what the settings name.
        refresh_carrier: how refresh tokens travel, if the settings ask for them; default: as the
            access tokens do, by a header or cookie of their own.
        clock: returns seconds since the epoch; default `time.time`.

    Raises:
        SettingsError: the settings are wrong or unsafe; lists all that is.
        SessionUsageError: the application is set up or started already.
    """
    if hasattr(app.state, "sessions"):
        twice = isinstance(app.state.sessions, SessionProvider)
        raise SessionUsageError(
            "setup_sessions() was called twice for this application."
            if twice
            else "app.state.sessions is where setup_sessions() keeps its provider; it is taken."
        )
    carriers = (carrier, TokenCarrier), (refresh_carrier, TokenCarrier)
    for given, protocol in ((store, SessionStore), *carriers):
        if given is not None and not isinstance(given, protocol):
            raise SessionUsageError(f"A {type(given).__name__} is no {protocol.__name__}.")
    if app.middleware_stack is not None:
        raise SessionUsageError(
            "setup_sessions() was called after the application started; "
            "call it where the application is made."
        )
    settings = settings or SessionSettings()
    if refresh_carrier is not None and not settings.refresh:
        raise SessionUsageError(
            "setup_sessions() was given a carrier for refresh tokens, which the settings do not "
            "ask for; set MEMSESSION_REFRESH=true."
        )
    clock = system_clock if clock is None else Clock(_in_floats(clock))
    snapshot = None
    if store is None:
        _warn_of_unused_redis(settings)
        if settings.snapshot is not None:
            snapshot = _snapshot(settings.snapshot, settings, clock)
    provider = SessionProvider(
        settings,
        store=store or snapshot or store_of(settings),
        carrier=carrier or _carrier(settings),
        refresh_carrier=(refresh_carrier or _refresh_carrier(settings))
        if settings.refresh
        else None,
        tokens=_tokens(settings, _key(settings, snapshot), clock),
        clock=clock,
    )
    answers = Answers(settings.header_scheme)
    answers.register(app.exception_handlers)
    describing = partial(describe, app, provider.carrier, provider.refresh_carrier)
    describing()
    # Once more when all is there: the application may describe itself, or mount others, later.
    app.add_middleware(ConnectionMiddleware, provider=provider, answers=answers, prepare=describing)
    app.state.sessions = provider
    return provider


def _in_floats(clock: Callable[[], float]) -> Callable[[], float]:
    # One that returns ints is a clock, too; but Redis brings back floats.
    return lambda: float(clock())


def _carrier(settings: SessionSettings) -> TokenCarrier:
    header = HeaderCarrier(settings.header_name, settings.header_scheme)
    cookie = _cookie(settings, settings.wire_cookie_name, http_only=settings.cookie_http_only)
    return _chosen(settings, header, cookie)


def _refresh_carrier(settings: SessionSettings) -> TokenCarrier:
    # No script has any use for a refresh token: its cookie is hidden whatever the settings say.
    cookie = _cookie(settings, settings.wire_refresh_cookie_name, http_only=True)
    return _chosen(settings, HeaderCarrier(settings.refresh_header_name, subprotocol=None), cookie)


def _cookie(settings: SessionSettings, name: str, *, http_only: bool) -> CookieCarrier:
    return CookieCarrier(
        name,
        path=settings.cookie_path,
        domain=settings.cookie_domain,
        secure=settings.secure_cookie,
        http_only=http_only,
        samesite=settings.cookie_samesite,
    )


def _chosen(
    settings: SessionSettings, header: HeaderCarrier, cookie: CookieCarrier
) -> TokenCarrier:
    if settings.carrier == "header":
        return header
    return cookie if settings.carrier == "cookie" else CompositeCarrier(header, cookie)


def _snapshot(path: Path, settings: SessionSettings, clock: Callable[[], float]) -> "SnapshotStore":
    # Here and not at the top: most applications leave no such file.
    from fastapi_memsession.stores.snapshot import SnapshotStore  # noqa: PLC0415

    return SnapshotStore(
        path,
        issuer=settings.issuer,
        audience=settings.audience,
        max_sessions=settings.max_sessions,
        clock=clock,
    )


def _warn_of_unused_redis(settings: SessionSettings) -> None:
    chosen = settings.provider == "auto" and "redis_url" in settings.model_fields_set
    if chosen and settings.env == "development":
        logger.warning(
            "MEMSESSION_REDIS_URL is set, but sessions are kept in memory, which is what "
            "MEMSESSION_PROVIDER=auto means in development. To keep them in Redis: "
            "export MEMSESSION_PROVIDER=redis"
        )


def _key(settings: SessionSettings, snapshot: "SnapshotStore | None") -> bytes:
    if settings.jwt_key is not None:
        return settings.jwt_key.get_secret_value().encode()
    key = secrets.token_urlsafe(KEY_BYTES)
    if snapshot is not None:
        key = snapshot.key_or(key)
    elif settings.env == "development":
        logger.warning(
            "MEMSESSION_JWT_KEY is not set: tokens are signed with a random key of this process. "
            "A restart logs everyone out, and other workers refuse these tokens. To have one key: "
            "export MEMSESSION_JWT_KEY=$(%s)",
            MAKE_A_KEY,
        )
    return key.encode()


def _tokens(settings: SessionSettings, key: bytes, clock: Callable[[], float]) -> TokenCodec:
    # Nothing lives longer than a session may, and with refresh tokens an access token less.
    access_life = settings.max_lifetime
    if settings.refresh:
        access_life = min(settings.access_expiration, access_life)
    codec = TokenCodec if settings.env == "production" else WatchfulTokenCodec
    return codec(
        key,
        previous_keys=[each.get_secret_value().encode() for each in settings.jwt_previous_keys],
        algorithm=settings.jwt_algorithm,
        issuer=settings.issuer,
        audience=settings.audience,
        access_life=access_life.total_seconds(),
        max_lifetime=settings.max_lifetime.total_seconds(),
        clock=clock,
    )
