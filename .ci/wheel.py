"""Build the wheel, look at what is in it, and log in with it where nothing else is installed."""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

SMOKE = """
import asyncio
from fastapi import Depends, FastAPI, Request
from fastapi_memsession import Session, get_session, login_session, setup_sessions

app = FastAPI()
setup_sessions(app)

@app.post("/login")
async def login(request: Request):
    await login_session(request, "user_123")

@app.get("/profile")
async def profile(session: Session = Depends(get_session)):
    return session.user_id

async def request(method, path, headers=()):
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    await app(
        {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
         "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "http",
         "headers": list(headers), "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)},
        receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

async def main():
    _, headers, _ = await request("POST", "/login")
    credential = [(b"authorization", headers[b"authorization"])]
    answer = await request("GET", "/profile", credential)
    assert (answer[0], answer[2]) == (200, b'"user_123"'), answer

asyncio.run(main())
"""


def run(*command: str, cwd: str | None = None) -> str:
    return subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.PIPE, text=True).stdout


with tempfile.TemporaryDirectory() as folder:
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ".")
    (wheel,) = Path(folder).glob("*.whl")

    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = run("git", "ls-files", "fastapi_memsession").split()
    assert inside == set(tracked), inside ^ set(tracked)
    assert any(name.endswith("/licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())

    venv.create(Path(folder) / "alone", with_pip=True)
    python = str(Path(folder) / "alone" / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    run(python, "-W", "error", "-c", SMOKE, cwd=folder)
    print(f"{wheel.name}: {len(inside)} files, installed alone and logged in")
