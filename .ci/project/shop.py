"""A user's application: set up at import, with a clock and a store of the library's choice."""

from fastapi import FastAPI, Request

from fastapi_memsession import CurrentSession, SessionSettings, login_session, setup_sessions

app = FastAPI()
setup_sessions(app, SessionSettings(env="test", carrier="header,cookie"))


@app.post("/login/{user_id}")
async def login(request: Request, user_id: str) -> None:
    """Log in."""
    await login_session(request, user_id)


@app.get("/cart")
async def cart(session: CurrentSession) -> list[str]:
    """Show what is in the cart."""
    items: list[str] = await session.get("cart", [])
    return [f"{session.user_id}: {item}" for item in items]
