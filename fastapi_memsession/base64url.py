"""Base64 as it stands in tokens and ids: for URLs, without padding (RFC 7515 section 2)."""

from binascii import b2a_base64

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def base64url(data: bytes) -> bytes:
    """Encode some bytes."""
    return b2a_base64(data, newline=False).translate(_URL_SAFE, b"=")
