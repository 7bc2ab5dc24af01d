"""The package and what it is measured against, as small applications that all do the same.

`POST /login` logs a user in, another one each time; `GET /theme` answers with one value read from
the session of whoever asks; `GET /untouched` has nothing to do with sessions. A contender is
checked before it is timed: it gives the value to whom it should and to nobody else.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle
from typing import Any

from fastapi import Depends, FastAPI, Request
from starlette.types import ASGIApp

from benchmarks.asgi import Answer, call, call_in_turn, call_often, cookies, request
from benchmarks.rounds import Work
from fastapi_memsession import (
    CurrentSession,
    MemoryStore,
    SessionSettings,
    SessionStore,
    login_session,
    setup_sessions,
)

KEY = "a key for measurements, of more than thirty-two bytes"

# What every session holds, whoever keeps it: five small fields, and one claim where there are any.
FIELDS: dict[str, Any] = {
    "login_time": 1_764_000_000,
    "login_ip": "203.0.113.7",
    "theme": "dark",
    "language": "en-GB",
    "last_page": "/orders/2025/1187?sort=date&direction=descending",
}
FIELDS_BYTES = len(json.dumps(FIELDS, separators=(",", ":")))
CLAIMS = {"role": "admin"}
ANSWER = {"theme": FIELDS["theme"]}


@dataclass(frozen=True)
class Contender:
    """An application, and what to send it.

    Attributes:
        credential: the headers that a logged-in client sends.
    """

    app: ASGIApp
    credential: Sequence[tuple[bytes, bytes]] = ()

    @property
    def theme(self) -> Work:
        """The request with a session."""
        return partial(call_often, self.app, request("GET", "/theme", *self.credential))

    async def theme_of(self, clients: int) -> Work:
        """Log so many clients in; return their requests, in turn: none comes again soon."""
        logins = [await call(self.app, request("POST", "/login")) for _ in range(clients)]
        scopes = [request("GET", "/theme", *_credential(login)) for login in logins]
        return partial(call_in_turn, self.app, cycle(scopes))

    @property
    def login(self) -> Work:
        """The request that begins one."""
        return partial(call_often, self.app, request("POST", "/login"))

    @property
    def untouched(self) -> Work:
        """The request that has nothing to do with sessions."""
        return partial(call_often, self.app, request("GET", "/untouched"))


async def nothing() -> str:
    """Be the one trivial dependency of an endpoint that is called bare."""
    return FIELDS["theme"]


def bare_app(*, annotated: bool = True) -> FastAPI:
    """Make the application without sessions.

    Args:
        annotated: whether its endpoint says what it returns, as all others do here.
    """
    app, users = FastAPI(), count()

    @app.post("/login")
    async def login(_theme: str = Depends(nothing)) -> Any:
        return {"user_id": f"user-{next(users)}"}

    async def theme(theme: str = Depends(nothing)) -> Any:
        return {"theme": theme}

    if not annotated:
        del theme.__annotations__["return"]
    app.get("/theme")(theme)
    _add_untouched(app)
    return app


def our_app(store: SessionStore | None = None, **settings: Any) -> FastAPI:
    """Make the application with sessions of this package."""
    app, users = FastAPI(), count()
    setup_sessions(
        app,
        SessionSettings(env="test", jwt_key=KEY, **settings),
        store=store or MemoryStore(max_sessions=10**9),
    )

    @app.post("/login")
    async def login(request: Request) -> Any:
        user_id = f"user-{next(users)}"
        await login_session(request, user_id, claims=CLAIMS, data=FIELDS)
        return {"user_id": user_id}

    @app.get("/theme")
    async def theme(session: CurrentSession) -> Any:
        return {"theme": await session.get("theme")}

    _add_untouched(app)
    return app


def _add_untouched(app: FastAPI) -> None:
    @app.get("/untouched")
    async def untouched(theme: str = Depends(nothing)) -> Any:
        return {"theme": theme}


async def bare(*, annotated: bool = True) -> Contender:
    """Set up what everything is compared with."""
    return await checked(bare_app(annotated=annotated), open_to_all=True)


async def ours(store: SessionStore | None = None, **settings: Any) -> Contender:
    """Set this package up; keywords are settings."""
    return await checked(our_app(store, **settings))


async def checked(
    app: ASGIApp,
    *,
    login: dict[str, Any] | None = None,
    body: bytes = b"",
    open_to_all: bool = False,
) -> Contender:
    """Log in, see that the answers are right, and return what is to be timed.

    Args:
        app: the application.
        login: the scope of the request that logs in, if it is not the usual one.
        body: of that request.
        open_to_all: whether there is nothing to log in for.

    Raises:
        RuntimeError: an answer is wrong.
    """
    told = await call(app, login or request("POST", "/login"), body)
    if told.status not in (200, 204):
        raise RuntimeError(f"The login was answered with {told.status}: {told.body!r}")
    contender = Contender(app, () if open_to_all else _credential(told))
    with_session = await call(app, request("GET", "/theme", *contender.credential))
    if (with_session.status, with_session.json) != (200, ANSWER):
        raise RuntimeError(f"Logged in, the answer is {with_session}")
    without = await call(app, request("GET", "/theme"))
    if (without.status == 200) != open_to_all:
        raise RuntimeError(f"Not logged in, the answer is {without}")
    return contender


def _credential(login: Answer) -> Sequence[tuple[bytes, bytes]]:
    """Return the headers with which a client shows what the login gave it."""
    token = login.header(b"authorization")
    if not token and not cookies(login):
        token = b"Bearer " + login.json["access_token"].encode()
    return [(b"authorization", token)] if token else cookies(login)
