"""A chat room: a WebSocket that is open for as long as its session lives, and a page for it.

Whoever is in the room is so in this process: with several workers there is a room in each.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse

from example_app.pages import headers_of, page_named
from fastapi_memsession import CurrentSession

LONGEST_TEXT = 500  # characters
_MOST_WAITING = 100  # messages for somebody who does not read

router = APIRouter()

Message = dict[str, str]


class Room:
    """Passes on what one says to everybody."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Message]] = set()

    @contextmanager
    def entered(self) -> Iterator[asyncio.Queue[Message]]:
        """Give what is said from now on."""
        heard: asyncio.Queue[Message] = asyncio.Queue(_MOST_WAITING)
        self._listeners.add(heard)
        try:
            yield heard
        finally:
            self._listeners.remove(heard)

    def say(self, user_id: str, text: str) -> None:
        """Let everybody hear it; who does not keep up misses some."""
        for listener in self._listeners:
            with suppress(asyncio.QueueFull):
                listener.put_nowait({"user_id": user_id, "text": text})


room = Room()


@router.websocket("/chat/socket")
async def chat(websocket: WebSocket, session: CurrentSession) -> None:
    """Talk until the client leaves, or the session ends: then the socket is closed with 1008."""
    await websocket.accept()
    async with session.alive(), asyncio.TaskGroup() as tasks:
        with room.entered() as heard:
            passing_on = tasks.create_task(_pass_on(heard, websocket))
            async for text in websocket.iter_text():
                room.say(session.user_id, text[:LONGEST_TEXT])
            passing_on.cancel()


async def _pass_on(heard: asyncio.Queue[Message], websocket: WebSocket) -> None:
    with suppress(WebSocketDisconnect):
        while True:
            await websocket.send_json(await heard.get())


@router.get("/chat", include_in_schema=False)
async def read_chat() -> HTMLResponse:
    """Return the page of the chat room."""
    return HTMLResponse(_PAGE, headers=_HEADERS)


_PAGE = page_named("chat")
_HEADERS = headers_of(_PAGE)
