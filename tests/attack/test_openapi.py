"""Requests made of what the example app says of itself: right ones, wrong ones, strange ones."""

from collections import defaultdict
from http.cookiejar import DefaultCookiePolicy

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.attack.server import PATIENCE

# The same requests each time, and so many for each operation.
bounded = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),  # nothing can be wrong with some operations
)


@pytest.fixture
def session():
    """A client that keeps no cookies, and knows nothing of the developer's proxies."""
    with requests.Session() as session:
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        yield session


def requests_for(operation):
    """Make requests that keep to the description of an operation, and such that do not."""
    return st.one_of(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)


def test_no_request_is_a_failure(server, session):
    """Whether somebody who is logged in sends it or not; each operation is carried out at times."""
    schema = schemathesis.openapi.from_dict(server.ask(("GET", "/openapi.json")).json())
    answers = defaultdict(set)

    def attack(operation):
        @bounded
        @given(requests_for(operation), st.booleans())
        def ask(case, logged_in):
            sent = dict(server.sent(*server.log_in())) if logged_in else {}
            response = case.call(server.address, session, sent, timeout=PATIENCE)
            assert response.status_code < 500, response.text
            answers[operation.label].add((response.status_code, logged_in))

        ask()

    for found in schema.get_all_operations():
        attack(found.ok())
    assert len(answers) == 7
    for operation, statuses in answers.items():
        assert {(200, True), (204, True)} & statuses or "login" in operation, operation
        assert any(400 <= status < 500 for status, _ in statuses) or "logout" in operation
