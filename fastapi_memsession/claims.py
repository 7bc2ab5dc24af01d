"""Changing the claims of live sessions. Knows records and tokens, neither requests nor events.

The record is the authority: what it says is true from the next request on, and a token that says
something else is replaced then. Claims are changed only if a token can carry them.
"""

from collections.abc import Callable, Mapping

from fastapi_memsession.issuer import TokenIssuer
from fastapi_memsession.logins import changed_claims
from fastapi_memsession.records import SessionKey, SessionRecord
from fastapi_memsession.stores.base import SessionStore


class ClaimsEditor:
    """Changes claims, each session's in one atomic step.

    Args:
        store: where the records are.
        issuer: tells whether a token can carry them.
        clock: seconds since the epoch.
    """

    def __init__(
        self, store: SessionStore, issuer: TokenIssuer, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._clock = clock

    async def change_all(self, user_id: str, changes: Mapping[str, str | None]) -> int:
        """Change claims of all sessions of a user; return how many there are.

        Raises:
            SessionDataError: a claim is no text. Nothing was changed.
            SessionTooLarge: some session's token could not carry them. Nothing was changed.
        """
        infos = await self._store.list_user(user_id, now=self._clock())
        begun = {info.created_at for info in infos}
        seen: set[str] = set()
        changed = 0
        while infos:
            records = []
            for info in infos:
                key = SessionKey(user_id, info.session_id)
                record = await self._store.load(key, now=self._clock(), renew_interval=None)
                # Under a former id it may have been changed already, and counted.
                if record and (self._after(record, changes) != record.claims or not seen):
                    records.append(record)
            changed += sum([await self.change(each, changes) is not None for each in records])
            # One that got a new id meanwhile was missed under the old one. It keeps its age.
            seen.update(info.session_id for info in infos)
            infos = [
                info
                for info in await self._store.list_user(user_id, now=self._clock())
                if info.session_id not in seen and info.created_at in begun
            ]
        return changed

    async def change(
        self, record: SessionRecord, changes: Mapping[str, str | None]
    ) -> SessionRecord | None:
        """Change claims of one session; return its record as it is then, None if it is absent."""
        while True:
            claims = self._after(record, changes)
            after = await self._store.set_claims(
                record.key, claims, expected=record.claims, now=self._clock()
            )
            if after is None or after.claims == claims:
                return after
            record = after  # somebody else changed them meanwhile

    def _after(self, record: SessionRecord, changes: Mapping[str, str | None]) -> dict[str, str]:
        """Return the claims after changes, if a token can carry them."""
        claims = changed_claims(record.claims, changes)
        self._issuer.issue_access(record._replace(claims=claims), now=self._clock())
        return claims
