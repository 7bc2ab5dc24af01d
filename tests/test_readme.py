"""The README: its code runs, its transcript is what happens, its table names every setting."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fastapi_memsession import SessionSettings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TRANSCRIPT = re.search(r"<!-- transcript -->\n```console\n(.*?)```", README, re.DOTALL)[1]


def run(code):
    names = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_there_is_code():
    """The three blocks that the tests below know."""
    assert len(PYTHON) == 3
    assert len(PYTHON[0].strip().splitlines()) <= 30


def test_the_first_application_runs_as_printed():
    """From login to logout."""
    client = TestClient(run(PYTHON[0])["app"])
    wrong = client.post("/login", json={"username": "admin", "password": "x"})
    assert wrong.status_code == 401
    body = re.search(r"-d '(.*)' http://127.0.0.1:8000/login\n```", README)[1]
    right = client.post("/login", content=body, headers={"Content-Type": "application/json"})
    assert right.json() == {"user_id": "user_123"}
    headers = {"Authorization": right.headers["authorization"]}
    assert client.get("/profile", headers=headers).json() == {"role": "admin", "visits": 1}
    assert client.get("/profile", headers=headers).json()["visits"] == 2
    assert client.post("/logout", headers=headers).status_code == 200
    assert client.get("/profile", headers=headers).status_code == 401


def test_the_second_application_runs_as_printed():
    """A model in the session, an optional session."""
    client = TestClient(run(PYTHON[1])["app"])
    headers = {"Authorization": client.post("/login").headers["authorization"]}
    client.post("/cart/tea", headers=headers)
    assert client.post("/cart/milk", headers=headers).json() == {"items": ["tea", "milk"]}
    assert client.get("/", headers=headers).json() == "Hello user_123"
    assert client.get("/").json() == "Hello stranger"


def test_the_example_of_a_test_is_one(login_as, session_clock):
    """It passes, and fails when the session does not end."""
    names = run(PYTHON[2])
    names["test_a_session_ends_after_an_hour_without_use"](login_as, session_clock)
    names = run(PYTHON[2].replace("advance(3600)", "advance(60)"))
    with pytest.raises(AssertionError):
        names["test_a_session_ends_after_an_hour_without_use"](login_as, session_clock)


def test_the_transcript_is_what_happens(tmp_path):
    """Each command, against the example app, answers as printed but for times."""
    process = subprocess.Popen(
        [sys.executable, "-m", "example_app"],
        cwd=ROOT,
        env={**os.environ, "PORT": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        entries = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", TRANSCRIPT, re.MULTILINE)
        assert len(entries) == 6
        script = "\n".join(f"{command}; echo; echo --" for command, _ in entries)
        script = script.replace("http://127.0.0.1:8000", address)
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        answers = [answer.strip() for answer in done.stdout.split("\n--\n")]
        timeless = re.compile(r"\d{10}(\.\d+)?|8639\d")
        for (command, printed), answer in zip(entries, answers, strict=False):
            assert timeless.sub("T", answer) == timeless.sub("T", printed.strip()), command
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        process.stdout.close()


def test_every_setting_is_in_the_table():
    """And no other."""
    table = README.partition("| `MEMSESSION_...` |")[2].partition("\n\n")[0]
    first_column = " ".join(line.split("|")[1] for line in table.splitlines() if line[:3] == "| `")
    named = {name.lower() for name in re.findall(r"`([A-Z_]+)`", first_column)}
    assert named == set(SessionSettings.model_fields)
