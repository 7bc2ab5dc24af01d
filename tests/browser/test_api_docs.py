"""The API docs of the example app, in a real browser: Swagger UI logs in by its own button."""

from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE

# What the page fetches from a network, which tests do without.
FILES = Path(find_spec("fastapi_offline").origin).parent / "static"


@pytest.fixture
def docs(context, open_page, server):
    def serve_file(route):
        name = route.request.url.rpartition("/")[2]
        path = FILES / name
        if path.exists():
            route.fulfill(path=path)
        else:
            route.fulfill(status=204)

    context.route(lambda url: not url.startswith(server), serve_file)
    return open_page(f"{server}/docs")


@pytest.mark.parametrize("carrier", ["header"], indirect=True, scope="module")
def test_authorize(docs, server):
    """With the token of a login, an endpoint that needs a session answers; without it, not."""
    login = httpx.post(
        f"{server}/login",
        json={"username": "admin", "password": "123456"},
        timeout=PATIENCE,
        trust_env=False,
    )
    token = login.headers["authorization"].removeprefix("Bearer ")

    operation = docs.locator("#operations-session-read_profile_profile_get")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    status = operation.locator(".live-responses-table .response-col_status").last
    operation.get_by_role("button", name="Execute").click()
    expect(status).to_contain_text("401")

    docs.get_by_role("button", name="Authorize").first.click()
    dialog = docs.locator(".dialog-ux")
    dialog.locator(".auth-container", has_text="SessionHeader").locator("input").fill(token)
    dialog.locator(".auth-container", has_text="SessionHeader").get_by_role(
        "button", name="Apply credentials"
    ).click()
    dialog.get_by_role("button", name="Close").first.click()
    operation.get_by_role("button", name="Execute").click()
    expect(status).to_contain_text("200")
    expect(operation.locator(".live-responses-table")).to_contain_text('"user_id": "user_123"')
