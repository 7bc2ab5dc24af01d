"""The example app as the attacks find it: time moves on demand, and calls of the store can wait.

Whoever attacks it has no part in that: nothing of the app is changed.
"""

import asyncio
import logging
from collections import deque

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse

from example_app.main import app as example
from fastapi_memsession.clock import system_clock
from tests.attack import CONTROL
from tests.conftest import Clock

HELD = ("change", "create")  # what a store can be made to wait with

logging.basicConfig(level=logging.DEBUG)  # whatever the package has to say is printed

provider = example.state.sessions
clock = Clock()
system_clock.follow(clock)
events = []
gates: dict[str, asyncio.Event] = {}
waiting: list[str] = []
answered: deque[list] = deque(maxlen=100)  # method, path, names of cookies, status


@provider.subscribe
def note(event):
    events.append([event.kind, event.reason])


def hold_back(name):
    call = getattr(provider.store, name)

    async def wait_and_call(*arguments, **options):
        if name in gates:
            waiting.append(name)
            await gates[name].wait()
        return await call(*arguments, **options)

    setattr(provider.store, name, wait_and_call)


for each in HELD:
    hold_back(each)


async def control(request):
    """Do what the query says; tell the time, what has happened so far, and which calls wait."""
    said = request.query_params
    clock.advance(float(said.get("advance", 0)))
    if "advance" in said:
        system_clock.wake()
    if "hold" in said:
        gates[said["hold"]] = asyncio.Event()
    if "release" in said:
        waiting.clear()
        gates.pop(said["release"]).set()
    told = {"events": events, "waiting": waiting, "answered": list(answered)}
    return JSONResponse({"now": clock(), **told})


def noting(scope, send):
    """Note how a request is answered, or the handshake of a WebSocket."""
    if scope["type"] == "lifespan":
        return send
    request = [scope.get("method", "WEBSOCKET"), scope["path"]]
    cookies = sorted(HTTPConnection(scope).cookies)

    async def note_and_send(message):
        if message["type"] in {"http.response.start", "websocket.accept", "websocket.close"}:
            answered.append([*request, cookies, message.get("status", message["type"])])
        await send(message)

    return note_and_send


async def app(scope, receive, send):
    if scope.get("path") == CONTROL:
        await (await control(Request(scope)))(scope, receive, send)
    else:
        await example(scope, receive, noting(scope, send))
