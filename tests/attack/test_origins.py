"""Requests that the page of another origin makes a browser send, with the browser's cookies."""

import pytest
from websockets.exceptions import InvalidStatus

from tests.attack.conftest import carried_by
from tests.attack.server import LOGIN, LOGOUT, PROFILE, REFRESH, SESSIONS, SETTINGS
from tests.test_origins import ACCEPTED, HOST, REFUSED

pytestmark = carried_by("cookie", "header,cookie")

OURS = HOST.removeprefix("https://")
HOST_LINE = ("Host", OURS)
UNSAFE = [LOGIN, LOGOUT, REFRESH, SETTINGS, SESSIONS]


def cookies(server, pair):
    """Return the line with which a browser sends both tokens; it sends no other by itself."""
    names = zip(server.cookies, pair, strict=True)
    return ("Cookie", "; ".join(f"{name}={token}" for name, token in names))


@pytest.mark.parametrize("request_", UNSAFE, ids=" ".join)
def test_an_unsafe_request_of_another_origin(server, pair, request_):
    """Is refused, and does nothing: no login, no logout, no renewal, no change."""
    another = server.log_in()
    line = cookies(server, pair)
    with server.events() as happened:
        for told in REFUSED:
            response = server.ask(request_, HOST_LINE, line, *told.items())
            assert response.status_code == 403, told
            assert not {"set-cookie", "authorization"} & set(response.headers)
        assert server.theme(pair.access) == "light"
        assert server.is_alive(another.access)
        assert server.is_alive(server.refresh(pair.refresh).access)
    assert happened == [("refused", "cross_origin")] * len(REFUSED) + [("renewed", None)]


@pytest.mark.parametrize("request_", [LOGIN, LOGOUT, REFRESH], ids=" ".join)
def test_a_form_of_another_site(server, request_):
    """Brings no cookie of ours, and must not set or take one: the browser keeps the answer's."""
    with server.events() as happened:
        response = server.ask(request_, HOST_LINE, *REFUSED[0].items())
    assert response.status_code == 403
    assert "set-cookie" not in response.headers
    assert happened == [("refused", "cross_origin")]


def test_a_socket_of_another_origin(server, pair):
    """Is refused in the handshake, to which browsers add cookies (RFC 6455 section 10.2)."""
    for told in REFUSED:
        headers = [cookies(server, pair), *told.items()]
        with pytest.raises(InvalidStatus) as caught, server.chat(*headers, host=OURS):
            pytest.fail(f"accepted {told}")
        assert caught.value.response.status_code == 403
    assert server.is_alive(pair.access)


def test_a_safe_request_of_another_origin(server, pair):
    """Is served: it changes nothing, and no page of another origin sees the answer."""
    for told in REFUSED:
        response = server.ask(PROFILE, HOST_LINE, cookies(server, pair), *told.items())
        assert response.status_code == 200, told
        assert "access-control-allow-origin" not in response.headers


def test_our_own_pages(server):
    """Are served, and so are those that are trusted, and programs that say nothing."""
    for told in ACCEPTED:
        pair = server.log_in()
        line = cookies(server, pair)
        assert server.status(SETTINGS, HOST_LINE, line, *told.items()) == 200, told
        assert server.theme(pair.access) == "dark"
        with server.chat(line, *told.items(), host=OURS) as websocket:
            websocket.send("hello")
            assert "hello" in websocket.recv()
