"""A key that was prepared once signs and verifies as one that is made anew for each message."""

import base64
import hmac
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jose.backends.cryptography_backend import CryptographyHMACKey

from fastapi_memsession.base64url import base64url
from fastapi_memsession.keys import SigningKey

HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
ALGORITHMS = st.sampled_from(sorted(HASHES))
SECRETS = st.binary(min_size=64, max_size=200)  # also those that are longer than a block


@given(ALGORITHMS, SECRETS, st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_signatures_are_those_of_the_standard_library_and_of_jose(algorithm, secret, messages):
    """RFC 2104, for every message in turn: none leaves anything behind in the key."""
    key, anew = SigningKey(secret, algorithm), CryptographyHMACKey(secret, algorithm)
    for message in [*messages, messages[0]]:
        signature = key.sign(message)
        assert signature == hmac.digest(secret, message, HASHES[algorithm])
        assert key.verify(message, signature)
        assert anew.verify(message, signature)


@given(ALGORITHMS, SECRETS, st.binary(max_size=100), st.data())
def test_no_other_signature_is_accepted(algorithm, secret, message, data):
    """Neither of another message or key, nor cut, nor one bit of it different."""
    key = SigningKey(secret, algorithm)
    right = key.sign(message)
    bit = data.draw(st.integers(0, 8 * len(right) - 1))
    altered = (int.from_bytes(right) ^ (1 << bit)).to_bytes(len(right))
    others = [altered, right[:-1], right + b"\0", b"", key.sign(message + b"x")]
    others.append(SigningKey(secret[:-1] + bytes([secret[-1] ^ 1]), algorithm).sign(message))
    assert not any(key.verify(message, other) for other in others)


@pytest.mark.parametrize("algorithm", sorted(HASHES))
def test_many_threads_sign_with_one_key(algorithm):
    """As under several event loops, or from endpoints that are no coroutines."""
    secret = bytes(range(64))
    key = SigningKey(secret, algorithm)
    messages = [bytes([number % 256]) * number for number in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        signatures = list(pool.map(key.sign, messages))
    assert signatures == [hmac.digest(secret, each, HASHES[algorithm]) for each in messages]


@given(st.binary(max_size=100))
def test_base64url_has_no_padding_and_is_read_back(data):
    """RFC 7515 section 2."""
    text = base64url(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)) == data
