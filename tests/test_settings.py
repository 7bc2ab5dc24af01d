"""Settings: read from the environment, refused with all that is wrong at once."""

import secrets
from datetime import timedelta
from string import ascii_letters, ascii_uppercase, digits

import pytest
from pydantic import SecretStr

from fastapi_memsession import SessionSettings, SettingsError
from tests.conftest import KEY

SAFE = {"env": "production", "provider": "memory", "jwt_key": KEY}


@pytest.fixture
def setenv(monkeypatch):
    def setenv(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return SessionSettings()

    return setenv


def test_the_defaults_are_those_of_the_documents():
    """What a developer gets without setting anything."""
    settings = SessionSettings()
    assert settings.model_dump() == {
        "env": "development",
        "provider": "auto",
        "jwt_key": None,
        "jwt_previous_keys": (),
        "jwt_algorithm": "HS256",
        "issuer": "fastapi-memsession",
        "audience": "fastapi-memsession",
        "expiration": timedelta(hours=24),
        "max_lifetime": timedelta(days=30),
        "renew_interval": None,
        "refresh": False,
        "access_expiration": timedelta(minutes=15),
        "refresh_grace": timedelta(seconds=10),
        "carrier": "header",
        "header_name": "Authorization",
        "header_scheme": "Bearer",
        "refresh_header_name": "X-Refresh-Token",
        "cookie_name": "session_token",
        "refresh_cookie_name": "refresh_token",
        "cookie_path": "/",
        "cookie_domain": None,
        "cookie_secure": None,
        "cookie_http_only": True,
        "cookie_samesite": "lax",
        "trusted_origins": (),
        "cleanup_interval": timedelta(minutes=5),
        "max_sessions": 100_000,
        "max_sessions_per_user": None,
        "record_devices": True,
        "max_data_bytes": 65_536,
        "snapshot": None,
        "redis_url": settings.redis_url,
        "redis_prefix": "memsession",
        "redis_timeout": timedelta(seconds=1),
        "near_cache": False,
        "near_cache_staleness": timedelta(seconds=1),
    }
    assert settings.renew_seconds == 24 * 60 * 60 / 20
    assert settings.redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"


def test_every_field_is_a_variable(setenv):
    """With the prefix, in the forms that people write."""
    settings = setenv(
        MEMSESSION_ENV="test",
        MEMSESSION_PROVIDER="redis",
        MEMSESSION_JWT_KEY=KEY,
        MEMSESSION_JWT_PREVIOUS_KEYS=f'["{KEY}1"]',
        MEMSESSION_EXPIRATION="90",
        MEMSESSION_MAX_LIFETIME="P7D",
        MEMSESSION_RENEW_INTERVAL="0.5",
        MEMSESSION_CLEANUP_INTERVAL="00:10:00",
        MEMSESSION_CARRIER="Cookie, header",
        MEMSESSION_COOKIE_SAMESITE="Strict",
        MEMSESSION_TRUSTED_ORIGINS="https://a.example, https://b.example:8443",
        memsession_max_sessions="7",
    )
    assert settings.env == "test"
    assert settings.store_kind == "redis"
    assert settings.jwt_key.get_secret_value() == KEY
    assert [key.get_secret_value() for key in settings.jwt_previous_keys] == [f"{KEY}1"]
    assert settings.expiration == timedelta(seconds=90)
    assert settings.max_lifetime == timedelta(days=7)
    assert settings.renew_seconds == 0.5
    assert settings.cleanup_interval == timedelta(minutes=10)
    assert settings.carrier == "header,cookie"
    assert settings.cookie_samesite == "strict"
    assert settings.trusted_origins == ("https://a.example", "https://b.example:8443")
    assert settings.max_sessions == 7


def test_previous_keys_may_be_separated_by_commas(setenv):
    """As people write lists into the environment."""
    settings = setenv(MEMSESSION_JWT_PREVIOUS_KEYS=f"{KEY}1,{KEY}2")
    assert [key.get_secret_value() for key in settings.jwt_previous_keys] == [f"{KEY}1", f"{KEY}2"]


@pytest.mark.parametrize("spelled", [str, SecretStr])
def test_blanks_around_a_key_are_no_part_of_it(setenv, spelled):
    """A file of a secret ends in a newline; or the key would be another one as a previous key."""
    argument = spelled(f" {KEY}\n")
    read = [
        SessionSettings(jwt_key=argument, jwt_previous_keys=[argument]),
        setenv(MEMSESSION_JWT_KEY=f"{KEY}\n", MEMSESSION_JWT_PREVIOUS_KEYS=f"\t{KEY}\n"),
        setenv(MEMSESSION_JWT_PREVIOUS_KEYS=f'["{KEY}\\n"]\n'),
    ]
    for settings in read:
        keys = [settings.jwt_key, *settings.jwt_previous_keys]
        assert [key.get_secret_value() for key in keys] == [KEY, KEY]


@pytest.mark.parametrize(
    ("variables", "dotenv"),
    [
        ({"ENV": "test"}, ""),
        ({}, "ENV=test"),
        ({"Env": "test"}, "ENV=development"),
        ({"ENV": ""}, "ENV=test\nMEMSESSION_ENV="),
        ({"ENV": "development", "MEMSESSION_ENV": "test"}, ""),
        ({"ENV": "development"}, "MEMSESSION_ENV=test"),
        ({"MEMSESSION_ENV": "test"}, "ENV=development"),
        ({"MEMSESSION_ENV": "test"}, "MEMSESSION_ENV=development"),
        ({"ENV": "prod"}, "ENV=prod\nMEMSESSION_ENV=test"),
    ],
)
def test_env_is_read_from_both_names(setenv, monkeypatch, tmp_path, variables, dotenv):
    """The prefixed one wins, wherever either stands: a plain one may be somebody else's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(dotenv)
    assert setenv(**variables).env == "test"
    assert SessionSettings(env="production", jwt_key=KEY).env == "production"


@pytest.mark.parametrize("name", ["ENV", "MEMSESSION_ENV"])
def test_an_environment_of_another_name_is_told(setenv, name):
    """With the variable that is to be set, as ENV may belong to somebody else; in any case."""
    with pytest.raises(SettingsError, match=r"'staging' is none of .* set MEMSESSION_ENV"):
        setenv(**{name: "Staging"})
    assert setenv(**{name: "Test"}).env == "test"


@pytest.mark.parametrize("text", ["24h", "30m", "one day", ""])
def test_a_duration_tells_how_it_is_written(text):
    """By the name of its variable."""
    with pytest.raises(SettingsError, match=r"^MEMSESSION_EXPIRATION: must be seconds \(3600\)"):
        SessionSettings(expiration=text)


@pytest.mark.parametrize("name", ["ENV", "MEMSESSION_ENV"])
@pytest.mark.parametrize("value", ["development", "prod"])
def test_an_argument_goes_before_the_environment(monkeypatch, name, value):
    """Or an application that says it is in production might not be."""
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("MEMSESSION_CARRIER", "cookie")
    settings = SessionSettings(env="production", jwt_key=KEY, carrier="header")
    assert (settings.env, settings.carrier) == ("production", "header")


def test_an_empty_variable_is_not_set(setenv):
    """As a container file leaves it."""
    assert setenv(MEMSESSION_JWT_KEY="", MEMSESSION_EXPIRATION="").jwt_key is None


def test_a_dotenv_file_is_read(setenv, tmp_path, monkeypatch):
    """Next to other programs' variables, which are none of our business."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("MEMSESSION_EXPIRATION=60\nDATABASE_URL=x\nENV=test\n")
    assert setenv().expiration == timedelta(minutes=1)
    assert setenv().env == "test"
    assert setenv(MEMSESSION_EXPIRATION="70").expiration == timedelta(seconds=70)


def test_names_of_other_programs_are_not_ours(setenv, tmp_path, monkeypatch):
    """Whatever is called as a field is, and has no prefix, in the environment and in .env."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("REFRESH=true\nJWT_KEY=of-some-other-program\n")
    settings = setenv(CARRIER="cookie", EXPIRATION="60")
    assert settings == SessionSettings()
    assert (settings.refresh, settings.jwt_key, settings.carrier) == (False, None, "header")


def test_an_unknown_name_is_an_error(setenv, tmp_path, monkeypatch):
    """In the environment, in .env and as an argument: a typo must not be silence."""
    with pytest.raises(SettingsError, match=r"MEMSESSION_JWTKEY .did you mean MEMSESSION_JWT_KEY"):
        setenv(MEMSESSION_JWTKEY=KEY)
    monkeypatch.delenv("MEMSESSION_JWTKEY")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("MEMSESSION_QQQ=1")
    with pytest.raises(SettingsError, match=r"No such setting: MEMSESSION_QQQ\."):
        setenv()
    (tmp_path / ".env").unlink()
    with pytest.raises(SettingsError, match=r"max_session .did you mean max_sessions"):
        SessionSettings(max_session=5)


def test_a_foreign_env_is_an_error(setenv):
    """ENV=prod must not quietly mean development."""
    with pytest.raises(SettingsError, match="production"):
        setenv(ENV="prod")


def test_safe_production_settings_are_accepted():
    """A key is all that is needed; cookies are secure and host-bound by default."""
    settings = SessionSettings(**SAFE, carrier="cookie", trusted_origins=["https://a.example"])
    assert settings.secure_cookie
    assert settings.wire_cookie_name == "__Host-session_token"


def test_production_lists_all_that_is_unsafe(setenv):
    """At once, each with what to do; typos beside it."""
    with pytest.raises(SettingsError) as caught:
        setenv(
            MEMSESSION_COOKIE_SECUR="true",
            MEMSESSION_ENV="production",
            MEMSESSION_CARRIER="cookie",
            MEMSESSION_COOKIE_SECURE="false",
            MEMSESSION_COOKIE_HTTP_ONLY="false",
            MEMSESSION_JWT_PREVIOUS_KEYS="short",
            MEMSESSION_TRUSTED_ORIGINS="http://a.example",
        )
    message = str(caught.value)
    for name in ("JWT_KEY", "COOKIE_SECURE", "COOKIE_HTTP_ONLY", "JWT_PREVIOUS_KEYS", "TRUSTED"):
        assert f"\n- MEMSESSION_{name}" in message
    assert "MEMSESSION_COOKIE_SECUR (did you mean MEMSESSION_COOKIE_SECURE?)" in message
    assert "python -m fastapi_memsession key" in message


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"jwt_key": "k" * 31}, "31 bytes, HS256 needs at least 32"),
        ({"refresh_grace": -1}, "REFRESH_GRACE must not be less"),
        ({"refresh_header_name": "authorization"}, "needs a header of its own"),
        ({"refresh_cookie_name": "session_token"}, "needs a cookie of its own"),
        ({**SAFE, "cookie_name": "a", "refresh_cookie_name": "__Host-a"}, "a cookie of its own"),
        ({**SAFE, "refresh_cookie_name": "__Host-session_token"}, "a cookie of its own"),
        ({"jwt_previous_keys": [KEY, "short"]}, "5 bytes, HS256 needs"),
        ({"jwt_key": "\udcff" * 32}, "not UTF-8"),
        ({"jwt_key": "ssh-rsa " + "A" * 40}, "holds a key file"),
        ({"jwt_key": KEY, "jwt_algorithm": "HS512"}, "HS512 needs at least 64"),
        ({**SAFE, "jwt_previous_keys": ["a" * 32]}, "PREVIOUS_KEYS repeats"),
        ({"header_name": "Transfer-Encoding"}, "cannot be Transfer-Encoding"),
        ({"header_name": "content-type"}, "cannot be content-type"),
        ({"cookie_name": "__host-a"}, "COOKIE_NAME has a prefix"),
        ({"MEMSESSION_EXPIRATION": 60}, "No such setting: MEMSESSION_EXPIRATION"),
        ({"expiration": timedelta(0)}, "EXPIRATION must be more than zero"),
        ({"max_lifetime": timedelta(seconds=-1)}, "MAX_LIFETIME must be more than zero"),
        ({"cleanup_interval": timedelta(0)}, "CLEANUP_INTERVAL must be more"),
        ({"expiration": timedelta(days=31)}, "EXPIRATION is longer than"),
        ({"renew_interval": timedelta(days=1)}, "RENEW_INTERVAL must be"),
        ({"renew_interval": timedelta(-1)}, "RENEW_INTERVAL must be"),
        ({"header_name": "a b"}, "HEADER_NAME has a character"),
        ({"header_name": "a\r\nb"}, "HEADER_NAME has a character"),
        ({"header_name": "Cookie"}, "HEADER_NAME cannot be Cookie"),
        ({"header_scheme": ""}, "HEADER_SCHEME has a character"),
        ({"cookie_name": "a;b"}, "COOKIE_NAME has a character"),
        ({"cookie_path": "app"}, "COOKIE_PATH must start with /"),
        ({"cookie_path": "/;Domain=x"}, "COOKIE_PATH must start with /"),
        ({"cookie_domain": "a b"}, "COOKIE_DOMAIN is not"),
        ({"cookie_samesite": "none"}, "COOKIE_SAMESITE is none"),
        ({"cookie_name": "__Host-a"}, "COOKIE_NAME has a prefix"),
        ({"cookie_name": "__Secure-a"}, "COOKIE_NAME has a prefix"),
        ({"cookie_name": "__Host-a", "cookie_secure": True, "cookie_path": "/a"}, "no domain"),
        ({"trusted_origins": ["https://a.example/"]}, "not an origin"),
        ({"trusted_origins": ["*"]}, "not an origin"),
        ({"trusted_origins": ["null"]}, "not an origin"),
        ({"issuer": ""}, "MEMSESSION_ISSUER:"),
        ({"redis_timeout": timedelta(0)}, "REDIS_TIMEOUT must be more"),
        ({"near_cache_staleness": timedelta(0)}, "NEAR_CACHE_STALENESS must be more"),
        ({"near_cache": True, "provider": "memory"}, "NEAR_CACHE spares the way to Redis"),
        ({"redis_prefix": "a{b}"}, "MEMSESSION_REDIS_PREFIX:"),
        ({"max_sessions": 0}, "MEMSESSION_MAX_SESSIONS:"),
        ({"max_sessions_per_user": 0}, "MEMSESSION_MAX_SESSIONS_PER_USER:"),
        ({"jwt_algorithm": "none"}, "MEMSESSION_JWT_ALGORITHM:"),
        ({"jwt_algorithm": "RS256"}, "MEMSESSION_JWT_ALGORITHM:"),
        ({"carrier": "url"}, "MEMSESSION_CARRIER:"),
        ({"jwt_previous_keys": "[1"}, "MEMSESSION_JWT_PREVIOUS_KEYS:"),
        ({**SAFE, "jwt_key": "a1" * 20}, "JWT_KEY repeats a few characters"),
        ({**SAFE, "jwt_key": "abcdefgh" * 4}, "JWT_KEY repeats a shorter text"),
        ({**SAFE, "jwt_key": "k7Gq2ZxPw9" * 3 + "k7G"}, "JWT_KEY repeats a shorter text"),
        ({**SAFE, "jwt_key": ascii_letters}, "JWT_KEY counts"),
        ({**SAFE, "jwt_previous_keys": [digits[::-1] + ascii_uppercase]}, "PREVIOUS_KEYS counts"),
        ({**SAFE, "jwt_key": None}, "JWT_KEY is missing"),
        ({**SAFE, "snapshot": "a"}, "SNAPSHOT is for development"),
        ({"provider": "redis", "snapshot": "a"}, "SNAPSHOT keeps sessions in memory"),
    ],
)
def test_what_cannot_work_is_refused(values, told):
    """With the setting's name and what it must be."""
    with pytest.raises(SettingsError, match=told):
        SessionSettings(**values)


def test_no_secret_is_told():
    """Neither in an error nor in a repr or a dump."""
    secrets = ["k3y-that-is-secret", "0ther-k3y", "redis-password"]
    with pytest.raises(SettingsError) as caught:
        SessionSettings(jwt_key=secrets[0], jwt_previous_keys=[secrets[1]], carrier=1)
    settings = SessionSettings(
        jwt_key=secrets[0] * 2,
        jwt_previous_keys=[secrets[1] * 4],
        redis_url=f"redis://:{secrets[2]}@h",
    )
    assert caught.value.__context__ is None
    told = f"{caught.value!r} {caught.value} {settings!r} {settings.model_dump_json()}"
    assert not [secret for secret in secrets if secret in told]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({}, "session_token"),
        ({"cookie_secure": True}, "__Host-session_token"),
        ({"cookie_secure": True, "cookie_path": "/app"}, "__Secure-session_token"),
        ({"cookie_secure": True, "cookie_domain": "a.example"}, "__Secure-session_token"),
        ({"cookie_path": "/app"}, "session_token"),
        ({"cookie_secure": True, "cookie_name": "__Host-x"}, "__Host-x"),
        ({"cookie_secure": True, "cookie_name": "__Secure-x"}, "__Secure-x"),
    ],
)
def test_the_cookie_is_host_bound_where_it_may(values, name):
    """A browser refuses the prefix anywhere else; one for HTTPS goes wherever that is."""
    assert SessionSettings(**values).wire_cookie_name == name


