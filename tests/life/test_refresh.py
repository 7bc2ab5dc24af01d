"""Access and refresh tokens: a pair at login, the next pair for the last one, once."""

import pytest
from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.testclient import TestClient

from fastapi_memsession import (
    CurrentSession,
    HeaderCarrier,
    SessionSettings,
    SessionUsageError,
    login_session,
    renew_session,
    setup_sessions,
)
from tests.conftest import KEY
from tests.life.client import REFRESH, Tokens, cookies_of, told, watch

MINUTE, DAY = 60, 86_400
ACCESS_LIFE = 15 * MINUTE
GRACE = 10


def test_a_login_yields_a_pair(client):
    """Each token in its own place, nowhere else, and for as long as it is good."""
    response = client.ask("POST", "/login/anna")
    tokens = client.tokens(response)
    assert tokens.access
    assert tokens.refresh
    lines = {line.partition("=")[0]: line for line in response.headers.get_list("set-cookie")}
    if lines:
        assert f"Max-Age={ACCESS_LIFE};" in lines["session_token"]
        assert f"Max-Age={30 * DAY};" in lines[REFRESH]
        assert all("HttpOnly" in line for line in lines.values())


def test_the_refresh_cookie_is_hidden_from_scripts_in_any_case(make_client):
    """Whatever the settings say of the other one."""
    response = make_client("cookie", cookie_http_only=False).ask("POST", "/login/anna")
    lines = {line.partition("=")[0]: line for line in response.headers.get_list("set-cookie")}
    assert "HttpOnly" not in lines["session_token"]
    assert "HttpOnly" in lines[REFRESH]


def test_neither_token_passes_for_the_other(client):
    """ASVS 9.2.2."""
    tokens = client.log_in()
    assert client.is_told("GET", "/profile", Tokens(access=tokens.refresh)) == (401, None)
    assert client.is_told("POST", "/refresh", Tokens(refresh=tokens.access)) == (401, None)


def test_an_access_token_runs_out_and_the_session_goes_on(client):
    """The answer says which of the two it is; the next pair opens the same session."""
    tokens = client.log_in()
    client.ask("POST", "/count", tokens)
    client.clock.advance(ACCESS_LIFE)
    response = client.ask("GET", "/profile", tokens)
    assert response.status_code == 401
    assert response.json() == {"detail": "The access token has expired"}
    assert "The access token has expired" in response.headers["www-authenticate"]
    renewed = client.renew(tokens)
    assert renewed.access != tokens.access
    assert renewed.refresh != tokens.refresh
    assert client.profile(renewed) == {"user": "anna", "role": "user", "data": {"n": 1}}


def test_an_access_token_never_outlives_its_session(client):
    """Near the deadline it lives as long as that."""
    tokens = client.log_in()
    for day in range(1, 60):
        client.clock.advance(DAY / 2)
        if day == 59:
            client.clock.advance(DAY / 2 - MINUTE)
        tokens = client.renew(tokens)
    assert client.profile(tokens)
    client.clock.advance(MINUTE)
    assert client.is_told("GET", "/profile", tokens)[0] == 401
    assert client.is_told("POST", "/refresh", tokens) == (401, "expired")


def test_a_token_renewed_twice_at_once_gives_the_same_pair(client):
    """Two tabs, or a response that was lost: both go on."""
    tokens = client.log_in()
    first = client.renew(tokens)
    client.clock.advance(GRACE - 1)
    assert client.renew(tokens) == first
    assert client.profile(first)


def test_inside_the_grace_period_a_used_successor_does_no_harm(client):
    """The slower of two tabs may come when the faster is at work already."""
    tokens = client.log_in()
    first = client.renew(tokens)
    client.profile(first)
    assert client.renew(tokens) == first


def test_a_lost_response_is_recovered_however_late(client):
    """As long as nobody used the successor: the refresh token is the same, the other one fresh."""
    tokens = client.log_in()
    lost = client.renew(tokens)
    client.clock.advance(3600)
    found = client.renew(tokens)
    assert found.refresh == lost.refresh
    assert client.profile(found)


