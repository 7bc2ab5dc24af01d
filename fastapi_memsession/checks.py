"""The checks that refuse settings which cannot work or, in production, are unsafe.

Each check yields a sentence for every fault it finds, so that all are told at once. None quotes
a secret.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi_memsession.settings import SessionSettings

PREFIX = "MEMSESSION_"
MIN_KEY_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518 section 3.2
KEY_BYTES = 64  # of a random key: enough for every algorithm
MAKE_A_KEY = "python -m fastapi_memsession key"

_FEW_CHARACTERS = 8  # a random key of 32 characters has more different ones than this
# Words of templates. A random key of 86 characters, case and separators aside, holds one of eight
# letters with a chance of 76 * (2 / 62) ** 8, which is 9e-11; all of these together of 5e-10.
_TEMPLATE = re.compile(
    r"password|changeme|changeit|changethis|mysecret|yoursecret|jwtsecret|supersecret|topsecret"
    r"|secretkey|secretsecret|insecure|placeholder|replaceme|examplekey|defaultkey"
)
# Shorter ones count in keys of one case alone, which 7e-20 of those are.
_TEMPLATE_WORD = re.compile(r"secret|change|example|default|your[ _-]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_COOKIE_PATH = re.compile(r"/[!-:<-~]*")
_COOKIE_DOMAIN = re.compile(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?")
_TAKEN_HEADERS = re.compile(
    r"(accept|access-control|content|if|proxy|sec|x-forwarded)-.*|accept|age|allow|cache-control"
    r"|connection|cookie|date|etag|expect|expires|forwarded|from|host|keep-alive|last-modified"
    r"|link|location|origin|pragma|range|referer|retry-after|server|set-cookie|te|trailer"
    r"|transfer-encoding|upgrade|user-agent|vary|via|www-authenticate"
)


def problems_of(settings: "SessionSettings") -> list[str]:
    """Return what is wrong with the settings; an empty list if nothing is."""
    checks = [
        _weak_keys, _odd_times, _odd_names, _odd_cookies, _odd_origins, _odd_snapshot,
        _needless_near_cache,
    ]  # fmt: skip
    if settings.env == "production":
        checks += [_guessable_key, _exposed_cookies]
    return [PREFIX + problem for check in checks for problem in check(settings)]


def _keys(settings: "SessionSettings") -> Iterator[tuple[str, str]]:
    if settings.jwt_key is not None:
        yield "JWT_KEY", settings.jwt_key.get_secret_value()
    for key in settings.jwt_previous_keys:
        yield "JWT_PREVIOUS_KEYS", key.get_secret_value()


def _weak_keys(settings: "SessionSettings") -> Iterator[str]:
    least = MIN_KEY_BYTES[settings.jwt_algorithm]
    for name, key in _keys(settings):
        size = len(key.encode(errors="replace"))
        if size < least:
            yield (
                f"{name} has a key of {size} bytes, {settings.jwt_algorithm} needs at least "
                f"{least}; make one: {MAKE_A_KEY}"
            )
        elif any("\ud800" <= character <= "\udfff" for character in key):
            yield f"{name} has a key that is not UTF-8; make one: {MAKE_A_KEY}"
        elif key.startswith("ssh-") or "-----BEGIN " in key:
            yield f"{name} holds a key file, not a shared secret; make one: {MAKE_A_KEY}"


def _odd_times(settings: "SessionSettings") -> Iterator[str]:
    zero = timedelta()
    times = (
        "expiration", "max_lifetime", "access_expiration", "cleanup_interval", "redis_timeout",
        "near_cache_staleness",
    )  # fmt: skip
    for name in times:
        if getattr(settings, name) <= zero:
            yield f"{name.upper()} must be more than zero seconds"
    if settings.expiration > settings.max_lifetime:
        yield f"EXPIRATION is longer than {PREFIX}MAX_LIFETIME, which ends every session"
    if settings.refresh_grace < zero:
        yield "REFRESH_GRACE must not be less than zero seconds"
    interval = settings.renew_interval
    if interval is not None and not zero <= interval < settings.expiration:
        yield f"RENEW_INTERVAL must be at least zero and shorter than {PREFIX}EXPIRATION"


def _odd_names(settings: "SessionSettings") -> Iterator[str]:
    names = "header_name", "header_scheme", "cookie_name"
    for name in (*names, "refresh_header_name", "refresh_cookie_name"):
        if not _TOKEN.fullmatch(getattr(settings, name)):
            yield f"{name.upper()} has a character that HTTP does not allow there"
    for name in ("header_name", "refresh_header_name"):
        if _TAKEN_HEADERS.fullmatch(getattr(settings, name).lower()):
            yield f"{name.upper()} cannot be {getattr(settings, name)}, which HTTP itself uses"
    if settings.refresh_header_name.lower() == settings.header_name.lower():
        yield f"REFRESH_HEADER_NAME is {PREFIX}HEADER_NAME; each token needs a header of its own"
    if settings.wire_refresh_cookie_name == settings.wire_cookie_name:
        yield (
            f"REFRESH_COOKIE_NAME is {PREFIX}COOKIE_NAME, with the prefix that browsers see; each "
            "token needs a cookie of its own"
        )


def _odd_cookies(settings: "SessionSettings") -> Iterator[str]:
    domain, path = settings.cookie_domain, settings.cookie_path
    if not _COOKIE_PATH.fullmatch(path):
        yield "COOKIE_PATH must start with / and hold no space and no semicolon"
    if domain is not None and not _COOKIE_DOMAIN.fullmatch(domain):
        yield "COOKIE_DOMAIN is not a domain name"
    if settings.cookie_samesite == "none" and not settings.secure_cookie:
        yield f"COOKIE_SAMESITE is none, which browsers take with {PREFIX}COOKIE_SECURE=true only"
    for name in ("cookie_name", "refresh_cookie_name"):
        # Browsers ignore the case of a prefix (RFC 6265bis section 4.1.3).
        prefixed = getattr(settings, name).lower()
        if prefixed.startswith(("__host-", "__secure-")) and not settings.secure_cookie:
            yield f"{name.upper()} has a prefix that needs {PREFIX}COOKIE_SECURE=true"
        if prefixed.startswith("__host-") and (path != "/" or domain is not None):
            yield f"{name.upper()} starts with __Host-, which needs path / and no domain"


def _odd_origins(settings: "SessionSettings") -> Iterator[str]:
    for origin in settings.trusted_origins:
        if not _ORIGIN.fullmatch(origin):
            yield f"TRUSTED_ORIGINS has {origin!r}, not an origin such as https://app.example.com"


def _odd_snapshot(settings: "SessionSettings") -> Iterator[str]:
    if settings.snapshot is None:
        return
    if settings.env == "production":
        yield "SNAPSHOT is for development: it writes the key and all sessions to a file; unset it"
    elif settings.store_kind == "redis":
        yield (
            "SNAPSHOT keeps sessions in memory, and these are kept in Redis, where they stay "
            f"anyway; unset it, and set {PREFIX}JWT_KEY so that their tokens stay good, too"
        )


def _needless_near_cache(settings: "SessionSettings") -> Iterator[str]:
    if settings.near_cache and settings.store_kind == "memory":
        yield (
            "NEAR_CACHE spares the way to Redis, and these sessions are kept in memory; unset it, "
            f"or set {PREFIX}PROVIDER=redis"
        )


def _guessable_key(settings: "SessionSettings") -> Iterator[str]:
    if settings.jwt_key is None:
        yield f"JWT_KEY is missing; make one and give it to every worker: {MAKE_A_KEY}"
    for name, key in _keys(settings):
        if how := _guessed_by(key):
            yield f"{name} {how} and can be guessed; make one: {MAKE_A_KEY}"


def _guessed_by(key: str) -> str | None:
    """Return what makes a key one that somebody might try; None for what seems random."""
    if len(set(key)) < _FEW_CHARACTERS:
        return "repeats a few characters"
    if any(key.startswith(key[size:]) for size in range(1, len(key) // 2 + 1)):
        return "repeats a shorter text"
    near = [abs(ord(one) - ord(next_)) <= 1 for one, next_ in pairwise(key)]
    if sum(near) * 4 >= len(near) * 3:
        return "counts from character to character"
    text = key.lower()
    if _TEMPLATE.search(re.sub(r"[\W_]", "", text)) or (
        key in (text, key.upper()) and _TEMPLATE_WORD.search(text)
    ):
        return "has the words of a template"
    return None


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
