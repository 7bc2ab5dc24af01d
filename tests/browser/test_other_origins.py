"""Pages of other origins try to use somebody's session, in the browser of that somebody.

Another port is another origin of the same site: there a browser sends cookies along whatever their
SameSite says, and so it does anywhere where that is `none`. What the server was sent is seen there.
"""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.attack.server import Server
from tests.browser.conftest import PATIENCE
from tests.browser.test_page import expect_form, expect_profile, expect_theme, log_in
from tests.conftest import KEY
from tests.serving import serving


class Place(NamedTuple):
    """Where the app and the attacker's page are, and whether browsers send our cookies there."""

    app: str
    attacker: str
    samesite: str
    cookies: bool


# Where there is no HTTPS, and the host is not this one, browsers say no more than the Origin.
PLACES = {
    "another port": Place("127.0.0.1", "127.0.0.1", "lax", cookies=True),
    "another host": Place("127.0.0.1", "localhost", "lax", cookies=False),
    "another host, SameSite none": Place("127.0.0.1", "localhost", "none", cookies=True),
    "another port without HTTPS": Place("app.example", "app.example", "lax", cookies=True),
    "a sibling without HTTPS": Place("app.example", "evil.app.example", "lax", cookies=True),
    "another site without HTTPS": Place("app.example", "evil.example", "lax", cookies=False),
}

FORM = """([url, name, value]) => {
  const form = document.createElement("form");
  Object.assign(form, { method: "POST", action: url });
  const input = document.createElement("input");
  Object.assign(input, { name, value });
  form.append(input);
  document.body.append(form);
  form.submit();
}"""
FETCH = """([url, options]) => fetch(url, { credentials: "include", ...options }).then(
  (response) => response.type, () => "refused")"""
BEACON = "([url]) => navigator.sendBeacon(url, '{}')"
SOCKET = """([url]) => new Promise((resolve) => {
  const socket = new WebSocket(url.replace("http", "ws"));
  socket.onopen = () => resolve("open");
  socket.onerror = () => resolve("refused");
})"""
POSTS = {
    "a form": (FORM, "name", "value"),
    "a request": (FETCH, {"method": "POST", "mode": "no-cors"}),
    "a request that wants to read": (FETCH, {"method": "POST"}),
    "a beacon": (BEACON,),
}
JSON = {"Content-Type": "application/json"}
LOGIN = '{"username": "admin", "password": "123456"}'
PREFLIGHTED = {
    "/settings": {"method": "PUT", "headers": JSON, "body": '{"theme": "light"}'},
    "/sessions": {"method": "DELETE"},
    "/login": {"method": "POST", "headers": JSON, "body": LOGIN},
}
# An app that a form can log in to; only its refresh token is in a cookie.
WITH_FORM = """
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from fastapi_memsession import CookieCarrier, login_session, session_router, setup_sessions

app = FastAPI()
setup_sessions(app, refresh_carrier=CookieCarrier("refresh_token"))
app.include_router(session_router("refresh", "logout"))

@app.get("/")
async def page():
    return HTMLResponse("")

@app.post("/login")
async def login(request: Request):
    fields = parse_qs((await request.body()).decode())
    await login_session(request, fields["user"][0])
"""
OURS = """([path, body]) => fetch(path, { method: "POST", body }).then(
  async (response) => [response.status, await response.text()])"""


class AttackersPage(BaseHTTPRequestHandler):
    """Answers with an empty page, in which a script may do anything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>attacker</title><body>")

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def attackers_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), AttackersPage) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module", params=PLACES)
def place(request) -> Place:
    return PLACES[request.param]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory, place) -> Iterator[Server]:
    """The example app, which tells what it was sent."""
    folder = tmp_path_factory.mktemp("attacked")
    settings = {"CARRIER": "cookie", "REFRESH": "true", "JWT_KEY": KEY}
    if place.samesite == "none":
        settings |= {"COOKIE_SAMESITE": "none", "COOKIE_SECURE": "true"}
    settings = {f"MEMSESSION_{name}": value for name, value in settings.items()}
    program, log = "from tests.attack.served import app", folder / "log"
    with serving(folder, program, log=log, **settings) as (_, address):
        prefix = "__Host-" if place.samesite == "none" else ""
        server = Server(address, carrier="cookie", prefix=prefix, log=log)
        yield server
        server.client.close()


@pytest.fixture
def url(attacked, place) -> str:
    return f"http://{place.app}:{attacked.place[1]}"


@pytest.fixture
def victim(context: BrowserContext, attacked, url) -> Iterator[Page]:
    """The page of somebody who is logged in, chose the dark theme, and is to notice nothing."""
    page = context.new_page()
    page.goto(url)
    log_in(page)
    expect_profile(page)
    page.get_by_label("Dark").check()
    expect_theme(page, "dark")
    before = context.cookies(url)
    assert {cookie["name"] for cookie in before} == set(attacked.cookies)
    with attacked.events() as happened:
        yield page
        assert context.cookies(url) == before
    assert {kind for kind, _ in happened} <= {"refused"}
    page.reload()
    expect_profile(page)
    expect_theme(page, "dark")
    page.get_by_label("Light").check()
    expect_theme(page, "light")
    page.get_by_role("button", name="Log out").click()
    expect_form(page, "You are logged out.")


@pytest.fixture
def attackers(context: BrowserContext, place, attackers_port):
    """Open the attacker's page in the same browser, as often as one likes."""

    def opened() -> Page:
        page = context.new_page()
        page.goto(f"http://{place.attacker}:{attackers_port}/")
        return page

    return opened


