"""What an auditor would ask about settings with which an application does start in production.

`checks.py` refuses what cannot work or is unsafe; here is the rest: what is weaker than it could
be, what contradicts itself, and what somebody should have decided on purpose. Quotes no secret.
"""

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

from fastapi_memsession.checks import PREFIX

if TYPE_CHECKING:
    from fastapi_memsession.settings import SessionSettings

_LONG_LIFE = timedelta(days=30)  # NIST SP 800-63B section 2.1.3: log in again at least so often
_LONG_IDLE = timedelta(days=1)
_UNCHECKED = {"ssl_cert_reqs": {"none"}, "ssl_check_hostname": {"0", "f", "false", "n", "no"}}

# Settings that do nothing unless others ask for them.
_OF_HEADERS = ("header_name", "header_scheme", "refresh_header_name")
_OF_COOKIES = (
    "cookie_name", "refresh_cookie_name", "cookie_path", "cookie_domain", "cookie_secure",
    "cookie_http_only", "cookie_samesite", "trusted_origins",
)  # fmt: skip
_OF_REFRESH = ("access_expiration", "refresh_grace", "refresh_header_name", "refresh_cookie_name")
_OF_REDIS = ("redis_url", "redis_prefix", "redis_timeout", "near_cache_staleness")
_LONG_STALENESS = timedelta(seconds=5)


class Finding(NamedTuple):
    """A sentence about a setting, with what to do.

    A `warning` is unsafe or contradicts itself. A `note` may be right: it asks for a decision.
    """

    level: Literal["warning", "note"]
    text: str


def findings_of(settings: "SessionSettings") -> list[Finding]:
    """Return what is worth telling about settings that are meant for production."""
    checks = (_store, _redis, _near_cache, _keys, _times, _cookies, _unused, _people)
    found = [finding for check in checks for finding in check(settings)]
    return sorted(found, key=lambda finding: finding.level == "note")


def _warning(text: str) -> Finding:
    return Finding("warning", PREFIX + text)


def _note(text: str) -> Finding:
    return Finding("note", PREFIX + text)


def _store(settings: "SessionSettings") -> Iterator[Finding]:
    if settings.store_kind == "memory":
        yield _warning(
            "PROVIDER is memory: a restart logs everyone out, and there can be only one worker; "
            "set it to redis",
        )


def _redis(settings: "SessionSettings") -> Iterator[Finding]:
    if settings.store_kind != "redis":
        return
    url = settings.redis_url.get_secret_value()
    try:
        parts = urlsplit(url)
        login, _, names = parts.netloc.rpartition("@")
        hosts = [urlsplit(f"//{name.strip()}").hostname or "" for name in names.split(",")]
    except ValueError:  # no URL: whoever makes a client of it says so
        return
    if parts.scheme == "unix" or all(map(_is_this_machine, hosts)):
        return
    options = parse_qs(parts.query)
    if not login.rpartition(":")[2] and "password" not in options:
        yield _warning(
            "REDIS_URL names another machine and no password: whoever reaches it reads and makes "
            "sessions; set one there, and here as redis://user:password@host",
        )
    if not parts.scheme.startswith("rediss"):
        yield _note(
            "REDIS_URL names another machine without TLS: who can listen on that network reads "
            "sessions (ASVS 12.3); use rediss://, or write down why the network is trusted",
        )
        return
    for name, values in _UNCHECKED.items():
        if options.get(name, [""])[0].lower() in values:
            yield _warning(
                f"REDIS_URL has {name}={options[name][0]}: whoever is on that network can pose as "
                "your Redis (ASVS 12.3.2); leave it out, and name your authority's certificate "
                "with ssl_ca_certs",
            )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _near_cache(settings: "SessionSettings") -> Iterator[Finding]:
    if not settings.near_cache:
        return
    seconds = f"{settings.near_cache_staleness.total_seconds():g} s"
    if settings.near_cache_staleness > _LONG_STALENESS:
        yield _warning(
            f"NEAR_CACHE_STALENESS is {seconds}: for so long a process that is cut off from Redis "
            "may answer for a session that was ended (ASVS 7.4.1); shorten it",
        )
    else:
        yield _note(
            f"NEAR_CACHE is true: a logout or revocation is heard of at once, but by a process "
            f"whose connection is cut only after up to {seconds} (ASVS 7.4.1); write down that "
            "this is short enough, or unset it",
        )