@pytest.mark.parametrize("use", ["access", "refresh"])
def test_reuse_after_the_grace_period_ends_the_session(client, use):
    """One of the two who had the token is a thief, and nobody knows which (RFC 9700 4.14.2)."""
    tokens = client.log_in()
    renewed = client.renew(tokens)
    current = client.renew(renewed) if use == "refresh" else renewed
    client.profile(current)
    client.clock.advance(GRACE)
    assert client.is_told("POST", "/refresh", tokens) == (401, "reused")
    for each in (tokens, renewed, current):
        assert client.is_told("GET", "/profile", each) == (401, "reused")
        assert client.is_told("POST", "/refresh", each) == (401, "reused")


def test_the_grandparent_inside_the_grace_period_ends_the_session(client):
    """Two rotations back is theft, however fast."""
    tokens = client.log_in()
    current = client.renew(client.renew(tokens))
    assert client.is_told("POST", "/refresh", tokens) == (401, "reused")
    assert client.is_told("GET", "/profile", current) == (401, "reused")


def test_a_forged_token_changes_nothing(client):
    """Nor does it learn anything; without one, no error code (RFC 6750 section 3.1)."""
    tokens = client.log_in()
    header, payload, signature = tokens.refresh.split(".")
    forged = ".".join([header, payload, ("B" if signature[0] == "A" else "A") + signature[1:]])
    response = client.ask("POST", "/refresh", Tokens(refresh=forged))
    assert (response.status_code, response.json()) == (401, {"detail": "Not authenticated"})
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    response = client.ask("POST", "/refresh")
    assert (response.status_code, response.json()) == (401, {"detail": "Not authenticated"})
    assert response.headers["www-authenticate"] == "Bearer"
    assert client.renew(tokens)


def test_a_renewal_is_a_use(make_client):
    """The idle expiration starts again, also when the same pair is handed out again."""
    client = make_client(expiration=100)
    tokens = client.log_in()
    for _ in range(3):
        client.clock.advance(60)
        tokens = client.renew(tokens)
    client.clock.advance(99)
    assert client.renew(client.log_in(tokens=tokens))
    lost = client.log_in("bert")
    for _ in range(3):
        client.clock.advance(60)
        client.renew(lost)
    client.clock.advance(100)
    assert client.is_told("POST", "/refresh", lost) == (401, "expired")


def test_a_renewal_whose_response_failed_can_be_repeated(client):
    """Nothing needs to be undone: the token buys the same pair again."""
    tokens = client.log_in()
    response = client.ask("POST", "/renew/fail", tokens)
    assert response.status_code == 500
    client.clock.advance(3600)
    assert client.profile(client.renew(tokens))


def test_a_renewal_after_the_response_started_is_refused(client):
    """No header can bring the pair any more, and the token is still good."""
    caught = []

    @client.app.post("/late-refresh")
    async def late(request: Request, later: BackgroundTasks):
        async def renews():
            with pytest.raises(SessionUsageError, match="renew_session") as error:
                await renew_session(request)
            caught.append(error)

        later.add_task(renews)

    tokens = client.log_in()
    client.ask("POST", "/late-refresh", Tokens(refresh=tokens.refresh))
    assert len(caught) == 1
    assert client.profile(client.renew(tokens))["user"] == "anna"


def test_renewing_gives_the_endpoint_the_session(client):
    """An endpoint of one's own may renew and go on with it."""
    tokens = client.log_in(role="admin")
    response = client.ask("POST", "/renew/answer", Tokens(refresh=tokens.refresh))
    assert response.json() == {"role": "admin"}
    assert client.profile(client.tokens(response))


def test_a_page_of_another_origin_cannot_renew(client):
    """Where the answer would set cookies, whichever way the token came; it is not used up."""
    tokens = client.log_in()
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    response = client.ask("POST", "/refresh", tokens, headers=headers)
    if "cookie" in client.carrier:
        assert response.status_code == 403
        assert "evil.example" in response.json()["detail"]
        assert not cookies_of(response)
    else:
        assert response.status_code == 200
    assert client.renew(tokens)


