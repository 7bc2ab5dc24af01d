"""The pages in docs/: their code runs, and their tables name what there is."""

import re
from pathlib import Path
from typing import get_args

import pytest
from fastapi import WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import fastapi_memsession
from fastapi_memsession import (
    CurrentSession,
    OptionalSession,
    SessionEnded,
    SessionError,
    StoreUnavailable,
    answers,
    commands,
    errors,
    routes,
)

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
LIFE = (ROOT / "docs" / "life-of-a-session.md").read_text()
ERRORS = (ROOT / "docs" / "errors.md").read_text()


BLOCKS = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("code", BLOCKS)
def test_the_code_runs_as_printed(code):
    """Each block by itself."""
    exec(compile(code, "a page", "exec"), {"__name__": "page"})


def test_links_lead_somewhere():
    """From page to page, and from the README."""
    for page in [*PAGES, ROOT / "README.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_reason_and_route_is_told():
    """Of an end, as a client may know it and as events tell it; of the ready-made routes."""
    for name in (*get_args(errors.ClientReason), *get_args(errors.EndReason)):
        assert f"`{name}`" in LIFE
    for name in get_args(routes.RouteName):
        assert f"| `{name}` |" in LIFE


def test_every_command_is_told(capsys):
    """In the table of the page about the command line, and no other."""
    page = (ROOT / "docs" / "command-line.md").read_text()
    table = page.partition("| prints |")[2].partition("\n\n")[0]
    with pytest.raises(SystemExit):
        commands.main(["--help"])
    known = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert list(dict.fromkeys(re.findall(r"^\| `(\w+)", table, re.MULTILINE))) == known


def application(text):
    """Return the application that the first block of a text makes."""
    names = {"__name__": "page"}
    exec(compile(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], "a page", "exec"), names)
    return names["app"]


def test_a_guests_data_go_over_to_the_user():
    """And those of a user go over to no other one."""
    app = application(LIFE.partition("## A guest's data")[2])

    @app.get("/cart")
    async def cart(session: CurrentSession):
        return {"user_id": session.user_id, "cart": await session.all()}

    client = TestClient(app)
    guest = {"Authorization": client.put("/cart/tea").headers["authorization"]}
    assert client.get("/cart", headers=guest).json()["user_id"].startswith("guest:")
    client.put("/cart/milk", headers=guest)
    user = {"Authorization": client.post("/login", headers=guest).headers["authorization"]}
    expected = {"user_id": "user_123", "cart": {"milk": 1, "tea": 1}}
    assert client.get("/cart", headers=user).json() == expected
    assert client.get("/cart", headers=guest).json()["reason"] == "replaced"
    other = {"Authorization": client.post("/login", headers=user).headers["authorization"]}
    assert client.get("/cart", headers=other).json()["cart"] == {}


def public_errors():
    """Return each subclass of SessionError that has a name in the package."""
    found = [getattr(fastapi_memsession, name) for name in fastapi_memsession.__all__]
    kinds = [each for each in found if isinstance(each, type)]
    return [each for each in kinds if issubclass(each, SessionError) and each is not SessionError]


@pytest.mark.parametrize("kind", public_errors(), ids=lambda kind: kind.__name__)
def test_every_error_is_told_with_its_answer(kind):
    """Its status and the code that closes a WebSocket, or that it has none."""
    row = re.search(rf"^\| `{kind.__name__}` \|.*$", ERRORS, re.MULTILINE)[0]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    status = answers._nearest(answers._STATUS, kind.__new__(kind), None)
    assert cells[2] == (str(status.value) if status else "none")
    code = 1013 if issubclass(kind, StoreUnavailable) else 1008
    assert cells[4] == (str(code) if status else "")
    assert ("Retry-After" in cells[3]) == issubclass(kind, StoreUnavailable)


def test_the_answer_in_ones_own_form():
    """Has the status and the headers of the usual one; a WebSocket is closed as usual."""
    app = application(ERRORS)

    @app.get("/profile")
    async def profile(session: CurrentSession): ...

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, session: OptionalSession):
        await websocket.accept()
        raise SessionEnded("revoked")

    client = TestClient(app)
    answer = client.get("/profile")
    assert answer.status_code == 401
    assert answer.json() == {"error": "NotAuthenticated", "detail": "Not authenticated"}
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Cache-Control"] == "no-store"
    with client.websocket_connect("/socket") as opened, pytest.raises(WebSocketDisconnect) as end:
        opened.receive_text()
    assert (end.value.code, end.value.reason) == (1008, "The session has ended: revoked")
