"""Records in memory: packed and unpacked they are the same, whatever is in them."""

import gc
import sys
from enum import StrEnum

from hypothesis import given
from hypothesis import strategies as st

from fastapi_memsession import SessionRecord
from fastapi_memsession.stores.packing import (
    expires_at,
    moved,
    pack,
    size_of_data,
    slot_of,
    unpack,
)
from fastapi_memsession.values import size_of
from tests.conftest import START

TEXT = st.text(max_size=8)
TIMES = st.floats(START, START + 10_000)
RECORDS = st.builds(
    SessionRecord,
    user_id=TEXT,
    session_id=TEXT,
    claims=st.dictionaries(TEXT, TEXT | st.sampled_from(["", "\0", "a\0b"]), max_size=3),
    data=st.dictionaries(
        TEXT, st.binary(max_size=8) | st.sampled_from([b"", b"\n", b"[1,\n2]"]), max_size=3
    ),
    created_at=TIMES,
    last_seen_at=TIMES,
    expires_at=TIMES,
    deadline=TIMES,
    expiration=st.floats(1, 100),
    confirmed_at=TIMES,
    user_agent=st.none() | TEXT,
    address=st.none() | TEXT,
    generation=st.integers(0, 9),
    used_generation=st.integers(0, 9),
    rotated_at=TIMES,
)


def packed_at(record: SessionRecord, slot: int) -> bytes:
    """A record, packed as a store does."""
    return pack(record, slot, size_of(record.data))


@given(RECORDS, st.integers(-(2**63), 2**63 - 1))
def test_nothing_is_lost(record, slot):
    """Neither a field, nor the order of keys, nor the place in the queue."""
    packed = packed_at(record, slot)
    back = unpack(record.session_id, packed)
    assert back == record
    assert list(back.data) == list(record.data)
    assert expires_at(packed) == record.expires_at
    assert slot_of(packed) == slot
    assert size_of_data(packed) == size_of(record.data)


def plain(number: int) -> SessionRecord:
    """A record as a login makes it."""
    return SessionRecord(
        user_id=f"user-{number}",
        session_id=f"session-{number}",
        claims={"role": "admin"},
        data={"theme": b'"dark"', "number": str(number).encode()},
        created_at=START,
        last_seen_at=START,
        expires_at=START + 100,
        deadline=START + 1000,
        expiration=100.0,
        confirmed_at=START,
    )


def test_a_record_is_one_object():
    """Of bytes: the garbage collector need not look at it, nor what reads it anywhere else."""
    packed = packed_at(plain(1), 0)
    assert type(packed) is bytes
    assert not gc.is_tracked(packed)
    assert sys.getsizeof(packed) < 260


def test_nothing_is_shared_with_what_was_packed():
    """Nor by two who unpack the same."""
    record = plain(1)
    packed = packed_at(record, 0)
    one, two = unpack("session-1", packed), unpack("session-1", packed)
    for mine, theirs in ((one, two), (one, record)):
        assert mine.claims is not theirs.claims
        assert mine.data is not theirs.data


class Name(StrEnum):
    """What an application may call its users and roles by."""

    ANNA = "anna"


class Seconds(float):
    """A number of someone's own kind, as a clock may give it."""


def test_what_is_of_a_subclass_is_kept_as_what_it_is():
    """A text that is an enum's member, a number that is more than one: equal, and plain."""
    record = plain(1)._replace(
        user_id=Name.ANNA, claims={Name.ANNA: Name.ANNA}, created_at=Seconds(START)
    )
    back = unpack(record.session_id, packed_at(record, 0))
    assert back == record
    assert (type(back.user_id), type(back.created_at)) == (str, float)
    assert [type(each) for pair in back.claims.items() for each in pair] == [str, str]


@given(RECORDS, st.integers(-(2**63), 2**63 - 1))
def test_a_record_changes_its_place(record, slot):
    """In the queue, and nothing else of it."""
    assert moved(packed_at(record, 7), slot) == packed_at(record, slot)
