"""Records in memory: packed and unpacked they are the same, whatever is in them."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from fastapi_memsession import SessionRecord
from fastapi_memsession.stores import packing
from fastapi_memsession.stores.packing import expires_at, pack, size_of_data, slot_of, unpack
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


@given(RECORDS, st.integers())
def test_nothing_is_lost(record, slot):
    """Neither a field, nor the order of keys, nor the place in the queue."""
    packed = pack(record, slot)
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


def test_sessions_with_the_same_keys_share_them():
    """And what they say of themselves; the garbage collector need not look at any."""
    one, two = pack(plain(1), 0), pack(plain(2), 0)
    assert one[1] is two[1]
    assert one[2] is two[2]
    assert one[3] is two[3]
    assert one[10] is None
    assert all(type(part) in (str, bytes, tuple, float, int, type(None)) for part in one)


def test_keys_that_clients_choose_are_not_kept_for_ever():
    """However many there were, few are remembered for others."""
    for number in range(3000):
        pack(plain(1)._replace(data={f"key-{number}": b"1"}), 0)
    assert len(packing._shared) <= 1024
    assert sys.getsizeof(packing._shared) < 200_000
