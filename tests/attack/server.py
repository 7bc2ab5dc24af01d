"""A server that is attacked, as its clients see it: what they send, and what they are told."""

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import NamedTuple

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.attack import CONTROL
from tests.conftest import KEY

PATIENCE = 20  # seconds for anything that is waited for
RIGHT = {"username": "admin", "password": "123456"}
REDIS_PASSWORD = "correct-horse-battery"
PROFILE, REFRESH, LOGIN, LOGOUT, SETTINGS, SESSIONS = (
    ("GET", "/profile"),
    ("POST", "/refresh"),
    ("POST", "/login"),
    ("POST", "/logout"),
    ("PUT", "/settings"),
    ("DELETE", "/sessions"),
)
BODIES = {"/login": RIGHT, "/settings": {"theme": "dark"}}

Headers = Sequence[tuple[str, str]]


class Pair(NamedTuple):
    """Tokens as a login brings them."""

    access: str
    refresh: str


class Answer(NamedTuple):
    """All that a client can tell of an answer; two of them are the same, or not."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Server:
    """Somebody who talks to one server, and keeps nothing.

    Args:
        address: where it is.
        carrier: how its tokens travel.
        prefix: what the names of its cookies begin with.
        log: what it prints.
    """

    def __init__(self, address: str, *, carrier: str, prefix: str, log: Path) -> None:
        host, port = address.removeprefix("http://").split(":")
        self.address = address
        self.place = (host, int(port))
        self.carrier = carrier
        self.cookies = Pair(f"{prefix}session_token", f"{prefix}refresh_token")
        self.log = log
        self.signatures: set[str] = set()  # of all tokens that it gave
        self.client = httpx.Client(
            base_url=address,
            timeout=PATIENCE,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            event_hooks={"response": [self._look_at]},
        )

    def ask(self, request: tuple[str, str], *headers: tuple[str, str], **options) -> httpx.Response:
        """Send a request, with a body that its endpoint takes."""
        method, path = request
        options.setdefault("json", BODIES.get(path))
        lines = [(name, value.encode("latin-1")) for name, value in headers]
        return self.client.request(method, path, headers=lines, **options)

    def answer(self, request: tuple[str, str], *headers: tuple[str, str], **options) -> Answer:
        """Send a request; return what can be told of the answer, but the time."""
        response = self.ask(request, *headers, **options)
        told = [pair for pair in response.headers.multi_items() if pair[0] != "date"]
        return Answer(response.status_code, tuple(told), response.content)

    def status(self, request: tuple[str, str], *headers: tuple[str, str]) -> int:
        """Send a request; return the status."""
        return self.ask(request, *headers).status_code

    def ended(self, request: tuple[str, str], *headers: tuple[str, str]) -> str | None:
        """Send a request that has to be refused for its session; return the reason."""
        response = self.ask(request, *headers)
        assert response.status_code == 401, response.text
        return response.json().get("reason")

    def log_in(self, *headers: tuple[str, str]) -> Pair:
        """Log in; return the tokens."""
        return self.tokens(self.ask(LOGIN, *headers))

    def refresh(self, token: str) -> Pair:
        """Exchange a refresh token; return the next pair."""
        return self.tokens(self.ask(REFRESH, *self.sent(refresh=token)))

    def tokens(self, response: httpx.Response) -> Pair:
        """Return the tokens that a response brings, as its first carrier does."""
        assert response.status_code == 200, response.text
        if "header" in self.carrier:
            access = response.headers["authorization"].removeprefix("Bearer ")
            return Pair(access, response.headers["x-refresh-token"])
        lines = cookies_of(response)
        return Pair(*(lines[name].partition(";")[0] for name in self.cookies))

    def sent(self, access: str | None = None, refresh: str | None = None) -> Headers:
        """Return tokens as a client sends them, by each carrier of the server."""
        headers = []
        if "header" in self.carrier:
            headers += [("Authorization", f"Bearer {access}")] if access else []
            headers += [("X-Refresh-Token", refresh)] if refresh else []
        if "cookie" in self.carrier:
            pairs = zip(self.cookies, (access, refresh), strict=True)
            cookies = "; ".join(f"{name}={token}" for name, token in pairs if token)
            headers += [("Cookie", cookies)] if cookies else []
        return headers

    def is_alive(self, access: str) -> bool:
        """Whether a token opens a session."""
        return self.status(PROFILE, *self.sent(access)) == 200

    def theme(self, access: str) -> str:
        """Return what is kept in the session."""
        return self.ask(PROFILE, *self.sent(access)).json()["theme"]

    def control(self, **said: str | float):
        """Tell the server what no client could; return what it says."""
        response = self.client.post(CONTROL, params=said)
        return response.json()

    def advance(self, seconds: float) -> None:
        """Move its time."""
        self.control(advance=seconds)

    @contextmanager
    def events(self) -> Iterator[list]:
        """Give a list that holds what has happened in the block, after it."""
        before = len(self.control()["events"])
        happened: list = []
        yield happened
        happened += [tuple(each) for each in self.control()["events"][before:]]

    @contextmanager
    def chat(
        self, *headers: tuple[str, str], host: str = "localhost"
    ) -> Iterator[ClientConnection]:
        """Open the socket of the chat, at a host of that name."""
        connection = socket.create_connection(self.place, PATIENCE)
        url = f"ws://{host}/chat/socket"
        options = {"open_timeout": PATIENCE, "sock": connection}
        with connect(url, additional_headers=list(headers), **options) as websocket:
            yield websocket

    def raw(self, *lines: bytes, body: bytes = b"") -> tuple[list[int], bytes]:
        """Send lines as they are; return the statuses of the answers, and all that came."""
        with socket.create_connection(self.place, PATIENCE) as connection:
            head = [*lines, b"Connection: close", b"", b""]
            came = b""
            with suppress(ConnectionError):  # a server need not read all that it refuses
                connection.sendall(b"\r\n".join(head) + body)
                while chunk := connection.recv(65536):
                    came += chunk
        statuses = re.findall(rb"^HTTP/1.1 (\d{3})", came, re.MULTILINE)
        return list(map(int, statuses)), came

    def _look_at(self, response: httpx.Response) -> None:
        """See to it that nothing anybody is told is a failure of ours, or a secret."""
        response.read()
        told = f"{response.headers.raw}{response.text}"
        assert response.status_code in {*range(200, 500), 503}, (response.request, told)
        assert KEY not in told
        assert REDIS_PASSWORD not in told
        self.signatures.update(re.findall(r"eyJ[\w-]+\.eyJ[\w-]+\.([\w-]+)", told))


def cookies_of(response: httpx.Response) -> dict[str, str]:
    """Return the cookies that a response sets: by name, what follows it."""
    return dict(line.split("=", 1) for line in response.headers.get_list("set-cookie"))
