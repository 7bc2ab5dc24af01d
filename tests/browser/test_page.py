"""The page of the example app, in a real browser and with each carrier."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

ENDED = "Your session has ended. Log in again."
ELSEWHERE = "You were logged out elsewhere. Log in again."
STORED = "() => JSON.stringify({...localStorage, ...sessionStorage})"
BACKGROUND = "() => getComputedStyle(document.querySelector('main')).backgroundColor"


def with_carrier(name: str) -> pytest.MarkDecorator:
    """Mark a fact that has nothing to do with how the token travels, or is one carrier's."""
    return pytest.mark.parametrize("carrier", [name], indirect=True, scope="module")


def log_in(page: Page, password: str = "123456") -> None:
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_label("Password").press("Enter")


# Waiting for an element is quicker than trying an expectation again and again.
def expect_profile(page: Page) -> None:
    page.get_by_role("heading", name="user_123").wait_for()


def expect_theme(page: Page, theme: str) -> None:
    page.locator(f":root[data-theme={theme}]").wait_for()


def expect_form(page: Page, message: str) -> None:
    page.get_by_label("Username").wait_for()
    expect(page.get_by_role("status")).to_have_text(message)
    expect(page.get_by_label("Username")).to_be_focused()
    expect(page.get_by_label("Username")).to_have_value("")
    expect(page.get_by_label("Password")).to_have_value("")
    expect(page.get_by_role("heading", name="user_123")).to_be_hidden()


def credentials(page: Page) -> list[dict[str, str]]:
    """Return each credential that the browser holds, as headers for another client."""
    token = page.evaluate("() => sessionStorage.getItem('authorization')")
    headers = [{"Authorization": token}] if token else []
    return headers + [
        {"Cookie": f"{cookie['name']}={cookie['value']}"} for cookie in page.context.cookies()
    ]


def statuses(another_client: httpx.Client, held: list[dict[str, str]]) -> set[int]:
    """Return what another client gets with these credentials."""
    return {another_client.get("/profile", headers=headers).status_code for headers in held}


@with_carrier("cookie")
def test_first_visit(page):
    """Who is not logged in sees an empty form, ready to type, and no message."""
    expect_form(page, "")


@with_carrier("cookie")
def test_wrong_password(page):
    """A wrong password is told, and can be typed again at once."""
    log_in(page, password="1234567")
    expect(page.get_by_role("status")).to_have_text("Wrong username or password.")
    expect(page.get_by_label("Password")).to_have_value("")
    expect(page.get_by_label("Password")).to_be_focused()
    expect(page.get_by_label("Username")).to_have_value("admin")


@with_carrier("cookie")
def test_wrong_password_then_right(page):
    """After a wrong password the right one logs in, and nothing tells of the wrong one."""
    log_in(page, password="1234567")
    expect(page.locator("#password")).to_have_attribute("aria-invalid", "true")
    log_in(page)
    expect_profile(page)
    expect(page.get_by_role("status")).to_be_empty()
    expect(page.locator("#password")).to_have_attribute("aria-invalid", "false")


@with_carrier("cookie")
def test_login_twice(page):
    """Who presses the button twice logs in once."""
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("123456")
    page.get_by_role("button", name="Log in").dblclick()
    expect_profile(page)
    page.get_by_role("button", name="Log out").click()
    expect_form(page, "You are logged out.")  # what was asked for before has been done by now
    assert [url.endswith("/login") for url in requested].count(True) == 1


def test_profile(page, carrier):
    """After the login the page shows user, claims, address and carrier."""
    log_in(page)
    expect_profile(page)
    expect(page.get_by_role("heading", name="user_123")).to_be_focused()
    expect(page.get_by_role("list", name="Claims")).to_have_text("role: admin")
    expect(page.locator("#login-ip")).to_have_text("127.0.0.1")
    shown = "Cookie" if carrier == "cookie" else "Authorization header"
    expect(page.locator("#carrier")).to_have_text(shown)


@with_carrier("cookie")
def test_countdown(page):
    """The time left is shown, and runs."""
    log_in(page)
    countdown = page.get_by_role("timer")
    expect(countdown).to_have_text(re.compile(r"^23:59:\d\d$"))
    earlier = countdown.text_content()
    expect(countdown).not_to_have_text(earlier)
    assert countdown.text_content() < earlier


