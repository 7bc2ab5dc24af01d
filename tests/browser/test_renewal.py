"""The page where access tokens live for a second: in a real browser, and with each carrier."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from playwright.sync_api import Page, Response, Route, expect

from tests.browser.conftest import PATIENCE
from tests.browser.test_page import (
    ELSEWHERE,
    ENDED,
    expect_form,
    expect_profile,
    expect_theme,
    log_in,
    with_carrier,
)

Headers = dict[str, str]

UNREACHABLE = "The server cannot be reached. Check the connection and try again."
REUSED = (
    "You were logged out for your safety: somebody else may have used your session. Log in again."
)
EVICTED = "You were logged out here, because you are logged in on too many devices. Log in again."
REPLACED = "Another login has taken the place of this one. Log in again."

# Notes whatever a person would notice: the form, or a message.
NOTICE = """
window.noticed = [];
const look = () => {
  if (document.getElementById("logged-out")?.hidden === false) noticed.push("the form");
  const message = document.getElementById("message")?.textContent;
  if (message) noticed.push(message);
};
new MutationObserver(look).observe(document, {
  attributes: true, characterData: true, childList: true, subtree: true,
});
"""


@pytest.fixture(scope="module")
def server(serve, carrier) -> Iterator[str]:
    with serve(CARRIER=carrier, ENV="test", REFRESH="true", ACCESS_EXPIRATION="1") as url:
        yield url


@pytest.fixture
def answers(context) -> list[Response]:
    """What the server answers, to all tabs."""
    answers: list[Response] = []

    def note(response: Response) -> None:
        answers.append(response)

    context.on("response", note)
    return answers


@pytest.fixture
def pairs(answers) -> Callable[[], list["Pair"]]:
    """Give the pairs of tokens that the browser was given so far."""
    ways = {"/login", "/refresh"}
    return lambda: [Pair(each) for each in answers if path_of(each) in ways and each.ok]


@pytest.fixture
def page(answers, open_page, server) -> Page:
    """The page of the server, with somebody logged in; its answers are noted."""
    page = open_page(server)
    log_in(page)
    expect_profile(page)
    return page


@pytest.fixture
def tabs(page, carrier, expected_errors) -> list[Page]:
    """Two tabs of one session, which have the same tokens."""
    if carrier == "header,cookie":  # a tab's header may be older than the cookie that all share
        expected_errors.add("status of 400 (Bad Request)")
    return [page, duplicate(page)]


class Pair:
    """Tokens as a response brings them; each as another client would send it."""

    def __init__(self, response: Response) -> None:
        lines = response.header_values("set-cookie")
        pairs = [line.partition(";")[0] for line in lines]
        self.access = self._sent(response, "Authorization", pairs, "session_token=")
        self.refresh = self._sent(response, "X-Refresh-Token", pairs, "refresh_token=")

    @staticmethod
    def _sent(response: Response, header: str, pairs: list[str], cookie: str) -> Headers:
        if value := response.header_value(header):
            return {header: value}
        return {"Cookie": next(pair for pair in pairs if pair.startswith(cookie))}


def path_of(response: Response) -> str:
    return httpx.URL(response.url).path


def count(answers: list[Response], path: str, status: int = 200) -> int:
    return sum(path_of(each) == path and each.status == status for each in answers)


def ask(client: httpx.Client, method: str, path: str, headers: Headers) -> tuple[int, str | None]:
    """Return the status and the reason that another client is answered with."""
    response = client.request(method, path, headers=headers)
    client.cookies.clear()
    body = response.json() if response.content else {}
    return response.status_code, body.get("reason")


def wait_for_expiry(client: httpx.Client, pair: Pair) -> None:
    """Return when the access token has had its time."""
    deadline = time.monotonic() + PATIENCE
    while ask(client, "GET", "/profile", pair.access)[0] != 401:
        assert time.monotonic() < deadline, "the access token does not expire"


def noticed(page: Page) -> list[str]:
    return page.evaluate("() => noticed")


def duplicate(page: Page) -> Page:
    """Open the page in another tab, which begins with a copy of this one's storage."""
    with page.context.expect_page() as opened:
        page.evaluate("() => void window.open(location.href)")
    expect_profile(opened.value)
    return opened.value


def choose(page: Page, theme: str) -> None:
    """Choose a theme, and see that it was done and nothing else happened."""
    page.get_by_label(theme).check()
    expect_theme(page, theme.lower())
    expect(page.get_by_role("status")).to_be_empty()


