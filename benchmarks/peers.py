"""Other packages that keep sessions or stand in for them, in applications that do what ours does.

Each is set up as its own documentation says, holds the same fields, and is checked as ours is.
They are imported where they are used: one that is missing, or does not work with the versions
that are installed, costs its own line in the table and no other. Who is to be found in a database
is in a dict here: databases are not what is compared.
"""

import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel

from benchmarks.contenders import FIELDS, KEY, Contender, checked

DAY = 24 * 3600


async def starlette_cookie() -> Contender:
    """Set up Starlette's own sessions: all data in a signed cookie, nothing on the server."""
    from starlette.middleware.sessions import SessionMiddleware

    app = FastAPI()
    app.add_middleware(SessionMiddleware, secret_key=KEY)
    return await checked(_with_mapping(app))


async def starsessions_memory() -> Contender:
    """Set up starsessions with its store in memory."""
    from starsessions import InMemoryStore

    return await _starsessions(InMemoryStore())


async def starsessions_redis(client: Any) -> Contender:
    """Set up starsessions with its store in Redis."""
    from starsessions.stores.redis import RedisStore

    return await _starsessions(RedisStore(connection=client))


async def _starsessions(store: Any) -> Contender:
    from starsessions import SessionAutoloadMiddleware, SessionMiddleware

    app = FastAPI()
    app.add_middleware(SessionAutoloadMiddleware)
    app.add_middleware(SessionMiddleware, store=store, lifetime=DAY, rolling=True)
    return await checked(_with_mapping(app))


def _with_mapping(app: FastAPI) -> FastAPI:
    """Add the endpoints for a session that is a dict at the request."""
    users = itertools.count()

    @app.post("/login")
    async def login(request: Request) -> Any:
        user_id = f"user-{next(users)}"
        request.session.update(FIELDS, user_id=user_id)
        return {"user_id": user_id}

    async def of_somebody(request: Request) -> dict[str, Any]:
        if "user_id" not in request.session:
            raise HTTPException(401)
        return request.session

    @app.get("/theme")
    async def theme(session: Annotated[dict[str, Any], Depends(of_somebody)]) -> Any:
        return {"theme": session["theme"]}

    return app


class User(BaseModel):
    """A user as an endpoint sees one who is known by a token alone."""

    username: str
    theme: str
    disabled: bool = False


async def tutorial_jwt() -> Contender:
    """Set up what FastAPI's tutorial builds: a JWT that names a user, and three dependencies."""
    import jwt
    from fastapi.security import OAuth2PasswordBearer

    scheme = OAuth2PasswordBearer(tokenUrl="login")
    app, names = FastAPI(), itertools.count()
    users: dict[str, dict[str, Any]] = {}

    async def user_of_token(token: Annotated[str, Depends(scheme)]) -> User:
        try:
            name = jwt.decode(token, KEY, algorithms=["HS256"]).get("sub")
        except jwt.InvalidTokenError:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"}) from None
        if name not in users:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
        return User(**users[name])

    async def active_user(user: Annotated[User, Depends(user_of_token)]) -> User:
        if user.disabled:
            raise HTTPException(400, "Inactive user")
        return user

    @app.post("/login")
    async def login() -> Any:
        name = f"user-{next(names)}"
        users[name] = {"username": name, "theme": FIELDS["theme"]}
        expires_at = datetime.now(UTC) + timedelta(days=1)
        token = jwt.encode({"sub": name, "exp": expires_at}, KEY, algorithm="HS256")
        return {"access_token": token, "token_type": "bearer"}

    @app.get("/theme")
    async def theme(user: Annotated[User, Depends(active_user)]) -> Any:
        return {"theme": user.theme}

    return await checked(app)


async def fastapi_users_redis(client: Any) -> Contender:
    """Set up fastapi-users with tokens in Redis; the user, whose theme it is, in a dict."""
    from fastapi_users import BaseUserManager, FastAPIUsers, IntegerIDMixin
    from fastapi_users.authentication import AuthenticationBackend, BearerTransport, RedisStrategy
    from fastapi_users.db import BaseUserDatabase

    state = {"is_active": True, "is_verified": True, "is_superuser": False}
    users = {1: SimpleNamespace(id=1, email="anna@example.org", theme=FIELDS["theme"], **state)}

    class Users(BaseUserDatabase[Any, int]):
        async def get(self, id: int) -> Any:  # noqa: A002 - their name
            return users.get(id)

    class Manager(IntegerIDMixin, BaseUserManager[Any, int]):
        pass

    async def manager() -> Any:
        yield Manager(Users())

    strategy: Any = RedisStrategy(client, lifetime_seconds=DAY)
    backend: Any = AuthenticationBackend(
        name="redis", transport=BearerTransport("login"), get_strategy=lambda: strategy
    )
    app = FastAPI()
    current = FastAPIUsers[Any, int](manager, [backend]).current_user(active=True)

    @app.post("/login")
    async def login() -> Any:
        return await backend.login(strategy, users[1])

    @app.get("/theme")
    async def theme(user: Annotated[Any, Depends(current)]) -> Any:
        return {"theme": user.theme}

    return await checked(app)


async def crudauth_memory() -> Contender:
    """Set up crudauth's session manager with its store in memory."""
    return await _crudauth("memory")


async def crudauth_redis(client: Any) -> Contender:
    """Set up crudauth's session manager with its store in Redis."""
    return await _crudauth("redis", client=client)


async def _crudauth(backend: str, **options: Any) -> Contender:
    from crudauth.storage import get_session_storage
    from crudauth.transports.session.manager import SessionManager

    # As its session transport makes one, but that no user is fetched from a database.
    storage = get_session_storage(backend, prefix="session:", **options)
    csrf = get_session_storage(backend, prefix="csrf:", **options)
    manager = SessionManager(storage, csrf_storage=csrf, key_secret=KEY)
    app, users = FastAPI(), itertools.count()

    @app.post("/login")
    async def login(request: Request, response: Response) -> Any:
        user_id = f"user-{next(users)}"
        session_id, csrf_token = await manager.create_session(request, user_id, dict(FIELDS))
        manager.set_session_cookies(response, session_id, csrf_token)
        return {"user_id": user_id}

    async def live(request: Request) -> Any:
        session = await manager.validate_session(request.cookies.get("session_id", ""))
        if session is None:
            raise HTTPException(401)
        return session

    @app.get("/theme")
    async def theme(session: Annotated[Any, Depends(live)]) -> Any:
        return {"theme": session.metadata["theme"]}

    return await checked(app)


IN_MEMORY: dict[str, Callable[[], Awaitable[Contender]]] = {
    "Starlette, all data in the cookie": starlette_cookie,
    "starsessions": starsessions_memory,
    "FastAPI's tutorial, JWT": tutorial_jwt,
    "crudauth, sessions only": crudauth_memory,
}
IN_REDIS: dict[str, Callable[[Any], Awaitable[Contender]]] = {
    "starsessions": starsessions_redis,
    "fastapi-users": fastapi_users_redis,
    "crudauth, sessions only": crudauth_redis,
}