def _keys(settings: "SessionSettings") -> Iterator[Finding]:
    if settings.jwt_previous_keys:
        if settings.jwt_key in settings.jwt_previous_keys:
            yield _warning(f"JWT_PREVIOUS_KEYS has {PREFIX}JWT_KEY itself; leave it out there")
        yield _note(
            "JWT_PREVIOUS_KEYS has keys that are still accepted; leave them out once "
            f"{PREFIX}MAX_LIFETIME has passed since the change, at once if one has leaked",
        )


def _times(settings: "SessionSettings") -> Iterator[Finding]:
    life, idle = settings.max_lifetime, settings.expiration
    if life > _LONG_LIFE:
        yield _warning(
            f"MAX_LIFETIME is {_days(life)}: users prove who they are more rarely than every "
            f"{_days(_LONG_LIFE)} (ASVS 7.3.2, NIST SP 800-63B 2.1.3); shorten it",
        )
    if idle >= life:
        yield _warning(
            f"EXPIRATION is as long as {PREFIX}MAX_LIFETIME, so that no session ends for want of "
            "use (ASVS 7.3.1); shorten it",
        )
    elif idle > _LONG_IDLE:
        yield _note(
            f"EXPIRATION is {_days(idle)}: for so long a forgotten browser stays logged in; "
            "write down why that is right (ASVS 7.3.1), or shorten it",
        )
    if not settings.refresh and life > _LONG_IDLE:
        yield _note(
            f"REFRESH is false: a copied token opens its session for up to {_days(life)}, and "
            f"nobody notices; with {PREFIX}REFRESH=true it opens it for minutes, and a refresh "
            "token that comes again after its successor was used ends the session",
        )


def _cookies(settings: "SessionSettings") -> Iterator[Finding]:
    if settings.carrier == "header":
        return
    if settings.cookie_samesite == "none":
        yield _warning(
            "COOKIE_SAMESITE is none: browsers send the cookie with every other site's requests, "
            "and one check alone stands before them; use lax unless your page is framed elsewhere",
        )
    if settings.secure_cookie and not settings.wire_cookie_name.startswith("__Host-"):
        yield _note(
            "COOKIE_NAME goes out with the prefix __Secure-, not __Host-, so that a sibling domain "
            f"can plant the cookie (ASVS 3.3.3); unset {PREFIX}COOKIE_PATH and "
            f"{PREFIX}COOKIE_DOMAIN if the session is not shared among hosts",
        )


def _unused(settings: "SessionSettings") -> Iterator[Finding]:
    unused: dict[str, str] = {}
    if settings.carrier == "header":
        unused |= dict.fromkeys(_OF_COOKIES, "tokens travel in a header")
    if settings.carrier == "cookie":
        unused |= dict.fromkeys(_OF_HEADERS, "tokens travel in a cookie")
    if not settings.refresh:
        unused |= dict.fromkeys(_OF_REFRESH, "there are no refresh tokens")
    if settings.store_kind == "memory":
        unused |= dict.fromkeys(_OF_REDIS, "sessions are kept in memory")
    else:
        unused["max_sessions"] = "sessions are kept in Redis"
        if not settings.near_cache:
            unused["near_cache_staleness"] = "there is no near cache"
    for name, reason in unused.items():
        if name in settings.model_fields_set:
            yield _warning(
                f"{name.upper()} is set and does nothing, for {reason}; unset it, or change that"
            )


def _people(settings: "SessionSettings") -> Iterator[Finding]:
    if settings.record_devices:
        yield _note(
            "RECORD_DEVICES keeps the address and the browser of each login, which are personal "
            "data; tell your users, or set it to false if no list of devices is shown",
        )
    if settings.max_sessions_per_user is None:
        yield _note(
            "MAX_SESSIONS_PER_USER is not set: a user may be logged in on any number of devices; "
            "write down that this is meant (ASVS 7.1.2), or set it",
        )


def _days(time: timedelta) -> str:
    return f"{time / timedelta(days=1):g} days" if time > _LONG_IDLE else f"{time}"
