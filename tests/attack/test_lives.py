"""Sessions that are over, or somebody else's: nothing brings them back, nothing takes them over.

On both stores, under one clock.
"""

import threading
from contextlib import contextmanager

import pytest
from websockets.exceptions import InvalidStatus

from tests.attack.forgeries import forgeries
from tests.attack.server import LOGIN, LOGOUT, PATIENCE, PROFILE, REFRESH, SESSIONS, SETTINGS
from tests.test_tokens import parts

pytestmark = pytest.mark.parametrize("store", ["memory", "redis"], scope="module")
GRACE = 10  # seconds


def session_id(token):
    return parts(token)[1]["sid"]


def devices(server, access):
    """Return the ids of the user's sessions."""
    response = server.ask(("GET", "/sessions"), *server.sent(access))
    return [device["id"] for device in response.json()]


@pytest.fixture(autouse=True)
def _nobody_else(server):
    """Log out whoever an earlier test left."""
    mine = server.sent(server.log_in().access)
    for request in (SESSIONS, LOGOUT):
        server.ask(request, *mine)


def test_a_logout_is_final(server, pair):
    """At once, and for every token that the session ever had (ASVS 7.4.1)."""
    new = server.refresh(pair.refresh)
    assert server.is_alive(new.access)
    assert server.status(LOGOUT, *server.sent(new.access)) == 204
    for each in (pair, new):
        assert server.ended(PROFILE, *server.sent(each.access)) == "revoked"
        assert server.ended(SETTINGS, *server.sent(each.access)) == "revoked"
        assert server.ended(REFRESH, *server.sent(refresh=each.refresh)) == "revoked"
        assert server.status(LOGOUT, *server.sent(*each)) == 204
        with pytest.raises(InvalidStatus), server.chat(*server.sent(each.access)):
            pass


def test_a_logout_by_either_token(server, pair):
    """Ends the session for both."""
    assert server.status(LOGOUT, *server.sent(refresh=pair.refresh)) == 204
    assert server.ended(PROFILE, *server.sent(pair.access)) == "revoked"


def test_all_others_are_logged_out(server, pair):
    """At once, and it is reported; who asked for it stays (ASVS 7.4.3)."""
    others = [server.log_in() for _ in range(3)]
    with server.events() as happened:
        assert server.ask(SESSIONS, *server.sent(pair.access)).json() == {"ended": 3}
    assert happened == [("ended", "revoked")] * 3
    for other in others:
        assert server.ended(PROFILE, *server.sent(other.access)) == "revoked"
        assert server.ended(REFRESH, *server.sent(refresh=other.refresh)) == "revoked"
    assert devices(server, pair.access) == [session_id(pair.access)]


@pytest.mark.parametrize("planted", ["access", "refresh"])
def test_a_session_that_was_planted(server, pair, planted):
    """A login begins another, and ends the one it came with (session fixation, ASVS 7.2.4)."""
    mine = server.log_in(*server.sent(**{planted: getattr(pair, planted)}))
    assert session_id(mine.access) != session_id(pair.access)
    assert server.ended(PROFILE, *server.sent(pair.access)) == "replaced"
    assert server.ended(REFRESH, *server.sent(refresh=pair.refresh)) == "replaced"
    assert server.is_alive(mine.access)


def test_an_id_that_the_client_chose(server, pair):
    """Is not taken, however it is sent; ids are random, and none comes twice (ASVS 7.2.3)."""
    chosen = "c" * 43
    forged = forgeries(*pair)["another key"]
    sent = [
        server.sent(chosen),
        server.sent(forged),
        [("Cookie", f"session_id={chosen}; sid={chosen}; sessionid={chosen}")],
        [("X-Session-Id", chosen)],
    ]
    ids = {session_id(server.log_in(*headers).access) for headers in sent * 5}
    assert len(ids) == 20
    assert all(len(each) == 43 for each in ids)
    assert not ids & {chosen, session_id(pair.access)}
    assert server.is_alive(pair.access)  # a forged token ends nobody's session


def test_an_idle_session(server, pair):
    """Ends ten minutes after its last use, not later (ASVS 7.3.1)."""
    server.advance(599)
    assert server.is_alive(pair.access)
    pair = server.refresh(pair.refresh)
    server.advance(600)
    assert server.ended(PROFILE, *server.sent(pair.access)) == "expired"
    assert server.ended(REFRESH, *server.sent(refresh=pair.refresh)) == "expired"


