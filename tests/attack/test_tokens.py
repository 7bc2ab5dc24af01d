"""Forged tokens: each gets the same answer, whatever is wrong with it, and does nothing."""

import string
from collections.abc import Callable, Iterator

import pytest

from tests.attack.forgeries import forgeries
from tests.attack.server import PROFILE, REFRESH, Answer, Pair, Server
from tests.test_tokens import resigned

KINDS = {"access": PROFILE, "refresh": REFRESH}
ALPHABET = string.ascii_letters + string.digits + "-_"


@pytest.fixture(scope="module")
def server(serve, parser, carrier) -> Server:
    return serve(parser, carrier)


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def pair(server, kind) -> Iterator[Pair]:
    """The tokens of somebody who is logged in, and stays so whatever others try."""
    pair = server.log_in()
    yield pair
    assert server.is_alive(server.refresh(pair.refresh).access)


@pytest.fixture(scope="module")
def junk(server, kind) -> Answer:
    """What whoever sends junk is told."""
    told = server.answer(KINDS[kind], *server.sent(**{kind: "junk"}))
    assert told.status == 401
    assert told.body == b'{"detail":"Not authenticated"}'
    assert dict(told.headers)["www-authenticate"] == 'Bearer error="invalid_token"'
    return told


@pytest.fixture
def refuses(server, kind, pair, junk) -> Iterator[Callable[..., None]]:
    """Have a token refused as junk is; the genuine one is as good as before."""

    def have_refused(forged: str, wrong: str = "") -> None:
        assert forged != getattr(pair, kind)
        told = server.answer(KINDS[kind], *server.sent(**{kind: forged}))
        assert told == junk, wrong or forged

    yield have_refused
    assert server.is_alive(pair.access)


def test_a_forged_token(refuses, kind, pair):
    """Is told nothing but that it is not valid (RFC 6750 section 3.1)."""
    token, other = pair if kind == "access" else reversed(pair)
    for wrong, forged in forgeries(token, other).items():
        refuses(forged, wrong)


def test_a_token_with_any_byte_changed(refuses, kind, pair):
    """Is another one, also in the last letter, whose last bits say nothing (RFC 4648 3.5)."""
    token = getattr(pair, kind)
    for place in range(0, len(token), 7):
        refuses(token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :])
    for last in ALPHABET.replace(token[-1], ""):
        refuses(token[:-1] + last)


def test_a_signed_token_of_another_user(server, kind, pair):
    """Opens nobody's session: the one that it names is of somebody else."""
    stolen = resigned(getattr(pair, kind), sub="root")
    assert server.ended(KINDS[kind], *server.sent(**{kind: stolen})) == "expired"
    assert server.is_alive(pair.access)


def test_a_signed_token_of_another_session(server, kind, pair):
    """That never was: a signature is not enough, the store is asked each time."""
    other = resigned(getattr(pair, kind), sid="x" * 43)
    assert server.ended(KINDS[kind], *server.sent(**{kind: other})) == "expired"
