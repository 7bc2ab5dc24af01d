"""Where the time of a request goes, between an endpoint without sessions and one with them.

    python -m benchmarks.path [--carrier cookie] [--profile]

First a ladder: each line is the application with one thing more, and what that costs. Then the
same without FastAPI, an application of two messages behind the middleware; then the single steps
by themselves. With --profile, also which functions the time is in: cProfile's shares of what the
unprofiled requests took.
"""

import argparse
import asyncio
import cProfile
import pstats
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.asgi import call_often, request
from benchmarks.contenders import nothing, ours
from benchmarks.rounds import Times, Work, timed
from fastapi_memsession import CurrentSession, get_session, setup_sessions

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"16")]}
BODY = {"type": "http.response.body", "body": b'{"theme":"dark"}'}
PROFILED = 3_000  # requests


class Passing:
    """The least that a middleware can be."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        await self.app(scope, receive, send)


async def take(_connection: HTTPConnection) -> str:
    """Be a dependency that takes the connection, and does nothing with it."""
    return "dark"


async def with_nothing(theme: str = Depends(nothing)) -> Any:
    """Answer as the bare endpoint does."""
    return {"theme": theme}


async def with_connection(theme: str = Depends(take)) -> Any:
    """Answer, after FastAPI gave a dependency the connection."""
    return {"theme": theme}


async def with_session(_session: CurrentSession) -> Any:
    """Answer, with a session that nobody asks for anything."""
    return {"theme": "dark"}


async def with_value(session: CurrentSession) -> Any:
    """Answer with what the session holds."""
    return {"theme": await session.get("theme")}


async def plain(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer without looking."""
    await send(dict(START))
    await send(BODY)


async def connecting(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, with the request that FastAPI makes in any case."""
    Request(scope, receive, send)
    await plain(scope, receive, send)


async def opening(scope: Scope, receive: Receive, send: Send) -> None:
    """Open the session, then answer."""
    await get_session(Request(scope, receive, send))
    await plain(scope, receive, send)


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """Open the session and read a value, then answer."""
    session = await get_session(Request(scope, receive, send))
    await session.get("theme")
    await plain(scope, receive, send)


async def main() -> None:
    """Print the ladders, and the profile if it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--carrier", default="header")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--profile", action="store_true", help="by function, too")
    arguments = parser.parse_args()

    full = await ours(carrier=arguments.carrier)
    assert isinstance(full.app, FastAPI)
    provider, middleware = full.app.state.sessions, full.app.user_middleware[0]

    def through(app: Any) -> Work:
        return partial(call_often, app, request("GET", "/theme", *full.credential))

    def endpoint(function: Any, *, sessions: bool = True) -> Work:
        app = FastAPI()
        app.get("/theme")(function)
        if sessions:
            setup_sessions(app, provider.settings, store=provider.store)
        return through(app)

    passing = FastAPI()
    passing.add_middleware(Passing)
    passing.get("/theme")(with_nothing)

    def inside(inner: Any) -> Work:
        return through(middleware.cls(inner, *middleware.args, **middleware.kwargs))

    scope = request("GET", "/theme", *full.credential)
    connection = HTTPConnection(scope)
    token = provider.carrier.extract(connection).token
    session = await provider.open(token, scope=scope)
    key, now = session.record.key, provider.clock()
    load = partial(
        provider.store.load, key, now=now, renew_interval=provider.renew_seconds, generation=0
    )
    ladders: dict[str, dict[str, Work]] = {
        "with FastAPI": {
            "an endpoint with a trivial dependency": endpoint(with_nothing, sessions=False),
            "+ a middleware that does nothing": through(passing),
            "+ our middleware in its place": endpoint(with_nothing),
            "+ the dependency takes the connection": endpoint(with_connection),
            "+ it opens the session": endpoint(with_session),
            "+ the endpoint reads a value": endpoint(with_value),
        },
        "without FastAPI": {
            "an application of two messages": through(plain),
            "+ a request object": through(connecting),
            "+ our middleware around it": inside(connecting),
            "+ it opens the session": inside(opening),
            "+ it reads a value": inside(reading),
        },
    }
    steps: dict[str, Work] = {
        "an empty step": _sync(lambda: None),
        "carrier.extract": _sync(partial(provider.carrier.extract, connection)),
        "provider.at_hand: opened lately": _sync(partial(provider.at_hand, scope)),
        "provider.open: decode, load, Session": _async(partial(provider.open, token, scope=scope)),
        "tokens.decode, seen before": _sync(partial(provider.tokens.decode, token)),
        "tokens.read, verified anew": _sync(partial(provider.tokens.read, token)),
        "store.load": _async(load),
        "session.get": _async(partial(session.get, "theme")),
    }
    found: dict[str, Times] = {}
    for ladder in (*ladders.values(), steps):
        found_here = await timed(ladder, rounds=arguments.rounds)
        found |= found_here
        _print(found_here, cumulative=ladder is not steps)
    if arguments.profile:
        await _profile(full.theme, found["+ the endpoint reads a value"].median)


def _print(found: dict[str, Times], *, cumulative: bool) -> None:
    first = before = next(iter(found.values()))
    for name, times in found.items():
        line = f"{name:42}{times.median:9.2f} us"
        if cumulative and times is not first:
            line += f"{times.more(before):+9.2f}{times.ratio(first):9.3f} x"
        print(line)
        before = times
    print()


def _sync(step: Callable[[], object]) -> Work:
    async def work(times: int) -> None:
        for _ in range(times):
            step()

    return work


def _async(step: Callable[[], Awaitable[object]]) -> Work:
    async def work(times: int) -> None:
        for _ in range(times):
            await step()

    return work


async def _profile(work: Work, microseconds: float) -> None:
    """Print by function what its own code takes, as a share of the unprofiled time."""
    profile = cProfile.Profile()
    profile.enable()
    await work(PROFILED)
    profile.disable()
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    print("\nby function, its own code; cProfile makes short functions look longer than they are\n")
    lines = []
    for (path, line, name), (_, calls, own, _, _) in stats.items():
        where = "" if path == "~" else f"{'/'.join(Path(path).parts[-2:])}:{line} "
        lines.append((own / total * microseconds, calls / PROFILED, f"{where}{name}"))
    for own, calls, name in sorted(lines, reverse=True)[:45]:
        print(f"{own:8.2f} us {calls:7.1f} calls  {name}")


if __name__ == "__main__":
    asyncio.run(main())
