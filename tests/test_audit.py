"""What is told of settings with which production starts, and of those with which it does not."""

from datetime import timedelta

import pytest

from fastapi_memsession import SessionSettings
from fastapi_memsession.audit import findings_of
from fastapi_memsession.settings import examine_settings
from tests.conftest import KEY

DEFAULTS = {"REFRESH", "RECORD_DEVICES", "MAX_SESSIONS_PER_USER"}
STRICT = {"refresh": True, "record_devices": False, "max_sessions_per_user": 5}


def found(**values):
    """Return level and text of what is told, without what the strictest settings avoid."""
    settings = SessionSettings(**{"env": "production", "jwt_key": KEY} | STRICT | values)
    return [f"{level} {text.removeprefix('MEMSESSION_')}" for level, text in findings_of(settings)]


def test_the_defaults_raise_questions_only():
    """A key is enough for production; an auditor still asks for three decisions."""
    findings = findings_of(SessionSettings(env="production", jwt_key=KEY))
    assert {finding.level for finding in findings} == {"note"}
    assert {text.split()[0].removeprefix("MEMSESSION_") for _, text in findings} == DEFAULTS


@pytest.mark.parametrize("carrier", ["header", "cookie", "header,cookie"])
def test_the_strictest_settings_raise_none(carrier):
    """Whatever the carrier."""
    assert found(carrier=carrier) == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"provider": "memory"}, "warning PROVIDER is memory"),
        ({"max_lifetime": timedelta(days=31)}, "warning MAX_LIFETIME is 31 days"),
        ({"expiration": timedelta(days=30)}, "warning EXPIRATION is as long"),
        ({"expiration": timedelta(days=7)}, "note EXPIRATION is 7 days"),
        (
            {"refresh": False},
            "note REFRESH is false: a copied token opens",
        ),
        ({"jwt_previous_keys": [KEY[::-1]]}, "note JWT_PREVIOUS_KEYS has keys that are still"),
        ({"carrier": "cookie", "cookie_samesite": "none"}, "warning COOKIE_SAMESITE is none"),
        ({"carrier": "cookie", "cookie_domain": "a.example"}, "note COOKIE_NAME goes out with"),
        ({"record_devices": True}, "note RECORD_DEVICES keeps"),
        ({"max_sessions_per_user": None}, "note MAX_SESSIONS_PER_USER is not set"),
        ({"trusted_origins": ["http://a.example"]}, "warning TRUSTED_ORIGINS is set and does"),
        ({"cookie_secure": False}, "warning COOKIE_SECURE is set and does nothing"),
        ({"carrier": "cookie", "header_name": "X-A"}, "warning HEADER_NAME is set and does"),
        (
            {"max_sessions": 7},
            "warning MAX_SESSIONS is set and does nothing",
        ),
        ({"near_cache": True}, "note NEAR_CACHE is true: a logout"),
        (
            {"near_cache": True, "near_cache_staleness": 6},
            "warning NEAR_CACHE_STALENESS is 6 s",
        ),
        ({"near_cache_staleness": 2}, "warning NEAR_CACHE_STALENESS is set and does nothing"),
        ({"redis_url": "redis://:p@db.example"}, "note REDIS_URL names another machine without"),
        ({"redis_url": "rediss://db.example"}, "warning REDIS_URL names another machine and no"),
        ({"redis_url": "rediss://localhost.corp.example"}, "warning REDIS_URL names another"),
        ({"redis_url": "rediss://127.attacker.example"}, "warning REDIS_URL names another"),
        (
            {"redis_url": "rediss://:p@db.example?ssl_cert_reqs=none"},
            "warning REDIS_URL has ssl_cert_reqs=none: whoever",
        ),
        (
            {"redis_url": "rediss+cluster://:p@a.example,b.example?ssl_check_hostname=False"},
            "warning REDIS_URL has ssl_check_hostname=False: whoever",
        ),
    ],
)
def test_one_thing_is_told_once(values, told):
    """With its level, and nothing beside it."""
    (text,) = found(**values)
    assert text.startswith(told)
    assert "; " in text, "it says what to do"


def test_several_things_are_told_warnings_first():
    """Settings that do nothing without refresh tokens or Redis, and a key that is its own past."""
    texts = found(jwt_previous_keys=[KEY], max_lifetime=timedelta(days=90))
    assert [text.split(maxsplit=2)[:2] for text in texts] == [
        ["warning", "JWT_PREVIOUS_KEYS"],
        ["warning", "MAX_LIFETIME"],
        ["note", "JWT_PREVIOUS_KEYS"],
    ]
    unused = found(refresh=False, provider="memory", refresh_grace=5, redis_prefix="a")
    assert [text.split()[1] for text in unused if "does nothing" in text] == [
        "REFRESH_GRACE",
        "REDIS_PREFIX",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://localhost",
        "redis://[::1]:6379",
        "redis://127.1.2.3",
        "redis://LOCALHOST",
        "rediss://localhost?ssl_cert_reqs=none",
        "rediss://:p@db.example?ssl_cert_reqs=required&ssl_check_hostname=true",
        "unix:///run/redis?db=0",
        "redis+cluster://localhost:1,127.0.0.1:2",
        "rediss://user:password@db.example",
        "rediss://db.example?password=p",
        "rediss+sentinel://:p@a.example,b.example/service",
        "redis://[::1",  # none at all, which the start tells
    ],
)
def test_a_redis_that_nobody_else_reaches_is_well(url):
    """By loopback or socket; or with a password and TLS."""
    assert found(redis_url=url) == []


def test_one_remote_host_of_several_is_remote():
    """Of a cluster or of sentinels."""
    assert len(found(redis_url="redis+cluster://localhost,db.example")) == 2


def test_no_secret_is_told():
    """Neither key nor password."""
    secrets = KEY, KEY[::-1], "pass-word"
    told = str(found(jwt_previous_keys=secrets[:2], redis_url=f"redis://:{secrets[2]}@db.example/"))
    assert not [secret for secret in secrets if secret in told]


def test_what_cannot_be_read_does_not_hide_the_rest(monkeypatch):
    """Typos, values of the wrong form and unsafe ones are told together; arguments go first."""
    variables = {
        "ENV": "prod",
        "CARIER": "cookie",
        "EXPIRATION": "soon",
        "MAX_SESSIONS": "0",
        "JWT_PREVIOUS_KEYS": "sh0rt",
        "REFRESH": "true",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"MEMSESSION_{name}", value)
    settings, told = examine_settings()
    assert settings.env == "development"
    assert settings.refresh
    assert settings.expiration == timedelta(days=1)
    names = [text.removeprefix("No such setting: ").split()[0].strip(":") for text in told]
    assert sorted(names) == sorted(f"MEMSESSION_{name}" for name in variables.keys() - {"REFRESH"})
    assert "sh0rt" not in str(told)
    settings, told = examine_settings(env="production", carrier="cookie")
    assert (settings.env, settings.carrier) == ("production", "cookie")
    assert [text for text in told if text.startswith("MEMSESSION_JWT_KEY is missing")]
    assert not [text for text in told if text.startswith("MEMSESSION_ENV")]
