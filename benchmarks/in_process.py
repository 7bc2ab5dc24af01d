"""What a request costs in process, as ratios to the same endpoint without sessions.

    python -m benchmarks.in_process [--quick] [--peers] [--redis]

Alone it measures this package in memory, in about ten seconds.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI

from benchmarks.contenders import FIELDS, Contender, bare, checked, ours
from benchmarks.peers import IN_MEMORY, IN_REDIS
from benchmarks.rounds import Times, Work, timed
from benchmarks.table import Row, absent, show

GET = "authenticated GET, memory"
GET_COOKIE = "authenticated GET, memory, by cookie"
GET_REDIS = "authenticated GET, Redis"
GET_REDIS_COOKIE = "authenticated GET, Redis, by cookie"
LOGIN = "login, memory"
UNTOUCHED = "a request that touches no session"
US, US_COOKIE = "fastapi-memsession, header", "fastapi-memsession, cookie"
US_RARE = "fastapi-memsession, header, each client rarely"
CLIENTS = 10_000  # more than anything in the package remembers of them; not so in a quick run
BASE = "bare: the same endpoint, a trivial dependency"
BASE_UNANNOTATED = "bare, without the annotation of what it returns"
BASE_COOKIE = "bare, sent the same cookie, which FastAPI reads"
PATIENCE = 30.0  # seconds for a call of Redis, however busy the machine is
BASE_REDIS = "bare, with a dependency that does one plain GET"
BASE_REDIS_COOKIE = "bare, with the plain GET, sent the same cookie"


@dataclass
class Race:
    """Contenders at the same work, the first of which is what the others are compared with."""

    work: str
    target: str
    contenders: dict[str, Work] = field(default_factory=dict)
    missing: list[Row] = field(default_factory=list)

    async def enter(
        self, peers: Mapping[str, Callable[..., Awaitable[Contender]]], *arguments: Any
    ) -> None:
        """Let peers take part that are there, and that work."""
        for name, set_up in peers.items():
            try:
                self.contenders[name] = (await set_up(*arguments)).theme
            except Exception as error:  # whatever is wrong with one of them, the others run
                self.missing.append(absent(self.work, name, error))

    def rows(
        self, found: Mapping[str, Times], working: Mapping[str, Times] | None = None
    ) -> list[Row]:
        """Return the lines of the table.

        Args:
            found: what is compared.
            working: processor time of the application, if that is something else.
        """
        lines = []
        for name, times in found.items():
            base = found[next(iter(found))]
            how = f"{times.median:.1f} us" + (
                "" if times is base else f", {times.more(base):+.1f} us"
            )
            work = times.median
            if working:
                work = working[name].median
                how += f"; at work for {work:.1f} us"
            target = self.target if name in (US, US_COOKIE) else ""
            lines.append(Row(self.work, name, times.ratio(base), "x", target, how, work))
        return lines + self.missing


async def in_memory(*, quick: bool = False, peers: bool = False) -> list[Row]:
    """Measure what nothing is waited for."""
    base, header, cookie = await bare(), await ours(), await ours(carrier="cookie")
    rare = await (await ours()).theme_of(100 if quick else CLIENTS)
    told, unannotated = Contender(base.app, cookie.credential), await bare(annotated=False)
    gets = {BASE: base.theme, BASE_UNANNOTATED: unannotated.theme}
    races = [
        Race(GET, "<= 1.15", gets | {US: header.theme, US_RARE: rare}),
        Race(GET_COOKIE, "<= 1.15", {BASE_COOKIE: told.theme, US_COOKIE: cookie.theme}),
        Race(LOGIN, "<= 1.6", {BASE: base.login, US: header.login}),
        Race(UNTOUCHED, "<= 1.03", {BASE: base.untouched, US: header.untouched}),
    ]
    if peers:
        await races[0].enter(IN_MEMORY)
    options = {"rounds": 3, "seconds": 0.001} if quick else {"rounds": 250}
    return [row for race in races for row in race.rows(await timed(race.contenders, **options))]


async def in_redis(*, quick: bool = False, peers: bool = False) -> list[Row]:
    """Measure what Redis is asked for, each contender over a client with the same settings."""
    from fastapi_memsession.stores.redis import RedisStore
    from fastapi_memsession.stores.redis_urls import client_maker
    from tests.redis_server import ADVICE, RedisServer, find

    if find() is None:
        return [absent(GET_REDIS, US, ADVICE)]
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(RedisServer(Path(folder)))
        client = client_maker(server.url, timeout=PATIENCE)()
        stack.push_async_callback(client.aclose)
        store = RedisStore(server.url, timeout=PATIENCE)
        stack.push_async_callback(store.aclose)
        header, cookie = await ours(store), await ours(store, carrier="cookie")
        plain = await _plain_get(client)
        told, alone = Contender(plain.app, cookie.credential), await bare()
        gets = {BASE_REDIS: plain.theme, "bare": alone.theme, US: header.theme}
        races = [
            Race(GET_REDIS, "<= 1.15", gets),
            Race(
                GET_REDIS_COOKIE,
                "<= 1.15",
                {BASE_REDIS_COOKIE: told.theme, US_COOKIE: cookie.theme},
            ),
        ]
        if peers:
            await races[0].enter(IN_REDIS, client)
        options = {"rounds": 3, "seconds": 0.002} if quick else {"rounds": 150, "seconds": 0.02}
        rows = []
        for race in races:
            waiting = await timed(race.contenders, clock=time.perf_counter, **options)
            rows += race.rows(waiting, await timed(race.contenders, **options))
        return rows


async def _plain_get(client: Any) -> Contender:
    """Set up the least that an endpoint can do which keeps something in Redis."""
    from pydantic_core import to_json

    await client.set("plain", to_json(FIELDS))
    app = FastAPI()

    async def value() -> str:
        await client.get("plain")
        return FIELDS["theme"]

    @app.post("/login")
    async def login(_theme: str = Depends(value)) -> Any:
        return {}

    @app.get("/theme")
    async def theme(theme: str = Depends(value)) -> Any:
        return {"theme": theme}

    return await checked(app, open_to_all=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="see that it runs; figures are noise")
    parser.add_argument("--peers", action="store_true", help="and other packages")
    parser.add_argument("--redis", action="store_true", help="and on Redis")
    arguments = parser.parse_args()
    options = {"quick": arguments.quick, "peers": arguments.peers}
    parts = [in_memory, in_redis] if arguments.redis else [in_memory]
    print(show([row for part in parts for row in asyncio.run(part(**options))]))


if __name__ == "__main__":
    main()
