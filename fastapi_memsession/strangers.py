"""Tells a developer why everybody is logged out: tokens that another process of this app signed.

For development and tests. Looks into tokens without verifying them, for a line in the log and
nothing else: the client gets the one answer that every token gets which does not verify.
"""

import base64
import json
import logging
from typing import Any

from fastapi_memsession.checks import MAKE_A_KEY
from fastapi_memsession.errors import InvalidToken
from fastapi_memsession.tokens import (
    ACCESS,
    MAX_TOKEN_BYTES,
    REFRESH,
    Kind,
    TokenClaims,
    TokenCodec,
)

logger = logging.getLogger("fastapi_memsession")


class WatchfulTokenCodec(TokenCodec):
    """A TokenCodec that says once if a token comes whose key it does not know."""

    __slots__ = ("_told",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._told = False

    def _verified(self, token: str, kind: Kind) -> TokenClaims:
        try:
            return super()._verified(token, kind)
        except InvalidToken:
            self._look_at(token)
            raise

    def _look_at(self, token: str) -> None:
        if self._told or not self._seems_ours(token):
            return
        self._told = True
        logger.warning(
            "A token came that this application issued, but in another process, a worker or one "
            "before a restart, with a key that is not known here: with random keys everyone is "
            "logged out. To have one key: export MEMSESSION_JWT_KEY=$(%s). Sessions in memory, "
            "and their key, are kept over a restart by MEMSESSION_SNAPSHOT=.sessions.json. "
            "(Told once.)",
            MAKE_A_KEY,
        )

    def _seems_ours(self, token: str) -> bool:
        shape = self._shape.fullmatch(token) if len(token) <= MAX_TOKEN_BYTES else None
        if shape is None or shape[1] in self._access.keys or shape[1] in self._refresh.keys:
            return False
        try:
            header, claims = (_decoded(part) for part in token.split(".")[:2])
            return (
                header["typ"] in (ACCESS, REFRESH)
                and type(header["kid"]) is str
                and claims["iss"] == self._issuer
                and claims["aud"] == self._audience
            )
        except Exception:
            return False


def _decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