@with_carrier("header")
def test_theme(page):
    """The chosen theme changes the page, and is still there after a reload."""
    log_in(page)
    expect_theme(page, "light")
    expect(page.get_by_label("Light")).to_be_checked()
    light = page.evaluate(BACKGROUND)
    page.get_by_label("Dark").check()
    expect_theme(page, "dark")
    dark = page.evaluate(BACKGROUND)
    page.reload()
    expect_theme(page, "dark")
    expect(page.get_by_label("Dark")).to_be_checked()
    assert page.evaluate(BACKGROUND) == dark != light


@with_carrier("cookie")
def test_theme_by_keyboard(page):
    """The theme can be chosen without a mouse."""
    log_in(page)
    expect_profile(page)
    page.get_by_label("Light").press("ArrowRight")
    expect_theme(page, "dark")
    expect(page.get_by_label("Dark")).to_be_focused()


def test_reload(page):
    """A reload keeps one logged in."""
    log_in(page)
    expect_profile(page)
    page.reload()
    expect_profile(page)


def test_logout(page, another_client):
    """The logout shows the form, and whatever the browser held is dead on the server."""
    log_in(page)
    expect_profile(page)
    held = credentials(page)
    assert held
    assert statuses(another_client, held) == {200}
    page.get_by_role("button", name="Log out").click()
    expect_form(page, "You are logged out.")
    assert statuses(another_client, held) == {401}
    assert credentials(page) == []


@with_carrier("cookie")
def test_logout_then_reload(page):
    """Who has logged out stays so after a reload, and is not told of an ended session."""
    log_in(page)
    page.get_by_role("button", name="Log out").click()
    expect_form(page, "You are logged out.")
    page.reload()
    expect_form(page, "")


def test_where_the_token_is(page, carrier):
    """No script can read the cookie; a token is stored only where it came in a header."""
    log_in(page)
    expect_profile(page)
    assert page.evaluate("() => document.cookie") == ""
    cookies = page.context.cookies()
    assert [cookie["httpOnly"] for cookie in cookies] == ([True] if "cookie" in carrier else [])
    stored = page.evaluate(STORED)
    assert ("Bearer " in stored) == ("header" in carrier)
    if carrier == "cookie":
        assert stored == "{}"
        assert page.evaluate("() => indexedDB.databases()") == []


@pytest.mark.parametrize("action", ["choose", "reload"])
def test_ended_elsewhere(page, another_client, action):
    """A session that another client has ended: the next action shows the form, and says why."""
    log_in(page)
    expect_profile(page)
    another_client.post("/logout", headers=credentials(page)[0]).raise_for_status()
    if action == "choose":
        page.get_by_label("Dark").check()
    else:
        page.reload()
    expect_form(page, ELSEWHERE)
    log_in(page)
    expect_profile(page)


def test_without_refresh_tokens(page, another_client):
    """Where there are no refresh tokens the page never asks for new ones."""
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect_form(page, "")
    log_in(page)
    expect_profile(page)
    another_client.post("/logout", headers=credentials(page)[0]).raise_for_status()
    page.get_by_label("Dark").click()
    expect_form(page, ELSEWHERE)
    assert any(url.endswith("/profile") for url in asked)
    assert not any(url.endswith("/refresh") for url in asked)


@with_carrier("cookie")
def test_logout_in_another_tab(page, open_page, server):
    """Cookies that are gone before their time were taken by a logout, and the page says so."""
    log_in(page)
    expect_profile(page)
    other = open_page(server)
    other.get_by_role("button", name="Log out").click()
    expect_form(other, "You are logged out.")
    page.get_by_label("Dark").click()
    expect_form(page, ELSEWHERE)


