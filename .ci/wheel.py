"""Build the wheel, look at what is in it, and log in with it where nothing else is installed.

Then test a user's project with it, whose own tests use the pytest plugin, under each plugin that
runs async tests; and see that its coverage is what it is without our plugin.
"""

import json
import os
import re
import shutil
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


PROJECT = Path(__file__).with_name("project")

# What runs async tests, how many of the project's tests then run, and options for pytest. Anyio is
# always there: FastAPI needs it. It runs what is marked for it.
SCOPE = ["-o", "asyncio_default_fixture_loop_scope=function"]
MODES = {
    "strict": (4, ["-o", "asyncio_mode=strict", *SCOPE]),
    "auto": (4, ["-o", "asyncio_mode=auto", *SCOPE]),
    "anyio": (4, ["-p", "no:asyncio"]),
    "none": (2, ["-p", "no:asyncio", "-p", "no:anyio", "--ignore=test_async.py"]),
}


def run(*command: str, cwd: str | None = None) -> str:
    return subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.PIPE, text=True).stdout


def run_tests(python: str, folder: str, mode: str, *options: str) -> str:
    """Run the project's tests; return what pytest says, or show it if they fail."""
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder, env={**os.environ, "MODE": mode}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def coverage(python: str, folder: str, *options: str) -> dict[str, list[int]]:
    """Return the lines of project and package that a test without our fixtures runs."""
    run_tests(
        python, folder, "none", "-p", "no:asyncio", "--noconftest", "test_plain.py", *options,
        "--cov=shop", "--cov=fastapi_memsession", "--cov-report=json",
    )  # fmt: skip
    report = json.loads((Path(folder) / "coverage.json").read_text())
    return {name: told["executed_lines"] for name, told in report["files"].items()}


PLAIN = """
from fastapi.testclient import TestClient
from shop import app

def test_the_cart_is_empty():
    client = TestClient(app)
    response = client.post("/login/anna")
    assert client.get("/cart", headers={"Authorization": response.headers["Authorization"]})
"""


with tempfile.TemporaryDirectory() as folder:
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ".")
    (wheel,) = Path(folder).glob("*.whl")

    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if ".dist-info/" not in name}
    tracked = run("git", "ls-files", "fastapi_memsession", "pytest_fastapi_memsession.py").split()
    assert inside == set(tracked), inside ^ set(tracked)
    assert any(name.endswith("/licenses/LICENSE") for name in names)

    venv.create(Path(folder) / "alone", with_pip=True)
    python = str(Path(folder) / "alone" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*install, str(wheel))
    run(python, "-W", "error", "-c", SMOKE, cwd=folder)
    print(f"{wheel.name}: {len(inside)} files, installed alone and logged in")

    run(*install, f"{wheel}[testing]", "httpx", "pytest-asyncio", "pytest-cov")
    project = str(shutil.copytree(PROJECT, Path(folder) / "project"))
    for mode, (number, options) in MODES.items():
        told = run_tests(python, project, mode, "--ignore=test_store.py", *options)
        assert re.search(rf"^{number} passed in ", told, re.MULTILINE), told
        told = run_tests(python, project, mode, "test_store.py", *options)
        assert re.search(r"^3\d\d passed in ", told, re.MULTILINE), told
    mypy = [sys.executable, "-m", "mypy", "--strict", "--allow-untyped-decorators"]
    run(*mypy, "--python-executable", python, ".", cwd=project)

    (Path(project) / "test_plain.py").write_text(PLAIN)
    lines = coverage(python, project)
    assert lines == coverage(python, project, "-p", "no:fastapi_memsession")
    assert lines["shop.py"], lines
    print(f"A project of its own: tested under {', '.join(MODES)}; its coverage is its own")