def test_an_endpoint_that_renews_has_one_session(client):
    """Whoever had it before has the same: what they do to it is told with the new pair."""

    @client.app.post("/renew-and/{verb}")
    async def renew_and(request: Request, session: CurrentSession, verb: str):
        if verb == "confirm-first":
            await session.confirm()
        renewed = await renew_session(request)
        if verb in ("confirm", "destroy"):
            await getattr(session, verb)()
        return renewed is session

    tokens = client.log_in()
    response = client.ask("POST", "/renew-and/read", tokens)
    assert response.json() is True
    tokens = client.tokens(response)
    for verb in ("confirm", "confirm-first"):
        client.clock.advance(300)
        response = client.ask("POST", f"/renew-and/{verb}", tokens)
        fresh = client.tokens(response)
        assert client.is_told("GET", "/profile", tokens) == (401, "replaced")
        tokens = client.renew(fresh)
        assert client.ask("GET", "/fresh", tokens).status_code == 200
    response = client.ask("POST", "/renew-and/destroy", fresh)
    assert set(cookies_of(response).values()) <= {""}
    assert not response.headers.get("x-refresh-token")
    assert client.is_told("POST", "/refresh", fresh) == (401, "revoked")


def test_claims_that_change_amid_a_lost_response_are_no_theft(client):
    """The access token that says them is of the pair that the client has."""
    tokens = client.log_in()
    client.renew(tokens)  # the response of which is lost
    client.ask("POST", "/everywhere/anna", json={"role": "viewer"})
    fresh = client.tokens(client.ask("GET", "/profile", tokens))
    assert fresh.access
    assert client.profile(fresh)["role"] == "viewer"
    client.clock.advance(ACCESS_LIFE)
    assert client.profile(client.renew(tokens))["role"] == "viewer"


def two_tabs(make_client):
    """A browser with two tabs: one renewed the tokens, and the other keeps those of before."""
    client = make_client("header,cookie")
    stale = client.log_in()
    client.clock.advance(1)
    fresh = client.renew(stale)

    def ask(method, path):
        cookie = f"session_token={fresh.access}; {REFRESH}={fresh.refresh}"
        headers = {"Authorization": f"Bearer {stale.access}", "X-Refresh-Token": stale.refresh}
        return client.ask(method, path, headers=headers | {"Cookie": cookie})

    return client, ask


def test_tokens_of_two_tabs_go_together(make_client):
    """Of one session; the newest counts, which the browser has: to show both is no theft."""
    client, ask = two_tabs(make_client)
    client.clock.advance(ACCESS_LIFE - 0.5)  # one of them is over
    assert ask("GET", "/profile").json()["user"] == "anna"
    for _ in range(3):
        response = ask("POST", "/refresh")
        assert response.status_code == 200
    client.clock.advance(3600)
    assert client.profile(client.renew(client.tokens(response)))
    assert ask("POST", "/logout").status_code == 204
    assert client.is_told("POST", "/refresh", client.tokens(response)) == (401, "revoked")


def test_of_two_access_tokens_of_one_pair_the_later_counts(make_client):
    """One was issued for other claims; the tab that did not hear of it is not told to log in."""
    client = make_client("header,cookie")
    early = client.log_in()
    client.clock.advance(ACCESS_LIFE / 2)
    client.ask("POST", "/everywhere/anna", json={"role": "viewer"})
    late = client.tokens(client.ask("GET", "/profile", early))
    client.clock.advance(ACCESS_LIFE / 2)
    cookie = f"session_token={late.access}"
    headers = {"Authorization": f"Bearer {early.access}", "Cookie": cookie}
    assert client.ask("GET", "/profile", headers=headers).json()["role"] == "viewer"


