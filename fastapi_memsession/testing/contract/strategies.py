"""What random programs are made of: users, values and changes that are worth a try."""

from hypothesis import strategies as st

from fastapi_memsession.stores.base import (
    CompareAndSet,
    DeleteValue,
    Increment,
    SetDefault,
    SetValue,
)

USERS = ["anna", "bert", ""]
KEYS = st.sampled_from(["a", "b", "", ":a"])
VALUES = st.sampled_from([b"1", b"2", b"null", b'"text"', b"[1,2]", b"9223372036854775807"])
CLAIMS = st.sampled_from([{}, {"role": "admin"}, {"role": "user"}, {"b": "1", "a": "2"}])
CHANGES = st.lists(
    st.one_of(
        st.builds(SetValue, KEYS, VALUES),
        st.builds(SetDefault, KEYS, VALUES),
        st.builds(DeleteValue, KEYS),
        st.builds(Increment, KEYS, st.sampled_from([1, -1, 0.5])),
        st.builds(CompareAndSet, KEYS, VALUES, VALUES),
    ),
    max_size=3,
)
AGES = st.sampled_from([None, 0.0, 0.5, 40.0, 650.0])  # seconds since something, if it was at all
