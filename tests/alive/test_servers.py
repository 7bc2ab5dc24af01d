"""Real servers, real sockets: whatever is open ends with its session, in whichever process."""

import threading
import time
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.alive.conftest import PATIENCE
from tests.conftest import KEY
from tests.serving import serving

SOON = 1.0  # seconds within which whatever is open ends


class Server:
    """Somebody who talks to a server."""

    def __init__(self, address: str, client: httpx.Client) -> None:
        self.address = address
        self.client = client

    def log_in(self, **options):
        response = self.client.post(f"{self.address}/login/anna", params=options)
        return {"Authorization": response.headers["authorization"]}

    def post(self, path, headers):
        response = self.client.post(f"{self.address}/{path}", headers=headers)
        response.raise_for_status()
        return response

    def get(self, path, headers):
        return self.client.get(f"{self.address}/{path}", headers=headers)

    @contextmanager
    def socket(self, headers):
        url = self.address.replace("http", "ws") + "/socket"
        with connect(url, additional_headers=headers, open_timeout=PATIENCE) as websocket:
            assert websocket.recv(PATIENCE) == "anna"
            yield websocket

    @contextmanager
    def events(self, headers):
        with self.client.stream("GET", f"{self.address}/events", headers=headers) as response:
            lines = response.iter_lines()
            assert next(lines) == "data: anna"
            yield lines


@pytest.fixture(scope="module", params=["memory", "redis"])
def servers(request, tmp_path_factory):
    """Two servers that share their sessions; in memory it is one, twice."""
    folder = tmp_path_factory.mktemp("served")
    settings = {"MEMSESSION_PROVIDER": request.param, "MEMSESSION_JWT_KEY": KEY}
    if request.param == "redis":
        settings["MEMSESSION_REDIS_URL"] = request.getfixturevalue("redis_url")
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(timeout=PATIENCE, trust_env=False))
        application = "from tests.alive.served import app"
        running = [
            stack.enter_context(
                serving(folder, application, "--timeout-graceful-shutdown", "1", **settings)
            )
            for _ in range(1 if request.param == "memory" else 2)
        ]
        talking = [Server(address, client) for _, address in running]
        yield talking[0], talking[-1]
        for process, _ in running:
            process.terminate()
            log, _ = process.communicate(timeout=PATIENCE)
            for unexpected in ("Traceback", "ERROR", "Bearer"):
                assert unexpected not in log


@pytest.fixture
def here(servers) -> Server:
    return servers[0]


@pytest.fixture
def there(servers) -> Server:
    return servers[1]


def closed(websocket):
    """Wait until it is closed; return code and reason."""
    with pytest.raises(ConnectionClosed) as caught:
        websocket.recv(PATIENCE)
    return caught.value.rcvd.code, caught.value.rcvd.reason


ENDED = (1008, "The session has ended: revoked")


def test_a_logout_closes_the_socket_of_another_server_soon(here, there):
    """Within a second: the quickest of three, for the machine may have other things to do."""
    took = []
    for _ in range(3):
        headers = here.log_in()
        with here.socket(headers) as websocket:
            there.post("logout", headers)
            begun = time.monotonic()
            assert closed(websocket) == ENDED
            took.append(time.monotonic() - begun)
    assert min(took) < SOON


def test_all_sockets_of_a_session_are_closed_and_no_other(here, there):
    """On both servers."""
    headers, others = here.log_in(), here.log_in()
    with ExitStack() as stack:
        mine = [stack.enter_context(each.socket(headers)) for each in (here, there) * 10]
        other = stack.enter_context(here.socket(others))
        here.post("logout", headers)
        assert [closed(each) for each in mine] == [ENDED] * 20
        other.send("")
        assert other.recv(PATIENCE) == "1"


def test_a_socket_survives_a_new_id(here, there):
    """It writes into the session that lives on; and ends with that."""
    headers = here.log_in()
    with here.socket(headers) as websocket:
        websocket.send("")
        assert websocket.recv(PATIENCE) == "1"
        renewed = there.post("regenerate", headers).headers["authorization"]
        while True:  # the new id is told as quickly as an end
            websocket.send("")
            if websocket.recv(PATIENCE) == "2":
                break
        there.post("logout", {"Authorization": renewed})
        assert closed(websocket) == ENDED


def test_a_socket_is_closed_when_its_session_expires(here):
    """By the time alone."""
    with here.socket(here.log_in(expiration=0.3)) as websocket:
        assert closed(websocket) == (1008, "The session has ended: expired")


def test_an_event_stream_ends_with_its_session(here, there):
    """Completely: a client that reads it to its end sees no error, and 401 when it comes back."""
    headers = here.log_in()
    with here.events(headers) as lines:
        there.post("logout", headers)
        assert list(lines) == [""]
    assert here.get("events", headers).status_code == 401


def test_a_request_that_waits_is_answered(here, there):
    """With 401 and the reason."""
    headers, answers = here.log_in(), []

    def wait():
        answers.append(here.get("wait", headers))

    with here.socket(headers) as websocket:
        waiting = threading.Thread(target=wait)
        waiting.start()
        there.post("logout", headers)
        assert closed(websocket) == ENDED
        waiting.join(PATIENCE)
    assert answers[0].status_code == 401
    assert answers[0].json()["reason"] == "revoked"


def test_a_client_that_leaves_leaves_nothing(here):
    """Neither of a socket nor of a stream: see the log, which the fixture reads."""
    headers = here.log_in()
    with here.socket(headers):
        pass
    with here.events(headers):
        pass
    here.post("logout", headers)
