"""Tokens: what we signed is read, everything else is refused the same way."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jose import jws, jwt

from fastapi_memsession import (
    InvalidToken,
    SessionDataError,
    SessionKey,
    SessionTooLarge,
    SettingsError,
)
from fastapi_memsession.records import new_session_id
from fastapi_memsession.tokens import MAX_TOKEN_BYTES, TokenCodec
from tests.conftest import KEY, START

SECRET = KEY.encode()
SESSION = SessionKey("user_123", "s" * 43)
DAY = 86_400


def codec(clock, key=SECRET, **values):
    lives = {"access_life": 30 * DAY, "max_lifetime": 30 * DAY}
    values = {"issuer": "us", "audience": "you", **lives, **values}
    return TokenCodec(key, clock=clock, **values)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parts(token):
    header, payload, _ = token.split(".")
    decode = lambda part: base64.urlsafe_b64decode(part + "==")  # noqa: E731
    return json.loads(decode(header)), json.loads(decode(payload))


def signed(header: str, payload: str, key=SECRET) -> str:
    """Sign any two segments, as somebody who has the key could."""
    text = f"{header}.{payload}"
    return f"{text}.{b64(hmac.digest(key, text.encode(), hashlib.sha256))}"


@pytest.fixture
def tokens(clock):
    return codec(clock)


@pytest.fixture
def token(tokens):
    return tokens.encode(SESSION, {"role": "admin"}, issued_at=START, expires_at=START + DAY)


def resigned(token, **changes):
    """The same token with other claims, correctly signed; None removes a claim."""
    claims = {**parts(token)[1], **changes}
    claims = {name: value for name, value in claims.items() if value is not ...}
    return signed(token.split(".")[0], b64(json.dumps(claims).encode()))


def test_a_token_says_what_was_signed(tokens, token):
    """And who, which session, since when and until when."""
    claims = tokens.decode(token)
    assert claims.key == SESSION
    assert claims.data == {"role": "admin"}
    assert (claims.issued_at, claims.expires_at) == (START, START + DAY)


def test_names_on_the_wire_are_the_registered_ones(token):
    """RFC 7519, with our explicit type in the header."""
    header, payload = parts(token)
    assert header.keys() == {"alg", "kid", "typ"}
    assert (header["alg"], header["typ"]) == ("HS256", "access+jwt")
    assert payload == {
        "iss": "us",
        "aud": "you",
        "sub": "user_123",
        "sid": "s" * 43,
        "gen": 0,
        "iat": START,
        "exp": START + DAY,
        "data": {"role": "admin"},
    }


def test_any_jwt_library_can_read_it(token):
    """Signature and format are standard."""
    options = {"verify_exp": False, "verify_iat": False}
    assert jwt.decode(token, KEY, ["HS256"], options, "you", "us")["sub"] == "user_123"


def test_times_are_rounded_outwards(tokens, clock):
    """A token lives at least as long as its record."""
    clock.advance(0.7)
    claims = tokens.decode(
        tokens.encode(SESSION, {}, issued_at=clock(), expires_at=clock() + 30 * DAY)
    )
    assert (claims.issued_at, claims.expires_at) == (START, START + 30 * DAY + 1)


def test_a_token_dies_at_its_expiry(tokens, token, clock):
    """Also out of the cache; the wall clock has no say."""
    clock.advance(DAY - 0.001)
    assert tokens.decode(token)
    clock.advance(0.001)
    with pytest.raises(InvalidToken):
        tokens.decode(token)
    with pytest.raises(InvalidToken):
        codec(clock).decode(token)
    assert time.time() > START + DAY


def test_a_repeated_token_is_not_verified_again(tokens, token, monkeypatch):
    """It costs a look-up: the very same claims come back, and jose is not asked."""
    first = tokens.decode(token)
    monkeypatch.setattr(jws, "verify", None)
    assert tokens.decode(token) is first


def test_the_cache_is_bounded(tokens, token, monkeypatch, clock):
    """Old tokens make room; one in use stays."""
    monkeypatch.setattr("fastapi_memsession.tokens._REMEMBERED", 4)
    tokens = codec(clock)
    first = tokens.decode(token)
    others = {}
    for number in range(20):
        key = SessionKey(f"user-{number}", new_session_id())
        other = tokens.encode(key, {}, issued_at=clock(), expires_at=clock() + 9)
        others[other] = tokens.decode(other)
        assert tokens.decode(token) is first
    assert sum(tokens.decode(other) is claims for other, claims in others.items()) <= 3


def test_a_refused_token_is_not_cached(tokens, token, monkeypatch):
    """Junk takes no memory, and is looked at each time."""
    looked_at = []
    monkeypatch.setattr(jws, "verify", lambda *_: looked_at.append(1) or b"{}")
    for _ in range(2):
        with pytest.raises(InvalidToken):
            tokens.decode(token)
    assert len(looked_at) == 2


def test_keys_rotate(clock, token):
    """The new key signs; the previous one still verifies, until it is taken out."""
    old, new = SECRET, b"another key of more than thirty-two bytes"
    both = codec(clock, new, previous_keys=[old])
    assert both.decode(token).key == SESSION
    fresh = both.encode(SESSION, {}, issued_at=START, expires_at=START + 9)
    assert codec(clock, new).decode(fresh)
    with pytest.raises(InvalidToken):
        codec(clock, old).decode(fresh)
    with pytest.raises(InvalidToken):
        codec(clock, new).decode(token)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_each_algorithm_signs_and_accepts_its_own_only(clock, algorithm):
    """One algorithm for each key; a token's header does not choose (RFC 8725 section 3.1)."""
    tokens = codec(clock, SECRET * 2, algorithm=algorithm)
    token = tokens.encode(SESSION, {}, issued_at=START, expires_at=START + 9)
    assert parts(token)[0]["alg"] == algorithm
    assert tokens.decode(token).key == SESSION
    for other in {"HS256", "HS384", "HS512"} - {algorithm}:
        with pytest.raises(InvalidToken):
            codec(clock, SECRET * 2, algorithm=other).decode(token)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_one_spelling_only(clock, algorithm):
    """Any changed character is refused, also one that changes no decoded bit."""
    tokens = codec(clock, SECRET * 2, algorithm=algorithm)
    token = tokens.encode(SESSION, {"a": "b"}, issued_at=START, expires_at=START + 9)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    changed = [token[:-1] + last for last in alphabet if last != token[-1]]
    for index, character in enumerate(token):
        other = "A" if character != "A" else "B"
        changed.append(token[:index] + other + token[index + 1 :])
        changed.append(token[:index] + token[index + 1 :])
        changed.append(token[:index] + "\n" + token[index:])
    for text in changed:
        with pytest.raises(InvalidToken):
            tokens.decode(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: "",
        lambda t: ".",
        lambda t: "..",
        lambda t: "a.b.c",
        lambda t: t + "=",
        lambda t: t + "==",
        lambda t: t + "!!!!",
        lambda t: t + "\n",
        lambda t: t + "\r\nSet-Cookie: a=b",
        lambda t: " " + t,
        lambda t: t + ".x",
        lambda t: t.rsplit(".", 1)[0] + ".",
        lambda t: t.rsplit(".", 1)[0],
        lambda t: t * 20,
        lambda t: t.replace(".", "。"),
        lambda t: "\ud800" + t,
        lambda t: "é" + t,
        lambda t: "\0",
        lambda t: b64(b"[" * 990) + "." + t.split(".", 1)[1],
        lambda t: b64(b'{"alg":"none"}') + "." + t.split(".")[1] + ".",
        lambda t: b64(b'{"alg":"none","typ":"JWT"}') + "." + t.split(".", 1)[1],
    ],
)
def test_junk_is_refused(tokens, token, change):
    """With the one error, whatever it is."""
    with pytest.raises(InvalidToken):
        tokens.decode(change(token))


