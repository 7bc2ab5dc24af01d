"""Somebody who talks to an application and keeps the tokens apart, however they travel."""

from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from fastapi_memsession import SessionEvent

ACCESS, REFRESH = "session_token", "refresh_token"


@dataclass(frozen=True)
class Tokens:
    """What a client holds; None of what it does not."""

    access: str | None = None
    refresh: str | None = None


class Client:
    """Sends what it is told to send, and remembers nothing."""

    def __init__(self, client: TestClient, carrier: str, clock) -> None:
        self.client = client
        self.carrier = carrier
        self.clock = clock
        self.app: FastAPI = client.app

    def ask(self, method: str, path: str, tokens: Tokens = Tokens(), **more) -> Response:
        headers = more.pop("headers", {}) | self.headers(tokens)
        response = self.client.request(method, path, headers=headers, **more)
        self.client.cookies.clear()
        return response

    def headers(self, tokens: Tokens) -> dict[str, str]:
        """Send tokens in every way that the carrier knows."""
        headers = {}
        if "header" in self.carrier:
            if tokens.access:
                headers["Authorization"] = f"Bearer {tokens.access}"
            if tokens.refresh:
                headers["X-Refresh-Token"] = tokens.refresh
        if "cookie" in self.carrier:
            pairs = {ACCESS: tokens.access, REFRESH: tokens.refresh}
            cookie = "; ".join(f"{name}={value}" for name, value in pairs.items() if value)
            headers |= {"Cookie": cookie} if cookie else {}
        return headers

    def tokens(self, response: Response) -> Tokens:
        """Return the tokens that a response brings; they must come in all the right places."""
        cookies = cookies_of(response)
        ways = []
        if "header" in self.carrier:
            access = response.headers.get("authorization", "").removeprefix("Bearer ")
            ways.append(Tokens(access or None, response.headers.get("x-refresh-token")))
        else:
            assert "authorization" not in response.headers
            assert "x-refresh-token" not in response.headers
        if "cookie" in self.carrier:
            ways.append(Tokens(cookies.get(ACCESS), cookies.get(REFRESH)))
        else:
            assert not cookies
        assert len(set(ways)) == 1
        return ways[0]

    def log_in(self, user: str = "anna", tokens: Tokens = Tokens(), role: str = "user") -> Tokens:
        response = self.ask("POST", f"/login/{user}?role={role}", tokens)
        assert response.status_code == 200, response.text
        return self.tokens(response)

    def renew(self, tokens: Tokens) -> Tokens:
        response = self.ask("POST", "/refresh", Tokens(refresh=tokens.refresh))
        assert response.status_code == 200, response.text
        return self.tokens(response)

    def profile(self, tokens: Tokens) -> dict:
        response = self.ask("GET", "/profile", tokens)
        assert response.status_code == 200, response.text
        return response.json()

    def is_told(self, method: str, path: str, tokens: Tokens) -> tuple[int, str | None]:
        """Return the status and the reason that a request is answered with."""
        response = self.ask(method, path, tokens)
        body = response.json() if response.content else {}
        reason = body.get("reason") if isinstance(body, dict) else None
        if response.status_code == 401:
            challenge = response.headers["www-authenticate"]
            assert (f'reason="{reason}"' in challenge) == (reason is not None)
        return response.status_code, reason


def cookies_of(response: Response) -> dict[str, str]:
    """Return the cookies that a response sets, by name; an expired one as an empty text."""
    lines = response.headers.get_list("set-cookie")
    pairs = [line.partition(";")[0].partition("=") for line in lines]
    assert len({name for name, _, _ in pairs}) == len(pairs), "one cookie set twice"
    return {name: value for name, _, value in pairs}


def watch(client: Client) -> list[SessionEvent]:
    """Write every event down: half of them async."""
    seen: list[SessionEvent] = []
    client.app.state.sessions.subscribe(seen.append)
    return seen


def told(seen: list[SessionEvent]) -> list[tuple]:
    """Return what was told since the last time."""
    found = [(event.kind, event.user_id, event.reason) for event in seen]
    seen.clear()
    return found
