"""The checks that refuse settings which cannot work or, in production, are unsafe.

Each check yields a sentence for every fault it finds, so that all are told at once. None quotes
a secret.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi_memsession.settings import SessionSettings

PREFIX = "MEMSESSION_"
MIN_KEY_BYTES = 32  # RFC 7518 section 3.2, for HS256; enough for its larger siblings too
MAKE_A_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'

_FEW_CHARACTERS = 8  # a random key of 32 characters has more different ones than this
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_COOKIE_PATH = re.compile(r"/[!-:<-~]*")
_COOKIE_DOMAIN = re.compile(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?")
_TAKEN_HEADERS = frozenset({"cookie", "set-cookie", "host", "content-length"})


def problems_of(settings: "SessionSettings") -> list[str]:
    """Return what is wrong with the settings; an empty list if nothing is."""
    checks = [_weak_keys, _odd_times, _odd_names, _odd_cookies, _odd_origins]
    if settings.env == "production":
        checks += [_guessable_key, _exposed_cookies]
    return [PREFIX + problem for check in checks for problem in check(settings)]


def _weak_keys(settings: "SessionSettings") -> Iterator[str]:
    keys = [("JWT_KEY", settings.jwt_key)] if settings.jwt_key is not None else []
    keys += [("JWT_PREVIOUS_KEYS", key) for key in settings.jwt_previous_keys]
    for name, key in keys:
        # A variable that is not UTF-8 arrives with surrogates.
        size = len(key.get_secret_value().encode(errors="surrogateescape"))
        if size < MIN_KEY_BYTES:
            yield (
                f"{name} has a key of {size} bytes, at least {MIN_KEY_BYTES} are needed; "
                f"make one: {MAKE_A_KEY}"
            )


def _odd_times(settings: "SessionSettings") -> Iterator[str]:
    zero = timedelta()
    for name in ("expiration", "max_lifetime", "cleanup_interval"):
        if getattr(settings, name) <= zero:
            yield f"{name.upper()} must be more than zero seconds"
    if settings.expiration > settings.max_lifetime:
        yield f"EXPIRATION is longer than {PREFIX}MAX_LIFETIME, which ends every session"
    interval = settings.renew_interval
    if interval is not None and not zero <= interval < settings.expiration:
        yield f"RENEW_INTERVAL must be at least zero and shorter than {PREFIX}EXPIRATION"


def _odd_names(settings: "SessionSettings") -> Iterator[str]:
    for name in ("header_name", "header_scheme", "cookie_name"):
        if not _TOKEN.fullmatch(getattr(settings, name)):
            yield f"{name.upper()} has a character that HTTP does not allow there"
    if settings.header_name.lower() in _TAKEN_HEADERS:
        yield f"HEADER_NAME cannot be {settings.header_name}, which HTTP itself uses"


def _odd_cookies(settings: "SessionSettings") -> Iterator[str]:
    domain, path, name = settings.cookie_domain, settings.cookie_path, settings.cookie_name
    if not _COOKIE_PATH.fullmatch(path):
        yield "COOKIE_PATH must start with / and hold no space and no semicolon"
    if domain is not None and not _COOKIE_DOMAIN.fullmatch(domain):
        yield "COOKIE_DOMAIN is not a domain name"
    if settings.cookie_samesite == "none" and not settings.secure_cookie:
        yield f"COOKIE_SAMESITE is none, which browsers take with {PREFIX}COOKIE_SECURE=true only"
    if name.startswith(("__Host-", "__Secure-")) and not settings.secure_cookie:
        yield f"COOKIE_NAME has a prefix that needs {PREFIX}COOKIE_SECURE=true"
    if name.startswith("__Host-") and (path != "/" or domain is not None):
        yield "COOKIE_NAME starts with __Host-, which needs path / and no domain"


def _odd_origins(settings: "SessionSettings") -> Iterator[str]:
    for origin in settings.trusted_origins:
        if not _ORIGIN.fullmatch(origin):
            yield f"TRUSTED_ORIGINS has {origin!r}, not an origin such as https://app.example.com"


def _guessable_key(settings: "SessionSettings") -> Iterator[str]:
    if settings.jwt_key is None:
        yield f"JWT_KEY is missing; make one and give it to every worker: {MAKE_A_KEY}"
    elif len(set(settings.jwt_key.get_secret_value())) < _FEW_CHARACTERS:
        yield f"JWT_KEY repeats a few characters and can be guessed; make one: {MAKE_A_KEY}"


def _exposed_cookies(settings: "SessionSettings") -> Iterator[str]:
    if settings.carrier == "header":
        return
    if not settings.secure_cookie:
        yield "COOKIE_SECURE is false, which sends sessions over plain HTTP"
    if not settings.cookie_http_only:
        yield "COOKIE_HTTP_ONLY is false, which lets any script on the page read the session"
    for origin in settings.trusted_origins:
        if origin.startswith("http://"):
            yield f"TRUSTED_ORIGINS trusts {origin}, which anyone on the network can speak for"
