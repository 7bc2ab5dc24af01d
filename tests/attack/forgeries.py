"""Tokens that nobody was given: each is made of one that somebody was, and gets no further.

Most are signed with the right key, as if the signature were no hurdle: what is tested is the rule
that each of them breaks, and not that nobody has the key.
"""

import hashlib
import hmac
import json

from tests.conftest import KEY
from tests.test_tokens import b64, parts, resigned, signed

SECRET = KEY.encode()
ANOTHERS = b"a key of somebody else's, of more than thirty-two bytes"


def forgeries(token: str, other: str) -> dict[str, str]:
    """Return forgeries of a token, by what is wrong with them; the other one is of its session."""
    head, payload, signature = token.split(".")
    names, claims = parts(token)
    text = json.dumps(claims)

    def header(**changes: object) -> str:
        return b64(json.dumps(names | changes).encode())

    def headed(key: bytes = SECRET, **changes: object) -> str:
        return signed(header(**changes), payload, key)

    def saying(**changes: object) -> str:
        return resigned(token, **changes)

    def later(**seconds: float) -> str:
        return saying(**{name: claims[name] + by for name, by in seconds.items()})

    def written(text: str) -> str:
        return signed(head, b64(text.encode()))

    in_another_hash = f"{header(alg='HS384')}.{payload}"
    return {
        # The signature is verified first, by one algorithm and keys of the settings (ASVS 9.1.1-3).
        "no signature": f"{head}.{payload}.",
        "no algorithm": f"{header(alg='none')}.{payload}.",
        "no algorithm, with a signature": headed(alg="none"),
        "another hash": in_another_hash
        + "."
        + b64(hmac.digest(SECRET, in_another_hash.encode(), hashlib.sha384)),
        "RS256": headed(alg="RS256"),
        "another key": headed(ANOTHERS),
        "a changed claim": f"{head}.{saying(sub='root').split('.')[1]}.{signature}",
        "an unknown kid": headed(ANOTHERS, kid="another"),
        "its own key": headed(ANOTHERS, jwk={"kty": "oct", "k": b64(ANOTHERS)}),
        "a key elsewhere": headed(ANOTHERS, jku="http://127.0.0.1:9/keys.json"),
        "a certificate elsewhere": headed(ANOTHERS, x5u="http://127.0.0.1:9/key.pem"),
        "the right key, another elsewhere": headed(jku="http://127.0.0.1:9/keys.json"),
        "something critical": headed(crit=["exp"]),
        "a common type": headed(typ="JWT"),
        "a deep header": signed(b64(b"[" * 990), payload),
        # What it is for, who it is from and when it is good (ASVS 9.2.1-4).
        "the other kind of token": other,
        "the other kind's type": signed(other.partition(".")[0], payload),
        "another issuer": saying(iss="https://issuer.example"),
        "another audience": saying(aud="another"),
        "no end": saying(exp=...),
        "an end that is null": saying(exp=None),
        "an end that is a fraction": later(exp=-0.5),
        "an end that overflows": written(text.replace('"exp": 1', '"exp": 1e400, "x": 1')),
        "a late end": later(exp=86_400),
        "an end before its beginning": later(iat=30, exp=-100_000),
        "a beginning that is a fraction": later(iat=-0.5),
        "a beginning to come": later(iat=3_000, exp=3_000),
        # Exactly the claims that are issued, each once and of its type (RFC 8725 section 3.10).
        "one claim more": saying(nbf=0),
        "one claim less": saying(sub=...),
        "a user that is a lone surrogate": saying(sub="\ud800"),
        "a session that is a path": saying(sid="../" * 14 + "x"),
        "a negative generation": saying(gen=-1),
        "claims that are no text": saying(data={"role": ["admin"]}),
        "two users": written('{"sub": "root", ' + text[1:]),
        "two ends": written(text[:-1] + ', "exp": 9999999999}'),
        "a claim that is no number": written(text.replace('"gen": 0', '"gen": NaN')),
        "claims that are a deep list": written("[" * 1500),
        # One spelling of each token.
        "an equals sign at the end": token + "=",
        "one part less": f"{head}.{payload}",
        "percent signs": token.replace(".", "%2E"),
        "letters that are not ASCII": token[:-1] + "\u00e9",
        "an overlong one": saying(sub="x" * 4096),
        "a genuine one, overlong": saying(data={"role": "x" * 3300}),
        "a huge one": token * 60,
    }