@with_carrier("header")
def test_devices(page, another_client):
    """The devices are shown when asked for, and all others can be logged out."""
    right = {"username": "admin", "password": "123456"}
    agent = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}
    response = another_client.post("/login", json=right, headers=agent)
    elsewhere = {"Authorization": response.headers["Authorization"]}
    log_in(page)
    expect_profile(page)
    devices = page.get_by_role("list", name="Your devices")
    expect(devices).to_be_hidden()
    page.locator("summary").press("Enter")
    expect(devices.get_by_role("listitem").first).to_contain_text("This device")
    expect(devices).to_contain_text("Firefox on Linux127.0.0.1, last seen")
    page.get_by_role("button", name="Log all other devices out").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("logged out.")
    expect(devices.get_by_role("listitem")).to_have_count(1)
    expect(page.locator("summary")).to_be_focused()
    assert statuses(another_client, [elsewhere]) == {401}
    assert statuses(another_client, credentials(page)) == {200}
    page.get_by_role("button", name="Log out").click()
    expect_form(page, "You are logged out.")
    log_in(page)
    expect_profile(page)
    expect(devices).to_be_hidden()


@with_carrier("cookie")
def test_network_failure(page, expected_errors):
    """Without a network the page says so, shows what is so, and goes on when it is back."""
    expected_errors.add("ERR_INTERNET_DISCONNECTED")
    log_in(page)
    expect_profile(page)
    page.context.set_offline(True)
    page.get_by_label("Dark").click()
    expect(page.get_by_role("status")).to_have_text(
        "The server cannot be reached. Check the connection and try again."
    )
    expect(page.get_by_label("Light")).to_be_checked()
    page.context.set_offline(False)
    page.get_by_label("Dark").check()
    expect_theme(page, "dark")
    expect(page.get_by_role("status")).to_be_empty()


@with_carrier("cookie")
def test_network_failure_at_login(page, expected_errors):
    """Without a network a login says so, and blames no password."""
    expected_errors.add("ERR_INTERNET_DISCONNECTED")
    expect_form(page, "")
    page.context.set_offline(True)
    log_in(page)
    expect(page.get_by_role("status")).to_contain_text("cannot be reached")
    expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "false")


@with_carrier("cookie")
def test_foreign_script(open_page, context, server, expected_errors):
    """A script that gets into the page does not run."""
    expected_errors.add("violates the following Content Security Policy directive")

    def inject(route) -> None:
        response = route.fetch()
        script = "<script>document.title = 'taken over'</script>"
        route.fulfill(response=response, body=response.text() + script)

    context.route(f"{server}/", inject)
    page = open_page(server)
    expect_form(page, "")
    expect(page).to_have_title("fastapi-memsession example")
    assert "taken over" in page.content()


@with_carrier("cookie")
def test_narrow(page):
    """On a narrow screen nothing is wider than the screen."""
    page.set_viewport_size({"width": 360, "height": 640})
    width = "() => document.documentElement.scrollWidth"
    expect_form(page, "")
    assert page.evaluate(width) == 360
    log_in(page)
    expect_profile(page)
    page.locator("summary").click()
    page.get_by_text("This device").wait_for()
    assert page.evaluate(width) == 360


@with_carrier("header,cookie")
def test_login_in_another_tab(page, open_page, server, expected_errors):
    """A tab whose session a login in another tab has replaced goes on with the new one."""
    expected_errors.add("status of 400 (Bad Request)")
    log_in(page)
    expect_profile(page)
    other = open_page(server)
    expect_profile(other)
    other.get_by_role("button", name="Log out").click()
    expect_form(other, "You are logged out.")
    log_in(other)
    expect_profile(other)
    page.get_by_label("Dark").check()
    expect_theme(page, "dark")
    expect(page.locator("#carrier")).to_have_text("Cookie")
    other.reload()
    expect(other.get_by_label("Dark")).to_be_checked()


@with_carrier("cookie")
def test_cookies_refused(page, context):
    """A browser that keeps no cookie is told so; it is not sent in circles."""
    context.route(
        "**/login",
        lambda route: route.fulfill(status=200, json={"user_id": "user_123"}),
    )
    log_in(page)
    expect(page.get_by_role("status")).to_contain_text("Does it accept cookies?")


def test_expiry(serve, open_page):
    """A session that runs out takes the page back to the form by itself, with a note."""
    with serve(EXPIRATION="2") as server:
        page = open_page(server)
        log_in(page)
        expect_profile(page)
        expect_form(page, ENDED)
