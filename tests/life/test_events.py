"""Events: what happens is told, to whoever subscribed and to the log, and never a secret."""

import logging

from tests.life.client import Tokens, told, watch


def test_the_life_of_a_session_is_told(client):
    """Each step once, in its order."""
    seen = watch(client)
    tokens = client.log_in()
    assert told(seen) == [("created", "anna", None)]
    client.profile(tokens)
    assert told(seen) == []
    renewed = client.renew(tokens)
    assert told(seen) == [("renewed", "anna", None)]
    again = client.tokens(client.ask("POST", "/regenerate", renewed))
    assert told(seen) == [("created", "anna", None), ("ended", "anna", "replaced")]
    client.log_in("bert", again)
    assert told(seen) == [("created", "bert", None), ("ended", "anna", "replaced")]
    client.is_told("GET", "/profile", again)
    assert told(seen) == [("refused", "anna", "replaced")]


def test_every_way_to_end_is_told(make_client):
    """With its reason; an end that was none is not."""
    client = make_client(max_sessions_per_user=1)
    seen = watch(client)
    client.log_in()
    tokens = client.log_in()
    assert told(seen)[1:] == [("created", "anna", None), ("ended", "anna", "evicted")]
    client.ask("POST", "/logout", tokens)
    client.ask("POST", "/logout", Tokens(refresh=tokens.refresh))
    assert told(seen) == [("ended", "anna", "logout")]
    tokens = client.log_in()
    client.renew(client.renew(tokens))
    told(seen)
    client.is_told("POST", "/refresh", tokens)
    expected = [
        ("reused", "anna", None),
        ("ended", "anna", "reused"),
        ("refused", "anna", "reused"),
    ]
    assert told(seen) == expected


def test_refusals_are_told(make_client):
    """Whoever tried; a request without a credential is no refusal."""
    client = make_client("cookie")
    tokens = client.log_in()
    seen = watch(client)
    client.ask("GET", "/profile")
    assert told(seen) == []
    client.ask("GET", "/profile", Tokens("junk"))
    assert told(seen) == [("refused", None, "invalid_token")]
    client.clock.advance(15 * 60)
    client.ask("GET", "/profile", tokens)
    assert told(seen) == [("refused", None, "token_expired")]
    tokens = client.log_in()
    told(seen)
    client.ask("GET", "/admin", tokens)
    assert told(seen) == [("refused", "anna", "claims")]
    client.clock.advance(300)
    client.ask("GET", "/fresh", tokens)
    assert told(seen) == [("refused", "anna", "confirmation")]
    evil = {"Sec-Fetch-Site": "cross-site"}
    client.ask("POST", "/count", tokens, headers=evil)
    client.ask("POST", "/login/anna", headers=evil)
    client.ask("POST", "/refresh", tokens, headers=evil)
    assert told(seen) == [("refused", None, "cross_origin")] * 3
    twice = {"Cookie": "session_token=a; session_token=b"}
    client.client.get("/profile", headers=twice)
    assert told(seen) == [("refused", None, "conflict")]
    client.client.post("/logout", headers=twice)
    assert told(seen) == [("refused", None, "conflict")]


def test_a_refusal_says_which_session(client, caplog):
    """Of one that lacks something, or is over; the log tells what is known, and no more."""
    caplog.set_level(logging.INFO, "fastapi_memsession")
    seen = watch(client)
    tokens = client.log_in()
    client.ask("GET", "/admin", tokens)
    client.ask("POST", "/logout", tokens)
    client.ask("GET", "/profile", tokens)
    client.ask("GET", "/profile", Tokens("junk"))
    (created, *refused), lines = seen, [each.getMessage() for each in caplog.records]
    assert [event.kind for event in refused] == ["refused", "ended", "refused", "refused"]
    known = f"user 'anna', session {created.session_id[:8]}"
    assert lines == [
        f"Session created: {known}.",
        f"Session refused: {known}, reason claims.",
        f"Session ended: {known}, reason logout.",
        f"Session refused: {known}, reason revoked.",
        "Session refused: reason invalid_token.",
    ]
    assert [event.session_id for event in refused] == [created.session_id] * 3 + [None]


def test_a_handler_that_fails_disturbs_nobody(client, caplog):
    """Neither the request nor the handlers after it; async ones are awaited."""
    seen = []
    provider = client.app.state.sessions

    @provider.subscribe
    def fail(event):
        raise RuntimeError("the audit log is full")

    @provider.subscribe
    async def fail_later(event):
        raise RuntimeError("the audit service is away")

    @provider.subscribe
    async def note(event):
        seen.append(event.kind)

    assert client.profile(client.log_in())
    assert seen == ["created"]
    assert "the audit log is full" in caplog.text
    assert "the audit service is away" in caplog.text


def test_no_token_and_no_data_is_told(make_client, caplog):
    """Neither in an event nor in the log, nor more of an id than follows a session."""
    caplog.set_level(logging.DEBUG, "fastapi_memsession")
    client = make_client()
    seen = watch(client)
    tokens = client.log_in(role="secret-role")
    renewed = client.renew(tokens)
    client.is_told("POST", "/refresh", client.renew(renewed))
    client.is_told("POST", "/refresh", tokens)
    text = repr(seen) + caplog.text
    for secret in (*tokens.access.split("."), *renewed.refresh.split(".")[1:], "secret-role"):
        assert secret not in text
    assert seen[0].session_id not in caplog.text
    assert seen[0].session_id[:8] in caplog.text
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len([each for each in warnings if each.startswith("Session reused")]) == 1