@given(st.text() | st.text("abcAZ09-_.="))
def test_no_text_raises_anything_else(text):
    """The error tells no cause and chains to none."""
    with pytest.raises(InvalidToken) as caught:
        codec(lambda: START).decode(text)
    assert str(caught.value) == str(InvalidToken())
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "HS256", "typ": "JWT"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"typ": "refresh+jwt"},
        {"kid": "unknown"},
        {"crit": ["exp"]},
        {"jwk": {"kty": "oct", "k": b64(SECRET)}},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"b64": False},
    ],
)
def test_a_header_is_ours_or_refused(tokens, token, header):
    """Even if the signature is right: the header has no say in anything."""
    ours, _ = parts(token)
    replaced = header if header == {"alg": "HS256"} else {**ours, **header}
    text = json.dumps(replaced, separators=(",", ":"), sort_keys=True)
    with pytest.raises(InvalidToken):
        tokens.decode(signed(b64(text.encode()), token.split(".")[1]))


def test_the_control_of_these_cases_is_accepted(tokens, token):
    """A token that is signed again with nothing changed verifies."""
    assert tokens.decode(resigned(token)).key == SESSION


NOT_INTEGERS = [..., None, "1", "9_999_999_999", "١٢٣", 1.5, True, [], {}, float("1e300")]


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        *(("exp", value) for value in NOT_INTEGERS),
        *(("iat", value) for value in NOT_INTEGERS),
        *(("sub", value) for value in (..., None, 1, True, ["user_123"], {}, "\ud800")),
        *(
            ("sid", value)
            for value in (..., None, 1, "", "s" * 42, "s" * 44, "s" * 42 + "!", "é" * 43)
        ),
        *(("data", value) for value in (..., None, [], "x", {"a": 1}, {"a": None}, {"a": {}})),
        *(("iss", value) for value in (..., None, "", "US", ["us"], "us ")),
        *(("aud", value) for value in (..., None, "", "me", ["you"], ["you", "me"])),
        ("iat", int(START) + 61),
        ("iat", int(START) + DAY),
        ("exp", int(START) + 30 * DAY + 2),
        ("exp", 10**400),
        ("iat", -(10**400)),
        ("nbf", 0),
        ("jti", "x"),
        ("admin", True),
    ],
)
def test_a_claim_of_another_type_or_value_is_refused(tokens, token, claim, value):
    """Even if the signature is right: all seven claims, no other, of exact types."""
    with pytest.raises(InvalidToken):
        tokens.decode(resigned(token, **{claim: value}))


