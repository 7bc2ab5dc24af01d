"""An application that real servers serve: sockets and streams that end with their sessions."""

import asyncio

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

from fastapi_memsession import CurrentSession, SessionProvider, login_session, setup_sessions

app = FastAPI()
provider: SessionProvider = setup_sessions(app)


@app.post("/login/{user}")
async def login(request: Request, user: str, expiration: float | None = None):
    session = await login_session(request, user, expiration=expiration)
    return session.id


@app.post("/logout")
async def logout(session: CurrentSession):
    await session.destroy()


@app.post("/regenerate")
async def regenerate(session: CurrentSession):
    await session.regenerate()


@app.websocket("/socket")
async def socket(websocket: WebSocket, session: CurrentSession):
    await websocket.accept()
    async with session.alive():
        await websocket.send_text(session.user_id)
        async for _ in websocket.iter_text():
            await websocket.send_json(await session.incr("n"))


@app.get("/events")
async def events(session: CurrentSession):
    async def stream():
        yield f"data: {session.user_id}\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(session.while_alive(stream()), media_type="text/event-stream")


@app.get("/wait")
async def wait(session: CurrentSession):
    async with session.alive():
        await asyncio.Event().wait()
