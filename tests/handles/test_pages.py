"""The pages in docs/ about threads and typed data: what their applications do."""

import re
from pathlib import Path

from fastapi.testclient import TestClient

DOCS = Path(__file__).parent.parent.parent / "docs"


def application(page: str) -> TestClient:
    code = re.search(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)[1]
    names = {"__name__": "page"}
    exec(compile(code, page, "exec"), names)
    return TestClient(names["app"])


def test_the_application_in_threads_runs_as_printed():
    """From login to logout; two seats are booked twice."""
    client = application("endpoints-in-threads.md")
    right = {"username": "admin", "password": "123456"}
    assert client.post("/login", json=right | {"password": "x"}).status_code == 401
    headers = {"Authorization": client.post("/login", json=right).headers["authorization"]}
    assert client.get("/profile", headers=headers).json() == {"user_id": "user_123", "visits": 1}
    booked = [client.post("/book", headers=headers).status_code for _ in range(3)]
    assert booked == [200, 200, 409]
    assert client.post("/logout", headers=headers).status_code == 200
    assert client.get("/profile", headers=headers).status_code == 401


def test_the_application_with_typed_data_runs_as_printed():
    """Each endpoint changes its own field."""
    client = application("typed-data.md")
    headers = {"Authorization": client.post("/login").headers["authorization"]}
    assert client.put("/coupon/ten", headers=headers).status_code == 200
    added = client.post("/items/tea", headers=headers).json()
    assert added == {"items": ["tea"], "coupon": "ten"}
