"""Gates: dependencies that let through only sessions that may do what an endpoint does."""

from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

from fastapi import Depends
from starlette.requests import HTTPConnection

from fastapi_memsession.connection import state_of
from fastapi_memsession.dependencies import get_session
from fastapi_memsession.errors import NotPermitted, SessionUsageError
from fastapi_memsession.session import Session


def require(
    *, fresh: float | timedelta | None = None, **claims: str | Collection[str]
) -> Callable[..., Awaitable[Session]]:
    """Return a dependency that gives the session if it is good enough, and answers 403 if not.

    `Depends(require(role="admin"))`, `Depends(require(role={"admin", "editor"}, fresh=300))`.
    The session is loaded once, whatever else asks for it. Without one the answer is 401.

    Args:
        fresh: seconds since the user last proved who they are, at most: at login, or by
            `session.confirm()` after another look at the password.
        **claims: the value that each must have; one of several values, if a collection is given.

    Raises:
        SessionUsageError: nothing is required, `fresh` is not more than zero, or a claim is no
            text, so that no session could pass.
    """
    seconds = fresh.total_seconds() if isinstance(fresh, timedelta) else fresh
    if seconds is None and not claims:
        raise SessionUsageError("require() was given nothing to require; use get_session.")
    if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
        raise SessionUsageError("require(fresh=...) must be more than zero seconds.")
    allowed = {name: _texts(name, values) for name, values in claims.items()}

    async def gate(connection: HTTPConnection, session: Session = Depends(get_session)) -> Session:
        try:
            _check(session, allowed, seconds, now=state_of(connection).provider.clock())
        except NotPermitted as error:
            await state_of(connection).provider.events.refused(error)
            raise
        return session

    return gate


def _texts(name: str, values: str | Collection[str]) -> frozenset[str]:
    texts = [values] if isinstance(values, str) else values
    if not isinstance(texts, Collection) or not all(isinstance(each, str) for each in texts):
        raise SessionUsageError(f"require({name}=...) must be text, or a collection of texts.")
    return frozenset(texts)


def _check(
    session: Session, allowed: dict[str, frozenset[str]], seconds: float | None, *, now: float
) -> None:
    for name, values in allowed.items():
        if session.claims.data.get(name) not in values:
            raise NotPermitted(
                f"This needs {name} to be {' or '.join(sorted(values))}.",
                reason="claims",
                user_id=session.user_id,
                session_id=session.id,
            )
    if seconds is not None and now - session.confirmed_at >= seconds:
        raise NotPermitted(
            "Prove again who you are, then try this again.",
            reason="confirmation",
            max_age=seconds,
            user_id=session.user_id,
            session_id=session.id,
        )
