"""Tokens that nobody was given: each is made of one that somebody was, and gets no further.

Most are signed with the right key, as if the signature were no hurdle: what is tested is the rule
that each of them breaks, and not that nobody has the key.
"""

import hashlib
import hmac
import json
from collections.abc import Callable

from tests.attack.server import Pair
from tests.conftest import KEY
from tests.test_tokens import b64, parts, resigned, signed

ATTACKERS_KEY = b"a key of somebody else's, of more than thirty-two bytes"

Forge = Callable[[str, Pair], str]


def header(token: str, **changes: object) -> str:
    """Return the first part of a token with other members; ... removes one."""
    members = parts(token)[0] | changes
    return b64(json.dumps({k: v for k, v in members.items() if v is not ...}).encode())


def head(token: str) -> str:
    return token.partition(".")[0]


def payload(token: str) -> str:
    return token.split(".")[1]


def unsigned(**changes: object) -> Forge:
    """Without a signature."""
    return lambda token, _: f"{header(token, **changes)}.{payload(token)}."


def headed(key: bytes = KEY.encode(), **changes: object) -> Forge:
    """With another header."""
    return lambda token, _: signed(header(token, **changes), payload(token), key)


def hashed(algorithm: str) -> Forge:
    """Signed with the right key and another hash."""

    def forge(token: str, _: Pair) -> str:
        text = f"{header(token, alg=algorithm)}.{payload(token)}"
        digest = hashlib.new(f"sha{algorithm[2:]}").name
        return f"{text}.{b64(hmac.digest(KEY.encode(), text.encode(), digest))}"

    return forge


def saying(**changes: object) -> Forge:
    """With other claims."""
    return lambda token, _: resigned(token, **changes)


def written(change: Callable[[str], str]) -> Forge:
    """With other text for its claims."""

    def forge(token: str, _: Pair) -> str:
        text = change(json.dumps(parts(token)[1]))
        return signed(head(token), b64(text.encode()))

    return forge


def spelled(change: Callable[[str], str]) -> Forge:
    """Spelled otherwise."""
    return lambda token, _: change(token)


def shifted(**seconds: float) -> Forge:
    """With times of which each is so much later than it was."""

    def forge(token: str, _: Pair) -> str:
        claims = parts(token)[1]
        return resigned(token, **{name: claims[name] + by for name, by in seconds.items()})

    return forge


def other_kind(token: str, pair: Pair) -> str:
    return pair.refresh if token == pair.access else pair.access


FORGERIES: dict[str, Forge] = {
    # The signature is verified first, by one algorithm and keys of the settings (ASVS 9.1.1-3).
    "no algorithm": unsigned(alg="none"),
    "no algorithm, with a signature": headed(alg="none"),
    "no signature": unsigned(),
    "HS384": hashed("HS384"),
    "RS256": headed(alg="RS256"),
    "another key": headed(ATTACKERS_KEY),
    "a changed claim": lambda token, _: ".".join(
        (head(token), payload(resigned(token, sub="root")), token.split(".")[2])
    ),
    "an unknown kid": headed(ATTACKERS_KEY, kid="another"),
    "its own key": headed(ATTACKERS_KEY, jwk={"kty": "oct", "k": b64(ATTACKERS_KEY)}),
    "a key elsewhere": headed(ATTACKERS_KEY, jku="http://127.0.0.1:9/keys.json"),
    "a certificate elsewhere": headed(ATTACKERS_KEY, x5u="http://127.0.0.1:9/key.pem"),
    "the right key, another elsewhere": headed(jku="http://127.0.0.1:9/keys.json"),
    "something critical": headed(crit=["exp"]),
    "a common type": headed(typ="JWT"),
    "a deep header": lambda token, _: signed(b64(b"[" * 990), payload(token)),
    # What it is for, who it is from and when it is good (ASVS 9.2.1-4).
    "the other kind of token": other_kind,
    "the other kind's type": lambda token, pair: signed(
        other_kind(token, pair).split(".")[0], payload(token)
    ),
    "another issuer": saying(iss="https://issuer.example"),
    "another audience": saying(aud="another"),
    "no end": saying(exp=...),
    "an end that is null": saying(exp=None),
    "an end that is a fraction": shifted(exp=-0.5),
    "an end that overflows": written(lambda text: text.replace('"exp": 1', '"exp": 1e400, "x": 1')),
    "a late end": shifted(exp=86_400),
    "an end before its beginning": shifted(iat=30, exp=-100_000),
    "a beginning to come": shifted(iat=3_000, exp=3_000),
    "a beginning that is a fraction": shifted(iat=-0.5),
    "no beginning": saying(iat=...),
    # Exactly the claims that are issued, each once and of its type (RFC 8725 section 3.10).
    "one claim more": saying(nbf=0),
    "a user that is a lone surrogate": saying(sub="\ud800"),
    "a session that is a path": saying(sid="../" * 14 + "x"),
    "a negative generation": saying(gen=-1),
    "claims that are no text": saying(data={"role": ["admin"]}),
    "two users": written(lambda text: '{"sub": "root", ' + text[1:]),
    "two ends": written(lambda text: text[:-1] + ', "exp": 9999999999}'),
    "claims that are no number": written(lambda text: text.replace('"gen": 0', '"gen": NaN')),
    "claims that are a deep list": written(lambda _: "[" * 1500),
    # One spelling of each token.
    "an equals sign at the end": spelled(lambda token: token + "="),
    "one part less": spelled(lambda token: token.rpartition(".")[0]),
    "percent signs": spelled(lambda token: token.replace(".", "%2E")),
    "letters that are not ASCII": spelled(lambda token: token[:-1] + "\u00e9"),
    "an overlong one": saying(sub="x" * 4096),
    "a genuine one, overlong": saying(data={"role": "x" * 3300}),
    "a huge one": spelled(lambda token: token * 60),
}