def test_logging_out_with_tokens_that_disagree_ends_all_of_them(make_client):
    """Nobody stays logged in by having shown too much; a login and a logout always work."""
    client = make_client("header,cookie")
    one, two = client.log_in("anna"), client.log_in("bert")
    headers = {"Authorization": f"Bearer {one.access}", "Cookie": f"session_token={two.access}"}
    assert client.ask("GET", "/profile", headers=headers).status_code == 400
    response = client.ask("POST", "/logout", headers=headers)
    assert response.status_code == 204
    assert cookies_of(response) == {"session_token": "", REFRESH: ""}
    for tokens in (one, two):
        assert client.is_told("POST", "/refresh", tokens) == (401, "revoked")


def test_logging_out_amid_two_cookies_of_one_name_clears_ours(make_client):
    """Which of them is ours nobody can tell: nothing is ended, and the client is told."""
    client = make_client("cookie")
    tokens = client.log_in()
    cookies = {"Cookie": f"session_token={tokens.access}; session_token=planted"}
    response = client.ask("POST", "/logout", headers=cookies)
    assert response.status_code == 400
    assert cookies_of(response) == {"session_token": "", REFRESH: ""}
    assert client.profile(tokens)


def test_logging_out_with_a_token_whose_time_is_over_ends_its_session(client):
    """It opens nothing, and its session may live for weeks."""
    tokens = client.log_in()
    client.clock.advance(ACCESS_LIFE)
    assert client.ask("POST", "/logout", Tokens(access=tokens.access)).status_code == 204
    assert client.is_told("POST", "/refresh", tokens) == (401, "revoked")


def test_a_refresh_token_of_another_session_is_refused_as_long_as_both_live(client):
    """Planted by somebody, it would move the user into their account; neither session is used."""
    anna, eve = client.log_in("anna"), client.log_in("eve")
    seen = watch(client)
    client.clock.advance(ACCESS_LIFE)
    mixed = Tokens(anna.access, eve.refresh)
    response = client.ask("POST", "/refresh", mixed)
    assert response.status_code == 400
    assert client.tokens(response) == Tokens()
    assert told(seen) == [("refused", None, "conflict")]
    assert client.log_in("anna", mixed)  # a login always works
    for each in (anna, eve):
        assert client.is_told("POST", "/refresh", each) == (401, "replaced")


@pytest.mark.parametrize("over", ["/logout", "/regenerate", "/login/bert"])
def test_an_access_token_of_a_session_that_is_over_is_in_nobodys_way(client, over):
    """A late response, or a tab that slept, leaves it beside the refresh token of the next one."""
    old = client.log_in()
    response = client.ask("POST", over, old)
    new = client.tokens(response) if response.content else client.log_in("bert")
    renewed = client.tokens(client.ask("POST", "/refresh", Tokens(old.access, new.refresh)))
    assert client.profile(renewed)


def test_a_refresh_token_of_a_session_that_is_over_is_told_so(client):
    """Also beside the access token of another that lives."""
    old, new = client.log_in(), client.log_in()
    client.ask("POST", "/logout", old)
    assert client.is_told("POST", "/refresh", Tokens(new.access, old.refresh)) == (401, "revoked")
    assert client.profile(new)


def test_two_refresh_tokens_that_differ_are_refused(make_client):
    """Of two sessions: using either would be a guess."""
    client = make_client("header,cookie")
    one, two = client.log_in("anna"), client.log_in("bert")
    cookie = {"Cookie": f"{REFRESH}={two.refresh}", "X-Refresh-Token": one.refresh}
    response = client.client.post("/refresh", headers=cookie)
    assert response.status_code == 400


def test_a_new_login_ends_the_session_that_only_the_refresh_token_knows(client):
    """After a while the client has nothing else to show (ASVS 7.2.4)."""
    tokens = client.log_in()
    client.clock.advance(ACCESS_LIFE)
    again = client.log_in(tokens=Tokens(refresh=tokens.refresh))
    assert client.is_told("POST", "/refresh", tokens) == (401, "replaced")
    assert client.profile(again)


def test_a_new_login_ends_the_session_of_an_expired_access_token(client):
    """It opens nothing any more, but says who is coming."""
    tokens = client.log_in()
    client.clock.advance(ACCESS_LIFE)
    client.log_in(tokens=Tokens(access=tokens.access))
    assert client.is_told("POST", "/refresh", tokens) == (401, "replaced")


