"""How tokens travel: what is taken for one, what is refused, and what others get to see of them."""

import pytest

from tests.attack.conftest import both_parsers, carried_by
from tests.attack.server import (
    LOGIN,
    LOGOUT,
    PROFILE,
    REFRESH,
    SESSIONS,
    SETTINGS,
    Headers,
    Server,
    cookies_of,
)

pytestmark = both_parsers


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


def cookie(server: Server, *values: str) -> tuple[str, str]:
    """Return one header with a cookie for each value, all of one name."""
    return ("Cookie", "; ".join(f"{server.cookies.access}={value}" for value in values))


# What comes twice and differs, or cannot be told apart. (ASVS 3.3: a sibling host plants cookies.)
CONFLICTS = {
    "two headers": ("header", lambda _, a, b: [bearer(a.access), bearer(b.access)]),
    "a good token and junk": ("header", lambda _, a, __: [bearer(a.access), bearer("junk")]),
    "two cookies": ("cookie", lambda server, a, b: [cookie(server, a.access, b.access)]),
    "the same cookie twice": ("cookie", lambda server, a, _: [cookie(server, a.access, a.access)]),
    "header and cookie": (
        "header,cookie",
        lambda server, a, b: [bearer(a.access), cookie(server, b.access)],
    ),
    "a good header and a junk cookie": (
        "header,cookie",
        lambda server, a, _: [bearer(a.access), cookie(server, "junk")],
    ),
}


@pytest.mark.parametrize(("carrier", "headers"), CONFLICTS.values(), ids=CONFLICTS, scope="module")
@pytest.mark.parametrize("request_", [PROFILE, SETTINGS])
def test_credentials_that_disagree(server, headers, request_):
    """Are refused, and neither session is touched: nobody knows which was meant."""
    one, other = server.log_in(), server.log_in()
    assert server.status(request_, *headers(server, one, other)) == 400
    assert [server.theme(each.access) for each in (one, other)] == ["light", "light"]


@pytest.mark.parametrize(("carrier", "headers"), CONFLICTS.values(), ids=CONFLICTS, scope="module")
def test_a_logout_with_credentials_that_disagree(server, headers):
    """By one carrier is refused; by two it ends each session that it came with."""
    one, other = server.log_in(), server.log_in()
    sent = headers(server, one, other)
    both = server.carrier == "header,cookie"
    assert server.status(LOGOUT, *sent) == (204 if both else 400)
    for each in (one, other):
        ended = both and any(each.access in value for _, value in sent)
        assert server.status(PROFILE, *server.sent(each.access)) == (401 if ended else 200)


@carried_by("header", "cookie")
def test_a_token_in_the_address(server, pair):
    """Is none, whatever it is called there: addresses end up in logs (RFC 6750 section 5.3)."""
    names = ["access_token", "token", "authorization", "session", *server.cookies]
    said = dict.fromkeys(names, pair.access)
    nobody = server.answer(PROFILE)
    assert nobody.status == 401
    assert server.answer(PROFILE, params=said) == nobody
    assert server.answer(("GET", f"/profile;session_token={pair.access}")).status == 404
    asked = {"x_refresh_token": pair.refresh, server.cookies.refresh: pair.refresh}
    assert server.answer(REFRESH, params=asked) == server.answer(REFRESH)
    assert server.answer(REFRESH, data=asked, json=None) == server.answer(REFRESH)


@carried_by("cookie")
@pytest.mark.parametrize("store", ["memory", "redis"], scope="module")
def test_cookies(server, store):
    """No script reads them, no other site's form sends them; in production they go over HTTPS
    only, and no sibling host can have planted them (ASVS 3.3).
    """
    prefix, secure = ("__Host-", "; Secure") if store == "redis" else ("", "")
    response = server.ask(LOGIN)
    for name, life in (("session_token", 900), ("refresh_token", 3600)):
        _, _, told = cookies_of(response)[prefix + name].partition("; ")
        assert told == f"Max-Age={life}; Path=/; SameSite=Lax{secure}; HttpOnly"


@carried_by("cookie")
def test_where_tokens_are_told(server):
    """In Set-Cookie and nowhere else, at a login and at each renewal."""
    login = server.ask(LOGIN)
    pair = server.tokens(login)
    renewal = server.ask(REFRESH, *server.sent(refresh=pair.refresh))
    for response in (login, renewal, server.ask(PROFILE, *server.sent(pair.access))):
        assert "eyJ" not in response.text
        for name, value in response.headers.multi_items():
            assert name == "set-cookie" or "eyJ" not in value


@carried_by("cookie")
def test_a_logout_takes_the_cookies(server, pair):
    """As they were set, but over at once."""
    response = server.ask(LOGOUT, *server.sent(*pair))
    assert response.status_code == 204
    for name in server.cookies:
        assert cookies_of(response)[name] == "; Max-Age=0; Path=/; SameSite=Lax; HttpOnly"


def is_kept_from_caches(response, *carriers: str) -> bool:
    varies = {name.strip().lower() for name in response.headers.get("vary", "").split(",")}
    return response.headers.get("cache-control") == "no-store" and varies >= set(carriers)


@pytest.mark.parametrize(
    ("carrier", "named"),
    [
        ("header", ("authorization", "x-refresh-token")),
        ("cookie", ("cookie",)),
        ("header,cookie", ("authorization", "x-refresh-token", "cookie")),
    ],
    scope="module",
)
def test_no_cache_keeps_an_answer(server, named):
    """That had to do with a session, whether it had one, has one no more, or was refused."""
    pair = server.log_in()
    answers: list[tuple[int, Headers, tuple[str, str]]] = [
        (200, [], LOGIN),
        (401, [], PROFILE),
        (401, server.sent("junk"), PROFILE),
        (401, server.sent(refresh="junk"), REFRESH),
        (400, [*server.sent(pair.access), *server.sent("junk")], PROFILE),
        (200, server.sent(pair.access), PROFILE),
        (200, server.sent(pair.access), SETTINGS),
        (200, server.sent(refresh=pair.refresh), REFRESH),
        (204, server.sent(pair.access), LOGOUT),
        (401, server.sent(pair.access), PROFILE),
        (401, server.sent(refresh=pair.refresh), REFRESH),
        (204, [], LOGOUT),
    ]
    for status, headers, request in answers:
        response = server.ask(request, *headers)
        assert response.status_code == status, request
        assert is_kept_from_caches(response, *named), (status, request, response.headers)


@carried_by("header", "cookie")
def test_what_a_refusal_asks_for(server, pair):
    """A challenge, with an error code where a token came (RFC 6750 section 3)."""
    server.ask(LOGOUT, *server.sent(pair.access))
    told = {"": "Bearer", "junk": 'Bearer error="invalid_token"'}
    told[pair.access] = 'Bearer error="invalid_token", reason="revoked"'
    for token, challenge in told.items():
        for request in (PROFILE, SETTINGS, SESSIONS):
            response = server.ask(request, *server.sent(token))
            assert (response.status_code, response.headers["www-authenticate"]) == (401, challenge)