def test_a_plain_env_counts_whatever_a_subclass_reads(monkeypatch, tmp_path):
    """Where none of its sources has ours, be they fewer, or one more: a directory of secrets."""

    class Mine(SessionSettings):
        @classmethod
        def settings_customise_sources(cls, settings_cls, init_settings, *_, **__):
            return (init_settings,)

    monkeypatch.setenv("ENV", "production")
    for made in (SessionSettings, Mine):
        with pytest.raises(SettingsError, match="JWT_KEY is missing"):
            made()
        assert made(env="test").env == "test"
    (tmp_path / "MEMSESSION_ENV").write_text("test")
    assert SessionSettings(_secrets_dir=tmp_path).env == "test"
    monkeypatch.delenv("ENV")
    (tmp_path / "other.env").write_text("ENV=test")
    assert SessionSettings(_env_file=tmp_path / "other.env").env == "test"
    assert SessionSettings(_env_file=None).env == Mine().env == "development"


def test_auto_is_redis_in_production_only():
    """Where one process is not enough."""
    assert SessionSettings(jwt_key=KEY, env="production").store_kind == "redis"
    assert SessionSettings(env="test").store_kind == "memory"
    assert SessionSettings(**SAFE).store_kind == "memory"


@pytest.mark.parametrize(
    "values",
    [
        {"expiration": 60, "max_lifetime": 60},
        {"renew_interval": 0},
        {**SAFE, "jwt_key": "k7Gq2ZxP" * 3 + "k7Gq2Zx+"},
        {**SAFE, "jwt_key": "aabbccddeeffgghhiijjkkll" + "ahcjelgn"},
        {**SAFE, "jwt_key": "Random-Secret_of-Your-own:x8fj3LqPd02"},
        {"_env_file": None},
    ],
)
def test_what_only_just_works_is_accepted(values):
    """The bounds themselves are inside; Pydantic's own arguments are no settings."""
    assert SessionSettings(**values)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({**SAFE, "carrier": "header,cookie", "cookie_secure": False}, "COOKIE_SECURE is false"),
        ({**SAFE, "carrier": "header,cookie", "cookie_http_only": False}, "COOKIE_HTTP_ONLY"),
        ({"max_data_bytes": 0}, "MEMSESSION_MAX_DATA_BYTES:"),
        ({**SAFE, "jwt_key": "abcdefg" * 5}, "JWT_KEY repeats"),
    ],
)
def test_what_is_just_beyond_is_refused(values, told):
    """With the setting's name and what it must be."""
    with pytest.raises(SettingsError, match=told):
        SessionSettings(**values)


