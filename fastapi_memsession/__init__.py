"""Server-side sessions for FastAPI by dependency injection.

The porch: everything public is named here, but for what only a store of your own
needs, which is in stores/base.py. Behind it, rooms in the order in which they may
know of each other; none looks further down:

    errors.py         the SessionError tree
    base64url.py      bytes as text, in tokens and ids
    clock.py          the time, as an application is told it
    checks.py         refuse settings that cannot work or are unsafe
    spellings.py      how settings are written in an environment
    audit.py          what an auditor would ask about those that are accepted
    settings.py       SessionSettings
    records.py        frozen values: Claims, SessionRecord, SessionInfo, TokenPair
    events.py         what happens to sessions, for whoever watches
    values.py         the one codec of stored values
    shapes.py         models as values by key, and back
    threads.py        blocking calls of async code
    deadline.py       a time within which a block must end
    keys.py           a key that signs and verifies tokens; jose's, prepared once
    tokens.py         claims to JWT and back; imports jose, which else only keys.py does
    strangers.py      says, while you develop, that another process signed a token
    carriers.py       how a token travels: header, cookie, both
    shown.py          by what a client that comes again is known
    stores/           the store contract, and the stores that keep it
    unbroken.py       work that is done to its end
    interruption.py   interrupts a block of code
    watches.py        who is to be interrupted when a session ends, and when
    session_data.py   the data of a session: reads, and writes that are done
    session_life.py   what runs while a session lives
    session.py        Session: what an endpoint works with
    opening.py        opens the session of a token, at a glance if it was opened lately
    sync_session.py   SyncSession: the same for `def` endpoints
    typed_session.py  Session[Model]: data of a shape
    logins.py         the record that a login makes, of checked parts
    issuer.py         the tokens of a session, and how they reach the client
    caching.py        what a response says to caches
    claims.py         changing the claims of live sessions
    provider.py       SessionProvider: log in, open, renew, end, clean up
    cleanup.py        the loop that sweeps
    origins.py        the cross-origin rule
    answers.py        errors to HTTP answers
    openapi.py        what the API's description says of sessions
    response.py       what a response tells the client, and what waits for it
    connection.py     the session of one connection, and what its response tells
    middleware.py     gives each connection its state; follows the lifespan
    dependencies.py   get_session and its kin
    sync_dependencies.py  get_sync_session and its kin
    gates.py          require: who may do what an endpoint does
    routes.py         session_router: renew, log out, devices
    setup.py          setup_sessions: puts the pieces together
    commands.py       the command line: `python -m fastapi_memsession`
    testing/          for tests of applications, and of stores; imported by nothing here

A request walks: middleware -> dependencies -> connection -> provider -> carriers -> tokens ->
stores -> session.
"""

from fastapi_memsession.carriers import (
    CompositeCarrier,
    CookieCarrier,
    Credential,
    HeaderCarrier,
    TokenCarrier,
)
from fastapi_memsession.dependencies import (
    CurrentSession,
    OptionalSession,
    get_optional_session,
    get_provider,
    get_session,
    login_session,
    logout_session,
    peek_session,
    renew_session,
    session_of,
)
from fastapi_memsession.errors import (
    CredentialConflict,
    CrossOriginRefused,
    EndReason,
    InvalidToken,
    LockTimeout,
    NotAuthenticated,
    NotPermitted,
    SessionDataError,
    SessionDataMismatch,
    SessionEnded,
    SessionError,
    SessionIdTaken,
    SessionTooLarge,
    SessionUsageError,
    SettingsError,
    StoreFull,
    StoreUnavailable,
    TokenExpired,
)
from fastapi_memsession.events import SessionEvent
from fastapi_memsession.gates import require
from fastapi_memsession.provider import SessionProvider
from fastapi_memsession.records import (
    Claims,
    SessionInfo,
    SessionKey,
    SessionRecord,
    SessionStats,
    TokenPair,
)
from fastapi_memsession.routes import session_router
from fastapi_memsession.session import Session
from fastapi_memsession.settings import SessionSettings
from fastapi_memsession.setup import setup_sessions
from fastapi_memsession.stores.base import SessionStore
from fastapi_memsession.stores.memory import MemoryStore
from fastapi_memsession.sync_dependencies import (
    CurrentSyncSession,
    OptionalSyncSession,
    get_optional_sync_session,
    get_sync_session,
    login_session_sync,
    logout_session_sync,
    renew_session_sync,
    sync_session_of,
)
from fastapi_memsession.sync_session import SyncSession
from fastapi_memsession.typed_session import typed_session

__version__ = "0.1.0"

__all__ = [
    "Claims",
    "CompositeCarrier",
    "CookieCarrier",
    "Credential",
    "CredentialConflict",
    "CrossOriginRefused",
    "CurrentSession",
    "CurrentSyncSession",
    "EndReason",
    "HeaderCarrier",
    "InvalidToken",
    "LockTimeout",
    "MemoryStore",
    "NotAuthenticated",
    "NotPermitted",
    "OptionalSession",
    "OptionalSyncSession",
    "Session",
    "SessionDataError",
    "SessionDataMismatch",
    "SessionEnded",
    "SessionError",
    "SessionEvent",
    "SessionIdTaken",
    "SessionInfo",
    "SessionKey",
    "SessionProvider",
    "SessionRecord",
    "SessionSettings",
    "SessionStats",
    "SessionStore",
    "SessionTooLarge",
    "SessionUsageError",
    "SettingsError",
    "StoreFull",
    "StoreUnavailable",
    "SyncSession",
    "TokenCarrier",
    "TokenExpired",
    "TokenPair",
    "get_optional_session",
    "get_optional_sync_session",
    "get_provider",
    "get_session",
    "get_sync_session",
    "login_session",
    "login_session_sync",
    "logout_session",
    "logout_session_sync",
    "peek_session",
    "renew_session",
    "renew_session_sync",
    "require",
    "session_of",
    "session_router",
    "setup_sessions",
    "sync_session_of",
    "typed_session",
]