def test_an_access_token_whose_time_is_over(server, pair):
    """Is told so, if it is genuine; a forged one is told nothing, and the session goes on."""
    forged = forgeries(*pair)["another key"]
    for _ in range(3):
        server.advance(300)
        new = server.refresh(pair.refresh)
        assert server.is_alive(new.access)
        pair = pair._replace(refresh=new.refresh)
    told = {token: server.ask(PROFILE, *server.sent(token)) for token in (pair.access, forged)}
    assert [each.status_code for each in told.values()] == [401, 401]
    assert told[pair.access].json() == {"detail": "The access token has expired"}
    assert told[forged].json() == {"detail": "Not authenticated"}
    assert server.is_alive(new.access)


def test_a_session_in_use(server, pair):
    """Ends an hour after the login: no use and no renewal extends that (ASVS 7.3.2)."""
    first, deadline = pair, server.control()["now"] + 3600
    for _ in range(7):
        server.advance(500)
        pair = server.refresh(pair.refresh)
        profile = server.ask(PROFILE, *server.sent(pair.access)).json()
        assert profile["expires_at"] <= deadline
    server.advance(99)
    assert server.is_alive(pair.access)
    server.advance(1)
    for each in (first, pair):
        assert server.ended(REFRESH, *server.sent(refresh=each.refresh)) == "expired"
    assert not server.is_alive(pair.access)


@pytest.mark.parametrize("used", [False, True])
def test_a_lost_answer_or_another_tab(server, pair, used):
    """Whoever asks again within the grace period gets the very same pair (RFC 9700 4.14.2)."""
    new = server.refresh(pair.refresh)
    assert not used or server.is_alive(new.access)
    server.advance(GRACE - 1)
    assert server.refresh(pair.refresh) == new
    assert server.is_alive(new.access)


def late(server, stolen):
    """Exchange a token, use what came of it, and let the grace period pass."""
    new = server.refresh(stolen)
    assert server.is_alive(new.access)
    server.advance(GRACE)
    return new


@pytest.mark.parametrize("renewals", [1, 2, 3])
def test_a_stolen_refresh_token(server, pair, renewals):
    """That comes a second time, late, ends the session for both of its users, and is reported."""
    new = pair
    for _ in range(renewals):
        new = late(server, new.refresh)
    with server.events() as happened:
        assert server.ended(REFRESH, *server.sent(refresh=pair.refresh)) == "reused"
        assert server.ended(PROFILE, *server.sent(new.access)) == "reused"
        assert server.ended(REFRESH, *server.sent(refresh=new.refresh)) == "reused"
    assert happened[:3] == [("reused", None), ("ended", "reused"), ("refused", "reused")]


def test_a_forged_refresh_token(server, pair):
    """Ends nobody's session, and is not taken for a second use."""
    new = late(server, pair.refresh)
    for wrong in ("another key", "no signature", "the other kind of token"):
        forged = forgeries(pair.refresh, pair.access)[wrong]
        assert server.status(REFRESH, *server.sent(refresh=forged)) == 401
    assert server.is_alive(new.access)
    assert server.is_alive(server.refresh(new.refresh).access)


@contextmanager
def held(server, call, request, *headers):
    """Let a request wait in a call of the store while the block runs; give what it is answered."""
    answers = []
    server.control(hold=call)
    waiting = threading.Thread(target=lambda: answers.append(server.ask(request, *headers)))
    waiting.start()
    try:
        while not server.control()["waiting"] and waiting.is_alive():
            pass
        yield answers
    finally:
        server.control(release=call)
        waiting.join(PATIENCE)


def test_a_write_that_is_under_way(server, pair):
    """At a logout brings nothing back: it is told that the session has ended."""
    with held(server, "change", SETTINGS, *server.sent(pair.access)) as answers:
        assert server.status(LOGOUT, *server.sent(pair.access)) == 204
    assert answers[0].status_code == 401
    assert server.ended(PROFILE, *server.sent(pair.access)) == "revoked"
    assert devices(server, access := server.log_in().access) == [session_id(access)]


def test_a_login_that_is_under_way(server, pair):
    """When all others are logged out is one of them: its password may be the old one."""
    with held(server, "create", LOGIN) as answers:
        server.advance(1)
        assert server.status(SESSIONS, *server.sent(pair.access)) == 200
    assert answers[0].status_code == 401
    assert devices(server, pair.access) == [session_id(pair.access)]


def test_what_is_reported(server, pair):
    """Logins, renewals, ends and refusals, each with its reason (ASVS 16.3.1)."""
    with server.events() as happened:
        new = server.refresh(server.log_in().refresh)
        server.ask(PROFILE, *server.sent("junk"))
        server.ask(LOGOUT, *server.sent(new.access))
        server.ask(PROFILE, *server.sent(new.access))
    assert happened == [
        ("created", None),
        ("renewed", None),
        ("refused", "invalid_token"),
        ("ended", "logout"),
        ("refused", "revoked"),
    ]
