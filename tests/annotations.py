"""What type checkers see: `make type` has mypy and pyright look at this file. Nothing runs it.

A wrong type is an error of `assert_type`; an ignored error that is none is an error, too.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, assert_type

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel

from fastapi_memsession import (
    CurrentSession,
    CurrentSyncSession,
    NotPermitted,
    OptionalSyncSession,
    Session,
    SessionEvent,
    SyncSession,
    get_session,
    get_sync_session,
    login_session,
    login_session_sync,
    session_of,
    sync_session_of,
    typed_session,
)
from fastapi_memsession.errors import EndReason, Lack
from fastapi_memsession.events import RefusalReason

app = FastAPI()


class Cart(BaseModel):
    """A shape."""

    items: list[str] = []


@dataclass
class Theme:
    """Another one."""

    dark: bool = False


class Visits(TypedDict, total=False):
    """A third one."""

    n: int


CartSession = Annotated[Session[Cart], Depends(session_of(Cart))]
FreshCartSession = Annotated[Session[Cart], Depends(session_of(Cart, fresh=Cart))]
SyncCartSession = Annotated[SyncSession[Cart], Depends(sync_session_of(Cart))]


@app.get("/typed")
async def typed(session: CartSession, fresh: FreshCartSession) -> None:
    """With a shape, data are of it."""
    assert_type(session, Session[Cart])
    assert_type(await session.data(), Cart)
    assert_type(await fresh.data(), Cart)
    await session.save(Cart())
    await session.save(Theme())  # type: ignore[arg-type]
    assert_type(await session.get("items", as_=list[str]), list[str] | None)
    takes_any(session)
    takes_carts(session)


@app.get("/bare")
async def bare(
    session: CurrentSession,
    declared: Session = Depends(get_session),
    claimed: Session[Cart] = Depends(get_session),
) -> None:
    """A bare Session is legal, and its data may be anything."""
    assert_type(session, Session[Any])
    assert_type(await declared.data(), Any)
    assert_type(await claimed.data(), Cart)
    takes_carts(declared)


@app.get("/sync")
def sync(
    session: SyncCartSession,
    plain: CurrentSyncSession,
    maybe: OptionalSyncSession,
    declared: SyncSession = Depends(get_sync_session),
) -> None:
    """The blocking twin gives values, not awaitables."""
    assert_type(session.data(), Cart)
    session.save(Cart())
    session.save(Theme())  # type: ignore[arg-type]
    assert_type(plain.incr("n"), int | float)
    assert_type(declared.get("cart", as_=Cart), Cart | None)
    assert_type(maybe, SyncSession[Any] | None)
    with plain.lock():
        plain.set("n", 1)


@app.post("/login")
async def login(request: Request) -> None:
    """A session from elsewhere may be given a shape; dataclasses and TypedDicts are shapes."""
    session = await login_session(request, "user_123")
    assert_type(await typed_session(session, Theme).data(), Theme)
    assert_type(await typed_session(session, Visits).data(), Visits)


@app.post("/login-sync")
def login_sync(request: Request) -> None:
    """Log in from a thread."""
    assert_type(login_session_sync(request, "user_123"), SyncSession[Any])


def takes_any(session: Session) -> None:
    """Take a session of whatever shape."""
    assert_type(session.user_id, str)


def takes_carts(session: Session[Cart]) -> None:
    """Take a session of one shape."""
    assert_type(session.id, str)


def watched(event: SessionEvent, error: NotPermitted) -> None:
    """Reasons are known by name: a typing error in a comparison is one for type checkers."""
    assert_type(event.reason, EndReason | RefusalReason | None)
    assert_type(error.reason, Lack)
