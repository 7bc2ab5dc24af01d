"""A key that signs and verifies tokens. Knows no claims."""

import hashlib
from hmac import compare_digest

from fastapi_memsession.base64url import base64url
from fastapi_memsession.checks import MIN_KEY_BYTES
from fastapi_memsession.errors import SettingsError

try:
    from cryptography.hazmat.primitives.hmac import HMAC
    from jose.backends.cryptography_backend import CryptographyHMACKey
except ImportError:  # pragma: no cover - the declared dependency has it; see the message
    raise ImportError(
        "python-jose is installed without its cryptography backend; "
        "run: pip install 'python-jose[cryptography]'"
    ) from None


class SigningKey(CryptographyHMACKey):
    """jose's key, prepared once: each signature begins with a copy of what the key alone makes.

    Attributes:
        kid: tells it from others, and nothing about it (RFC 7515 section 4.1.4).

    Args:
        secret: at least as long as the algorithm's hash (RFC 7518 section 3.2).
        algorithm: HS256, HS384 or HS512.

    Raises:
        SettingsError: the secret is too short, or is none that is shared.
    """

    def __init__(self, secret: bytes, algorithm: str) -> None:
        least = MIN_KEY_BYTES[algorithm]
        if len(secret) < least:
            raise SettingsError(
                f"A key for {algorithm} needs at least {least} bytes (RFC 7518 3.2)."
            )
        try:
            super().__init__(secret, algorithm)
        except Exception:  # jose's own message may quote the key
            raise SettingsError("A signing key must be a shared secret, not a key file.") from None
        digest = hashlib.sha256(b"fastapi-memsession key id\0" + secret).digest()
        self.kid = base64url(digest[:6]).decode()
        self._keyed = HMAC(secret, self.ALG_MAP[algorithm])

    def sign(self, msg: bytes) -> bytes:
        """Return the signature of a message."""
        mac = self._keyed.copy()
        mac.update(msg)
        return mac.finalize()

    def verify(self, msg: bytes, sig: bytes) -> bool:
        """Whether a message has this signature; how wrong it is does not show in the time."""
        return compare_digest(self.sign(msg), sig)
