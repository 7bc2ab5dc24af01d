"""A real browser, a real server with each carrier, and a page that has to be free of errors."""

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.browser.chromium import ADVICE, find

PROJECT = Path(__file__).parents[2]
PATIENCE = 10  # seconds for anything that is waited for
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.example 127.0.0.1",  # so that there are other hosts than this one
]
UNAUTHORIZED = "status of 401 (Unauthorized)"  # what a browser logs when nobody is logged in


# The browser and the servers live as long as this module's tests: Playwright's synchronous
# interface keeps an event loop running, in which the asynchronous tests of others could not run.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find()
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(ADVICE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["header", "cookie", "header,cookie"])
def carrier(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def serve(tmp_path_factory) -> Callable:
    """Serve the example app with settings from its environment; gives the address."""

    @contextmanager
    def running_server(**settings: str) -> Iterator[str]:
        folder = tmp_path_factory.mktemp("server")  # where no developer keeps an .env file
        log = folder / "stderr"
        with (
            log.open("w") as stderr,
            subprocess.Popen(
                [sys.executable, "-m", "example_app"],
                cwd=folder,
                env=clean_environment() | {f"MEMSESSION_{key}": settings[key] for key in settings},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            ) as process,
        ):
            try:
                yield address(process, log)
            finally:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise
        assert "Traceback" not in log.read_text()

    return running_server


def clean_environment() -> dict[str, str]:
    """Return the environment without anything that would configure the example app."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("MEMSESSION_") and name.upper() not in {"ENV", "HOST"}
    }
    return kept | {"PORT": "0", "PYTHONPATH": str(PROJECT)}


def address(process: subprocess.Popen, log: Path) -> str:
    """Return the URL that the server names once it listens."""
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    line = process.stdout.readline() if ready else ""
    if "http://" not in line:
        pytest.fail(f"The example app did not start: {line}{log.read_text()}")
    return next(word for word in line.split() if word.startswith("http://"))


@pytest.fixture(scope="module")
def server(serve, carrier) -> Iterator[str]:
    with serve(CARRIER=carrier) as url:
        yield url


@pytest.fixture
def another_client(server) -> Iterator[httpx.Client]:
    """Give a client that knows nothing of the browser."""
    # Nor of the developer's proxies.
    with httpx.Client(base_url=server, timeout=PATIENCE, trust_env=False) as client:
        yield client


@pytest.fixture
def context(browser) -> Iterator[BrowserContext]:
    """Give a browser window without a past; the system prefers light."""
    context = browser.new_context(color_scheme="light")
    context.set_default_timeout(PATIENCE * 1000)
    yield context
    context.close()


@pytest.fixture
def expected_errors() -> set[str]:
    """What the console may say; a test adds what it provokes."""
    return {UNAUTHORIZED}


@pytest.fixture
def open_page(context, expected_errors) -> Iterator[Callable[[str], Page]]:
    """Open pages; whatever their consoles complain of must have been expected."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    # To the window, so that pages which a page opens are heard, too.
    context.on("console", listen)
    context.on("weberror", lambda error: complaints.append(str(error.error)))

    def opened(url: str) -> Page:
        page = context.new_page()
        page.goto(url)
        return page

    yield opened
    assert [
        text for text in complaints if not any(expected in text for expected in expected_errors)
    ] == []


@pytest.fixture
def page(open_page, server) -> Page:
    """The page of the server, as one first sees it."""
    return open_page(server)