@pytest.mark.parametrize(
    "payload",
    [
        "[]",
        "null",
        '"text"',
        "1",
        "",
        "{",
        "\ud800",
        "[" * 2000,
        '{"exp": 1e400}',
        '{"exp": NaN}',
        '{"exp": Infinity}',
    ],
)
def test_a_payload_that_is_no_claims_is_refused(tokens, token, payload):
    """Even if the signature is right."""
    data = payload.encode(errors="surrogatepass")
    with pytest.raises(InvalidToken):
        tokens.decode(signed(token.split(".")[0], b64(data)))


def test_a_repeated_member_is_refused(tokens, token):
    """JSON readers differ in which one they believe."""
    text = json.dumps(parts(token)[1])
    for repeated in ('"sub": "root", ', '"sub": "user_123", '):
        payload = "{" + repeated + text[1:]
        with pytest.raises(InvalidToken):
            tokens.decode(signed(token.split(".")[0], b64(payload.encode())))


def test_a_worker_with_a_slow_clock_accepts_a_new_token(clock, token):
    """Clocks of workers differ by seconds; a minute is granted."""
    clock.advance(-60)
    assert codec(clock).decode(token)
    clock.advance(-0.001)
    with pytest.raises(InvalidToken):
        codec(clock).decode(token)


def test_a_token_that_we_would_refuse_is_not_issued(tokens):
    """Too long a token is an error at login, with the numbers."""
    with pytest.raises(SessionTooLarge, match="Keep claims small") as caught:
        tokens.encode(SESSION, {"a": "x" * 4000}, issued_at=START, expires_at=START + 9)
    assert caught.value.size > caught.value.limit == MAX_TOKEN_BYTES