def submit(page: Page, url: str, name: str, value: str) -> int | None:
    """Let a page send a form to somewhere and go there; return the status of what comes."""
    with page.expect_navigation(url=url) as navigation:
        page.evaluate(FORM, [url, name, value])
    page.close()
    return navigation.value.status if navigation.value else None


def answered(server: Server, path: str) -> list:
    """Return how requests of a path were answered so far, and whether the cookies were there."""
    return [
        (method, status, set(cookies) >= set(server.cookies))
        for method, asked, cookies, status in server.control()["answered"]
        if asked == path
    ]


def test_a_page_of_another_origin(victim, attackers, attacked, place, url):
    """Is refused by the server, also where no SameSite keeps the cookies from going there."""
    page = attackers()

    def attempt(path: str, script: str, *arguments: object) -> tuple[object, bool]:
        """Let it do something to the app; return how that was answered, and about the cookies."""
        before = answered(attacked, path)
        if script == FORM:
            submit(attackers(), url + path, *arguments)
        else:
            page.evaluate(script, [url + path, *arguments])
        give_up = time.monotonic() + PATIENCE
        while len(after := answered(attacked, path)) == len(before):
            assert time.monotonic() < give_up, "nothing was sent"
        return after[-1][1:]

    for way, (script, *arguments) in POSTS.items():
        # A browser that keeps no cookies for third parties has them for a form all the same.
        cookies = place.cookies and (script == FORM or place.samesite == "lax")
        for path in ("/logout", "/refresh"):
            assert attempt(path, script, *arguments) == (403, cookies), way
    cookies = place.cookies and place.samesite == "lax"
    assert attempt("/chat/socket", SOCKET) == ("websocket.close", cookies)
    # Of these the browser asks first, and nobody says that they may be sent.
    for path, options in PREFLIGHTED.items():
        before = answered(attacked, path)
        assert page.evaluate(FETCH, [url + path, options]) == "refused"
        asked = answered(attacked, path)[len(before) :]
        assert [each[:2] for each in asked] == [("OPTIONS", 405)], path


@pytest.fixture(scope="module")
def with_form(tmp_path_factory) -> Iterator[int]:
    """An app that a form can log in to; gives its port."""
    folder = tmp_path_factory.mktemp("with_form")
    settings = {"MEMSESSION_REFRESH": "true", "MEMSESSION_JWT_KEY": KEY}
    with serving(folder, WITH_FORM, log=folder / "log", **settings) as (_, address):
        yield int(address.rpartition(":")[2])


@pytest.mark.parametrize(
    "place", [name for name in PLACES if "SameSite" not in name], indirect=True, scope="module"
)
def test_a_form_of_another_origin(context, attackers, place, with_form):
    """Logs nobody in or out: it sets no cookie and takes none, as our own page does."""
    url = f"http://{place.app}:{with_form}"

    def attempt(path: str) -> int | None:
        return submit(attackers(), url + path, "user", "mallory")

    assert attempt("/login") == 403
    assert context.cookies(url) == []
    page = context.new_page()
    page.goto(url)
    assert page.evaluate(OURS, ["/login", "user=anna"])[0] == 200
    held = context.cookies(url)
    assert [cookie["name"] for cookie in held] == ["refresh_token"]
    assert [attempt("/login"), attempt("/logout")] == [403, 403]
    assert context.cookies(url) == held
    status, told = page.evaluate(OURS, ["/refresh", ""])
    assert (status, '"user_id":"anna"' in told) == (200, True)
    assert page.evaluate(OURS, ["/logout", ""])[0] == 204
    assert context.cookies(url) == []