def test_logging_out_kills_both_tokens_by_whichever_is_good(client):
    """And the browser forgets both cookies."""
    for held in ("both", "access", "refresh"):
        tokens = client.log_in()
        shown = tokens if held == "both" else Tokens(**{held: getattr(tokens, held)})
        response = client.ask("POST", "/logout", shown)
        assert response.status_code == 204
        if "cookie" in client.carrier:
            assert cookies_of(response) == {"session_token": "", REFRESH: ""}
        assert client.is_told("GET", "/profile", tokens) == (401, "revoked")
        assert client.is_told("POST", "/refresh", tokens) == (401, "revoked")


def test_logging_out_without_a_session_is_quiet(client):
    """Forged or none: the cookies go all the same."""
    for tokens in (Tokens(), Tokens("junk", "junk")):
        response = client.ask("POST", "/logout", tokens)
        assert response.status_code == 204
        assert bool(cookies_of(response)) == ("cookie" in client.carrier)


def test_a_page_of_another_origin_cannot_log_out(make_client):
    """By neither cookie; and nothing is cleared."""
    client = make_client("cookie")
    tokens = client.log_in()
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for shown in (tokens, Tokens(refresh=tokens.refresh)):
        response = client.ask("POST", "/logout", shown, headers=headers)
        assert response.status_code == 403
        assert not cookies_of(response)
    assert client.profile(tokens)


def test_a_page_of_another_origin_can_read_the_tokens_where_cors_lets_it(make_client):
    """Both headers are named for browsers."""
    response = make_client("header").ask("POST", "/login/anna")
    exposed = response.headers.get_list("access-control-expose-headers")
    assert exposed == ["Authorization", "X-Refresh-Token"]


def test_keys_are_changed_without_logging_anyone_out(make_client, make_app):
    """A refresh token of the previous key buys a pair of the new one."""
    old = make_client("header", jwt_key="another key of more than thirty-two bytes")
    store = old.app.state.sessions.store
    tokens = old.log_in()
    app = FastAPI()

    @app.post("/refresh")
    async def refresh(request: Request):
        await renew_session(request)

    values = {"jwt_previous_keys": ["another key of more than thirty-two bytes"], "jwt_key": KEY}
    make_app(app=app, store=store, refresh=True, **values)
    with TestClient(app) as new:
        response = new.post("/refresh", headers={"X-Refresh-Token": tokens.refresh})
    assert response.status_code == 200
    assert response.headers["x-refresh-token"].partition(".")[0] != tokens.refresh.partition(".")[0]


def test_without_refresh_tokens_there_is_nothing_to_renew(make_client):
    """The route says which setting; the function is a mistake of the program."""
    client = make_client("header", refresh=False)
    response = client.ask("POST", "/login/anna")
    assert "x-refresh-token" not in response.headers
    response = client.ask("POST", "/refresh")
    assert response.status_code == 404
    assert "MEMSESSION_REFRESH" in response.json()["detail"]
    with (
        TestClient(client.app) as strict,
        pytest.raises(SessionUsageError, match="MEMSESSION_REFRESH=true"),
    ):
        strict.post("/renew/answer")


def test_a_long_access_token_of_before_is_refused_once_there_are_refresh_tokens(
    make_client, make_app
):
    """A life longer than any that this application issues is refused (ASVS 9.2.1)."""
    old = make_client("header", refresh=False)
    tokens = old.log_in()
    new = FastAPI()

    @new.post("/login")
    async def login(request: Request):
        await login_session(request, "anna")

    app = make_app(app=new, store=old.app.state.sessions.store, refresh=True)
    assert app.state.sessions.tokens.read(tokens.access) is None


def test_a_carrier_for_refresh_tokens_that_nobody_asked_for_is_a_mistake():
    """It would never carry any."""
    with pytest.raises(SessionUsageError, match="MEMSESSION_REFRESH=true"):
        setup_sessions(FastAPI(), SessionSettings(env="test"), refresh_carrier=HeaderCarrier("X-R"))
