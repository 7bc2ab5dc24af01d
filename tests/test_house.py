"""The house: imports go one way, each library has one door, and the porch names what is public."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastapi_memsession

HOUSE = Path(fastapi_memsession.__file__).parent

# Each room may import from the rooms above it, never from its own floor's right or below.
FLOORS = [
    ["base64url", "clock", "errors"],
    ["checks", "deadline", "records", "threads", "unbroken", "values"],
    ["spellings"],
    ["audit", "events", "keys", "settings", "shapes"],
    ["tokens", "carriers", "logins", "stores", "stores.verbs", "stores.leases", "stores.listeners"],
    ["stores.copies"],
    ["stores.base", "shown"],
    ["stores.changes", "stores.endings", "stores.expiry", "stores.siblings", "stores.packing"],
    ["stores.redis_layout", "stores.redis_pooled", "stores.redis_urls", "stores.shelf"],
    ["stores.redis_client", "stores.redis_places"],
    ["stores.redis_calls", "stores.redis_listening", "stores.redis_tracking"],
    ["stores.redis_locks"],
    ["stores.memory", "stores.redis"],
    ["stores.near"],
    ["stores.chosen", "stores.snapshot", "strangers"],
    ["interruption"],
    ["watches"],
    ["session_data", "issuer"],
    ["session_life", "claims", "caching"],
    ["session"],
    ["opening"],
    ["provider", "origins", "answers", "openapi", "sync_session", "typed_session"],
    ["response", "cleanup"],
    ["connection"],
    ["dependencies", "middleware"],
    ["gates", "routes", "sync_dependencies"],
    ["setup", "commands", "testing.application", "testing.session_clock"],
    ["testing.empty_sessions", "testing.login_as"],
    ["testing", "testing.contract.model", "testing.contract.strategies", "testing.contract.trial"],
    [
        "testing.contract.changes",
        "testing.contract.claims",
        "testing.contract.devices",
        "testing.contract.endings",
        "testing.contract.locks",
        "testing.contract.logins",
        "testing.contract.programs",
        "testing.contract.records",
        "testing.contract.rotation",
        "testing.contract.stats",
        "testing.contract.users",
        "testing.contract.waiting",
    ],
    ["testing.contract.watching"],
    ["testing.contract"],
    ["__init__", "__main__"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Who may open the door to a library.
DOORS = {
    "jose": {"keys", "tokens"},
    "cryptography": {"keys"},
    "redis": {
        "stores.redis_client",
        "stores.redis_places",
        "stores.redis_urls",
    },
    "fastapi": {"dependencies", "gates", "openapi", "routes", "setup", "sync_dependencies"},
    "anyio": {"testing.login_as", "threads"},
    "pydantic_settings": {"settings", "spellings"},
    "starlette": {
        "caching",
        "carriers",
        "shown",
        "issuer",
        "openapi",
        "opening",
        "provider",
        "origins",
        "answers",
        "response",
        "connection",
        "dependencies",
        "middleware",
        "gates",
        "routes",
        "sync_dependencies",
        "testing.login_as",
    },
}
NO_ROOMS = {"utils", "core", "types", "common", "helpers"}


def rooms():
    for path in sorted(HOUSE.rglob("*.py")):
        name = ".".join(path.relative_to(HOUSE).with_suffix("").parts)
        yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def imports(tree):
    """Modules that are imported when the room is entered; not those for type checkers."""
    for node in tree.body:
        if isinstance(node, ast.Try):
            yield from imports(node)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module


ROOMS = dict(rooms())


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room):
    """A room knows only rooms on floors above its own."""
    for module in imports(ROOMS[room]):
        if module.startswith("fastapi_memsession."):
            known = module.removeprefix("fastapi_memsession.")
            assert FLOOR[known] < FLOOR[room], f"{room} imports {known}"


def test_every_room_has_a_floor_and_says_what_it_is_for():
    """And none is a lumber room."""
    assert set(ROOMS) == set(FLOOR)
    assert not NO_ROOMS & {part for room in ROOMS for part in room.split(".")}
    for room, tree in ROOMS.items():
        assert ast.get_docstring(tree), room


@pytest.mark.parametrize(("library", "allowed"), DOORS.items())
def test_each_library_has_its_doors(library, allowed):
    """Only these rooms import it, at the top or anywhere inside."""
    found = set()
    for room, tree in ROOMS.items():
        for node in ast.walk(tree):
            modules = []
            if isinstance(node, ast.Import):
                modules = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module]
            if library in {module.partition(".")[0] for module in modules}:
                found.add(room)
    assert found == allowed


def test_rooms_stay_small():
    """A file past 300 lines has two subjects."""
    for path in HOUSE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 300, path


def test_the_porch_names_what_is_public():
    """Sorted, complete, and the floor plan names each room."""
    porch = fastapi_memsession.__all__
    assert porch == sorted(porch)
    assert all(hasattr(fastapi_memsession, name) for name in porch)
    plan = re.findall(r"^ {4}(\w+)(?:\.py|/) ", fastapi_memsession.__doc__, re.MULTILINE)
    named = {room.partition(".")[0] for room in set(FLOOR) - {"__init__", "__main__"}}
    assert sorted(plan) == sorted(named)


def test_nothing_happens_at_import():
    """No environment is read, no thread or task started, no log written."""
    code = (
        "import threading, fastapi_memsession as f; assert threading.active_count() == 1;"
        "print(f.__version__)"
    )
    environment = {"MEMSESSION_TYPO": "1", "MEMSESSION_ENV": "no such", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment, cwd=HOUSE.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr) == (
        0,
        fastapi_memsession.__version__,
        "",
    )
