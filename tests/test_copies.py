"""Copies of records: shown for a while, and not kept if something may have changed meanwhile."""

import time

import pytest

from fastapi_memsession import SessionRecord
from fastapi_memsession.stores.copies import Copies
from tests.conftest import START

LONG = 1000.0  # seconds that no test lasts


def record(session_id="a", user_id="anna", **values):
    made = SessionRecord(
        user_id=user_id,
        session_id=session_id,
        claims={},
        data={},
        created_at=START,
        last_seen_at=START,
        expires_at=START + 10 * LONG,
        deadline=START + 10 * LONG,
        expiration=10 * LONG,
    )
    return made._replace(**values)


@pytest.fixture
def copies():
    return Copies(seconds=LONG, most=3)


def keep(copies, made, now=START):
    copies.end(copies.begin(made.session_id, now), made)


def test_what_was_loaded_is_shown(copies):
    """To whoever names both user and session."""
    keep(copies, record())
    assert copies.get(record().key, START) == record()
    assert copies.get(record(user_id="bert").key, START) is None
    assert copies.get(record("b").key, START) is None


def test_nothing_is_shown_that_has_expired(copies):
    """By the clock of the caller."""
    made = record(expires_at=START + 5)
    keep(copies, made)
    assert copies.get(made.key, START + 4.999) == made
    assert copies.get(made.key, START + 5) is None


@pytest.mark.parametrize("seconds", [LONG, -0.001])
def test_nothing_is_shown_after_a_leap_of_the_clock(copies, seconds):
    """Of the caller's, which tells that a machine was suspended; nor after one back."""
    keep(copies, record())
    assert copies.get(record().key, START + LONG - 0.001)
    assert copies.get(record().key, START + seconds) is None


def test_age_counts_from_when_the_load_began():
    """Not from its end: what took longer than that is never shown."""
    copies = Copies(seconds=0.05)
    load = copies.begin("a", START)
    while time.monotonic() < load.sent + 0.05:
        pass
    copies.end(load, record())
    assert copies.get(record().key, START) is None
    assert len(copies) == 0


def test_what_changed_is_not_shown(copies):
    """Whether one or all of them changed."""
    for forget in (lambda: copies.forget("a"), copies.forget_all):
        keep(copies, record())
        forget()
        assert copies.get(record().key, START) is None


def test_a_load_that_a_change_has_met_is_not_kept(copies):
    """It may have read what was there before; one that begins later is."""
    for forget in (lambda: copies.forget("a"), copies.forget_all):
        early = copies.begin("a", START)
        forget()
        late = copies.begin("a", START)
        copies.end(early, record(generation=1))
        assert copies.get(record().key, START) is None
        copies.end(late, record(generation=2))
        assert copies.get(record().key, START).generation == 2
        forget()


def test_of_loads_at_the_same_time_the_first_is_kept(copies):
    """Whichever is answered first; when it is over, the next one is."""
    for slow_is_first in (True, False):
        first, second = copies.begin("a", START), copies.begin("a", START)
        answers = [(first, record(generation=1)), (second, record(generation=2))]
        for load, read in answers if slow_is_first else reversed(answers):
            copies.end(load, read)
        assert copies.get(record().key, START).generation == 1
    keep(copies, record(generation=3))
    assert copies.get(record().key, START).generation == 3


def test_what_was_read_replaces_what_was_kept(copies):
    """Also if it is not to be kept, or nothing was there any more."""
    keep(copies, record())
    copies.end(copies.begin("a", START), None)
    assert copies.get(record().key, START) is None


def test_a_change_elsewhere_does_not_matter(copies):
    """It is another session's."""
    keep(copies, record("c"))
    load = copies.begin("a", START)
    copies.forget("b")
    copies.end(load, record())
    assert copies.get(record().key, START)
    assert copies.get(record("c").key, START)


def test_no_load_is_noted_for_ever(copies):
    """Kept, failed or met by a change."""
    keep(copies, record())
    for load in [copies.begin("b", START), copies.begin("b", START)]:
        copies.end(load, None)
    assert copies._loading == {}
    for forget in (lambda: copies.forget("c"), copies.forget_all):
        load = copies.begin("c", START)
        forget()
        copies.end(load, record("c"))
        assert copies._loading == {}


def test_the_oldest_makes_room(copies):
    """There are never more than asked for; one that is loaded again is the newest."""
    for name in ("a", "b", "c", "a", "d"):
        keep(copies, record(name))
    assert len(copies) == 3
    shown = [name for name in "abcd" if copies.get(record(name).key, START)]
    assert shown == ["a", "c", "d"]


def test_what_is_too_old_makes_room_first():
    """So there are no more than were loaded in that time."""
    copies = Copies(seconds=1e-9)
    for number in range(100):
        keep(copies, record(str(number)))
    assert len(copies) <= 1