def wait_until(page: Page, condition: Callable[[], bool]) -> None:
    """Let the browser go on until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        page.evaluate("() => 0")


def test_working_on(page, another_client, answers, pairs):
    """Who works over several lives of the access token notices nothing."""
    page.evaluate(NOTICE)
    before = len(answers)
    for theme in ("Dark", "Light", "Dark"):
        renewed = count(answers, "/refresh")
        wait_for_expiry(another_client, pairs()[-1])
        page.get_by_label(theme).check()
        expect_theme(page, theme.lower())
        expect(page.get_by_label(theme)).to_be_focused()
        assert count(answers, "/refresh") > renewed
    assert noticed(page) == []
    statuses = [answer.status for answer in answers[before:]]
    assert statuses.count(401) == count(answers[before:], "/refresh")
    assert count(answers, "/login") == 1


def test_reload(page, context, another_client, pairs):
    """A reload after the access token's time shows the profile, and never the form."""
    wait_for_expiry(another_client, pairs()[-1])
    context.add_init_script(NOTICE)
    page.reload()
    expect_profile(page)
    assert noticed(page) == []


def test_where_the_tokens_are(page, carrier, another_client, pairs):
    """After a renewal as before: no script can read a cookie, and only headers are stored."""
    wait_for_expiry(another_client, pairs()[-1])
    choose(page, "Dark")
    assert page.evaluate("() => document.cookie") == ""
    assert all(cookie["httpOnly"] for cookie in page.context.cookies())
    stored = page.evaluate("() => Object.keys({...localStorage, ...sessionStorage}).sort()")
    assert stored == (["authorization", "x-refresh-token"] if "header" in carrier else [])


def test_where_the_refresh_token_goes(page, carrier, context):
    """The header with the refresh token is sent where it is needed, and nowhere else."""
    sent = set()
    context.on("request", lambda request: sent.add((httpx.URL(request.url).path, in_it(request))))

    def in_it(request) -> bool:
        return "x-refresh-token" in request.headers

    choose(page, "Dark")
    page.get_by_role("button", name="Log out").click()
    expect_form(page, "You are logged out.")
    assert {path for path, carried in sent if carried} <= {"/refresh", "/logout"}
    assert ("/logout", "header" in carrier) in sent


def test_first_visit(answers, open_page, server, carrier):
    """Without a token nothing is renewed, unless it could be in a cookie, which no script sees."""
    page = open_page(server)
    expect_form(page, "")
    assert count(answers, "/refresh", 401) == (0 if carrier == "header" else 1)


def test_logout(page, another_client, pairs):
    """After a logout no token of any pair is good for anything."""
    wait_for_expiry(another_client, pairs()[-1])
    choose(page, "Dark")
    page.get_by_role("button", name="Log out").click()
    expect_form(page, "You are logged out.")
    assert len(pairs()) > 1
    for pair in pairs():
        assert ask(another_client, "GET", "/profile", pair.access)[0] == 401
        assert ask(another_client, "POST", "/refresh", pair.refresh) == (401, "revoked")


def test_late_logout(page, context, another_client, pairs):
    """Who logs out after the access token's time, its cookie gone, is logged out everywhere."""
    wait_for_expiry(another_client, pairs()[-1])
    context.clear_cookies(name="session_token")
    page.get_by_role("button", name="Log out").click()
    expect_form(page, "You are logged out.")
    assert ask(another_client, "POST", "/refresh", pairs()[-1].refresh) == (401, "revoked")
    page.reload()
    expect_form(page, "")


def test_logout_in_another_tab(page, another_client, pairs):
    """The next action in this tab shows the form, and says why; a login goes on from there."""
    other = duplicate(page)
    other.get_by_role("button", name="Log out").click()
    expect_form(other, "You are logged out.")
    page.get_by_label("Dark").click()
    expect_form(page, ELSEWHERE)
    log_in(page)
    expect_profile(page)