@pytest.mark.parametrize(
    "key",
    [
        "your-secret-key-change-in-production",
        "please-change-me-please-change-me!",
        "Pass_Word_1234_Pass_Word_1234_5678",
        "THIS KEY IS AN EXAMPLE, PUT YOURS IN",
        "default-key-of-the-deployment-2024",
        "put your own key here, forty characters",
        "0Kd93-ChangeMe-x8fj3LqPd02-aL4kWq9s",
        "<placeholder: 32 random characters>",
    ],
)
def test_the_key_of_a_template_is_refused(key):
    """In production, and not quoted; elsewhere it is good enough."""
    assert SessionSettings(jwt_key=key)
    with pytest.raises(SettingsError, match="JWT_KEY has the words of a template") as caught:
        SessionSettings(**SAFE | {"jwt_key": key})
    assert key[:6] not in str(caught.value)


def test_a_key_that_is_made_is_accepted():
    """Whatever letters it happens to have: also of other sizes, and as hexadecimal digits."""
    made = [secrets.token_urlsafe(size) for size in (64, 48, 32) for _ in range(100)]
    made += [secrets.token_hex(size) for size in (64, 32, 16) for _ in range(100)]
    assert SessionSettings(**SAFE, jwt_previous_keys=made)


def test_no_key_is_told_when_it_is_refused():
    """Neither a short one nor a guessable one."""
    for key in ("k3y-that-is-short", "s3cr3t" * 9):
        with pytest.raises(SettingsError, match="JWT_KEY") as caught:
            SessionSettings(env="production", provider="memory", jwt_key=key)
        assert key[:6] not in str(caught.value)


def test_settings_cannot_be_changed():
    """What was checked stays as it was checked."""
    made = SessionSettings(**SAFE)
    with pytest.raises(ValueError, match="frozen"):
        made.cookie_secure = False


def test_lists_are_read_as_people_write_them(monkeypatch):
    """A comma at the end, a blank before a JSON list."""
    monkeypatch.setenv("MEMSESSION_TRUSTED_ORIGINS", "https://a.example, ")
    assert SessionSettings().trusted_origins == ("https://a.example",)
    monkeypatch.setenv("MEMSESSION_TRUSTED_ORIGINS", ' ["https://a.example"]')
    assert SessionSettings().trusted_origins == ("https://a.example",)


@pytest.mark.parametrize("env", ["development", "test"])
def test_a_cookie_goes_over_plain_http_outside_of_production(env):
    """Or nobody could log in on localhost."""
    assert not SessionSettings(env=env).secure_cookie
