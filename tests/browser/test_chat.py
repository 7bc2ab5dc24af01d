"""The chat of the example app: a socket that ends with its session, in a real browser."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_page import credentials, expect_profile, log_in, with_carrier

IN_THE_ROOM = "You are in the room."
LOGGED_OUT = "You are logged out. Log in again to go on."


def expect_message(page: Page, message: str) -> None:
    expect(page.get_by_role("status")).to_have_text(message)


@pytest.fixture
def chat(page, server) -> Page:
    """The chat, of somebody who has logged in."""
    log_in(page)
    expect_profile(page)
    page.goto(f"{server}/chat")
    expect_message(page, IN_THE_ROOM)
    return page


@pytest.fixture
def other_tab(chat) -> Page:
    """The chat of the same session in another tab."""
    with chat.expect_popup() as opened:
        chat.get_by_role("link", name="Open in another tab").click()
    expect_message(opened.value, IN_THE_ROOM)
    return opened.value


def test_tabs_talk(chat, other_tab, carrier):
    """What one says all hear, as it was said; only a token in a header goes as a subprotocol."""
    chat.get_by_label("Say something").fill("<b>hello</b>")
    chat.get_by_label("Say something").press("Enter")
    for each in (chat, other_tab):
        expect(each.get_by_role("log")).to_have_text("user_123: <b>hello</b>")
    chosen = "memsession.bearer" if "header" in carrier else ""
    assert chat.evaluate("socket.protocol") == chosen


def test_a_logout_in_one_tab_closes_the_other(chat, other_tab):
    """Without anything being done there; nothing that was held is left."""
    other_tab.get_by_role("button", name="Log out").click()
    for each in (chat, other_tab):
        expect_message(each, LOGGED_OUT)
        expect(each.get_by_label("Say something")).to_be_hidden()
        assert each.evaluate("sessionStorage.length") == 0


def test_a_logout_elsewhere_closes_the_chat(chat, another_client):
    """By whoever has the token."""
    another_client.post("/logout", headers=credentials(chat)[0]).raise_for_status()
    expect_message(chat, LOGGED_OUT)


@with_carrier("header,cookie")
def test_a_lost_connection(chat, serve, expected_errors):
    """Is told, and can be tried again; the session lives on."""
    chat.evaluate("socket.close()")
    expect_message(chat, "The connection is lost.")
    chat.get_by_role("button", name="Try again").click()
    expect_message(chat, IN_THE_ROOM)


@with_carrier("cookie")
def test_nobody_without_a_session(open_page, server, expected_errors):
    """Is let in; the page says what to do."""
    expected_errors.add("403")
    page = open_page(f"{server}/chat")
    expect_message(page, "There is no connection. Are you logged in?")
    page.get_by_role("link", name="Your session").click()
    expect(page).to_have_url(re.compile(r"/$"))