@pytest.mark.parametrize("user", ["a b", "\r\nX: y", "\0", "🦊", "}{", "x" * 900, "\u2028"])
def test_odd_users_and_claims_survive_the_token(tokens, user):
    """And the token stays plain base64url, so none of it can become a header."""
    key = SessionKey(user, "s" * 43)
    token = tokens.encode(key, {user: user}, issued_at=START, expires_at=START + 9)
    assert (tokens.decode(token).key, tokens.decode(token).data) == (key, {user: user})
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_a_lone_surrogate_is_an_error_at_login(tokens):
    """It has no UTF-8."""
    with pytest.raises(SessionDataError, match="surrogate"):
        tokens.encode(SessionKey("\ud800", "s" * 43), {}, issued_at=START, expires_at=START + 9)


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 31])
def test_a_short_key_is_refused(clock, key):
    """RFC 7518 section 3.2."""
    with pytest.raises(SettingsError, match="32 bytes"):
        codec(clock, key)


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_key_is_as_long_as_the_hash(clock, algorithm, least):
    """RFC 7518 section 3.2, for each algorithm."""
    assert codec(clock, b"k" * least, algorithm=algorithm)
    with pytest.raises(SettingsError, match=f"{algorithm} needs at least {least}"):
        codec(clock, b"k" * (least - 1), algorithm=algorithm)


@pytest.mark.parametrize(
    "key", ["-----BEGIN PUBLIC KEY-----\n" + "x" * 40, "ssh-rsa " + "A" * 40, '{"kty": "oct"}' * 9]
)
def test_a_key_is_bytes_and_nothing_else(clock, key):
    """A key file is refused without quoting it; a key that looks like JSON is just bytes."""
    if key.startswith("{"):
        tokens = codec(clock, key.encode())
        token = tokens.encode(SESSION, {}, issued_at=START, expires_at=START + 9)
        header, payload, _ = token.split(".")
        assert token == signed(header, payload, key.encode())
    else:
        with pytest.raises(SettingsError, match="shared secret") as caught:
            codec(clock, key.encode())
        assert "xxxx" not in str(caught.value)
        assert "AAAA" not in str(caught.value)


def test_session_ids_are_random_and_long():
    """256 bits each."""
    ids = {new_session_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(base64.urlsafe_b64decode(each + "=")) for each in ids} == {32}


def test_only_the_cryptography_backend_is_loaded():
    """Not ecdsa, not rsa: what is not imported has no holes."""
    code = (
        "import sys, fastapi_memsession; print([m for m in ('ecdsa', 'rsa') if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_a_token_without_a_life_is_refused(tokens, token):
    """Not even in the minute that is granted to a clock."""
    with pytest.raises(InvalidToken):
        tokens.decode(resigned(token, iat=int(START) + 30, exp=int(START) + 30))


def test_a_token_may_have_as_many_bytes_as_it_may(tokens, token):
    """4096, and not one more, even if the signature is right."""
    for size in range(2000, 4096):
        data = {"a": "x" * size}
        try:
            longest = tokens.encode(SESSION, data, issued_at=START, expires_at=START + DAY)
        except SessionTooLarge:
            break
    assert len(longest) == MAX_TOKEN_BYTES
    assert tokens.decode(longest).key == SESSION
    longer = resigned(token, data={"a": "x" * 3000})
    assert len(longer) > MAX_TOKEN_BYTES
    with pytest.raises(InvalidToken):
        tokens.decode(longer)


def test_a_key_that_is_refused_is_not_in_the_traceback(clock):
    """Nor is what jose said about it."""
    with pytest.raises(SettingsError) as caught:
        codec(clock, b"-----BEGIN PUBLIC KEY-----\n" + b"x" * 40)
    assert "shared secret" in str(caught.value)
    assert len("".join(traceback.format_exception(caught.value)).split("Traceback")) == 2