@pytest.mark.parametrize("order", [1, -1])
def test_two_tabs_renew_at_once(tabs, context, another_client, pairs, order):
    """Both go on, whichever comes first, and whatever the other one was given by then."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        if len(held) < len(tabs):
            held.append(route)
        else:
            route.continue_()

    wait_for_expiry(another_client, pairs()[-1])
    context.route("**/refresh", hold)
    for tab in tabs:
        tab.evaluate(NOTICE)
        with tab.expect_request("**/refresh"):
            tab.get_by_label("Dark").click()
    wait_until(tabs[0], lambda: len(held) == len(tabs))
    for route, tab in list(zip(held, tabs, strict=True))[::order]:
        route.continue_()
        expect_theme(tab, "dark")
    wait_for_expiry(another_client, pairs()[-1])
    for tab in tabs:
        choose(tab, "Light")
        assert noticed(tab) == []


def test_two_tabs_click_at_once(tabs, another_client, pairs):
    """With nothing in between that could order their requests, both go on."""
    wait_for_expiry(another_client, pairs()[-1])
    start = time.time() * 1000 + 200
    for tab in tabs:
        tab.evaluate(
            "(start) => void setTimeout("
            "() => document.querySelector('[value=dark]').click(), start - Date.now())",
            start,
        )
    for tab in tabs:
        expect_theme(tab, "dark")
        choose(tab, "Light")


def test_a_tab_that_was_left_alone(tabs, another_client, pairs):
    """While another tab went on for several lives, a duplicated tab has not become a thief."""
    page, other = tabs
    other.evaluate(NOTICE)
    for theme in ("Dark", "Light"):
        wait_for_expiry(another_client, pairs()[-1])
        choose(page, theme)
    wait_for_expiry(another_client, pairs()[-1])
    choose(other, "Dark")
    choose(page, "Dark")
    assert noticed(other) == []


@pytest.fixture
def _failures(expected_errors) -> None:
    expected_errors.add("ERR_FAILED")


@pytest.mark.usefixtures("_failures")
@pytest.mark.parametrize("losses", [1, 2])
def test_lost_response(page, context, another_client, pairs, losses):
    """A renewal whose response is lost is repeated; if that is lost, too, a person can do it."""
    spent = pairs()[-1]
    lost = []

    def lose(route: Route) -> None:
        """Let the server have the request, and the page nothing."""
        if len(lost) == losses:
            route.continue_()
            return
        lost.append(another_client.post("/refresh", headers=spent.refresh))
        another_client.cookies.clear()
        route.abort()

    wait_for_expiry(another_client, spent)
    context.route("**/refresh", lose)
    if losses == 2:
        page.get_by_label("Dark").click()
        expect(page.get_by_role("status")).to_have_text(UNREACHABLE)
    choose(page, "Dark")
    assert [response.status_code for response in lost] == [200] * losses
    found = pairs()[-1].refresh
    assert set(found.values()) & {*lost[0].headers.values(), *cookies_of(lost[0])}


def cookies_of(response: httpx.Response) -> list[str]:
    return [line.partition(";")[0] for line in response.headers.get_list("set-cookie")]


def test_theft(page, another_client, pairs):
    """An old refresh token in other hands ends the session, and the page says that it did."""
    stolen = pairs()[-1]
    for theme in ("Dark", "Light"):
        wait_for_expiry(another_client, pairs()[-1])
        choose(page, theme)
    assert ask(another_client, "POST", "/refresh", stolen.refresh) == (401, "reused")
    page.get_by_label("Dark").click()
    expect_form(page, REUSED)
    assert ask(another_client, "POST", "/refresh", pairs()[-1].refresh) == (401, "reused")
    log_in(page)
    expect_profile(page)


@with_carrier("cookie")
def test_store_out_of_reach(page, context, another_client, pairs, expected_errors):
    """A renewal that has to wait logs nobody out."""
    expected_errors.add("status of 503 (Service Unavailable)")
    wait_for_expiry(another_client, pairs()[-1])
    detail = {"detail": "Sessions are unavailable at the moment; try again"}
    context.route("**/refresh", lambda route: route.fulfill(status=503, json=detail))
    page.get_by_label("Dark").click()
    expect(page.get_by_role("status")).to_have_text(f"{detail['detail']}.")
    expect(page.get_by_label("Light")).to_be_checked()
    context.unroute("**/refresh")
    choose(page, "Dark")


@with_carrier("header")
def test_switched_off(page, context, another_client, pairs, expected_errors):
    """Where renewals were switched off meanwhile, a session that is refused has ended."""
    expected_errors.add("status of 404 (Not Found)")
    wait_for_expiry(another_client, pairs()[-1])
    context.route("**/refresh", lambda route: route.fulfill(status=404, json={"detail": "None"}))
    page.get_by_label("Dark").click()
    expect_form(page, ENDED)


@with_carrier("header")
def test_replaced(page, another_client, pairs):
    """A login over the session says so to who held it before."""
    right = {"username": "admin", "password": "123456"}
    another_client.post("/login", json=right, headers=pairs()[-1].access).raise_for_status()
    page.get_by_label("Dark").click()
    expect_form(page, REPLACED)


def test_evicted(serve, open_page):
    """Who logs in on more devices than allowed is told so on the one that had to go."""
    with serve(REFRESH="true", MAX_SESSIONS_PER_USER="1") as url:
        page = open_page(url)
        log_in(page)
        expect_profile(page)
        right = {"username": "admin", "password": "123456"}
        httpx.post(f"{url}/login", json=right, trust_env=False).raise_for_status()
        page.get_by_label("Dark").click()
        expect_form(page, EVICTED)


def test_expiry(serve, open_page):
    """A session that runs out takes the page back to the form by itself: nothing renews it."""
    with serve(CARRIER="cookie", REFRESH="true", EXPIRATION="2", ACCESS_EXPIRATION="1") as url:
        page = open_page(url)
        log_in(page)
        expect_profile(page)
        expect_form(page, ENDED)
