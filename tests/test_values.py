"""Values: stored faithfully, or refused with nothing changed."""

import traceback
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, field_serializer

from fastapi_memsession import SessionDataError
from fastapi_memsession.values import MAX_DEPTH, decode_value, decode_value_as, encode_value, same

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab\0é🦊"), inner),
)


def nested(depth, inner=0):
    value = inner
    for _ in range(depth):
        value = [value]
    return value


def circular():
    value: list = [1]
    value.append({"again": value})
    return value


@given(JSON)
def test_json_comes_back_as_it_was(value):
    """Every JSON value, with the types and the order of what went in."""
    back = decode_value(encode_value(value))
    assert back == value
    assert repr(back) == repr(value)


def test_a_tuple_comes_back_as_a_list():
    """As everywhere in JSON."""
    assert decode_value(encode_value((1, (2,)))) == [1, [2]]


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        [-float("inf")],
        b"bytes",
        bytearray(b"x"),
        memoryview(b"x"),
        {1, 2},
        frozenset(),
        {"a": [{"b": {1}}]},
        object(),
        lambda: None,
        print,
        (number for number in range(3)),
        iter([1]),
        {}.keys(),
        "\ud800",
        {"\ud800": 1},
        {1: "a"},
        {None: 1},
        {(1, 2): 3},
        nested(10_000),
        nested(MAX_DEPTH + 1),
        circular(),
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_say_is_refused(value):
    """Rather than stored as something else."""
    with pytest.raises(SessionDataError):
        encode_value(value)


def test_a_generator_is_refused_unread():
    """Refusing a value does not use it up."""
    numbers = iter([1, 2])
    with pytest.raises(SessionDataError, match="JSON has no form"):
        encode_value(numbers)
    assert list(numbers) == [1, 2]


def test_nesting_is_bounded():
    """To a depth that every reader can follow."""
    value = nested(MAX_DEPTH)
    assert decode_value(encode_value(value)) == value


class Item(BaseModel):
    name: str
    bought: datetime


@dataclass
class Point:
    x: int
    y: int


class Shelf(BaseModel):
    names: dict[str, int]
    room: str


class Level(IntEnum):
    HIGH = 3


WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "type_", "plain"),
    [
        (WHEN, datetime, "2026-01-02T03:04:05Z"),
        (UUID(int=1), UUID, "00000000-0000-0000-0000-000000000001"),
        (Point(1, 2), Point, {"x": 1, "y": 2}),
        (Level.HIGH, Level, 3),
        (Item(name="a", bought=WHEN), Item, {"name": "a", "bought": "2026-01-02T03:04:05Z"}),
        (
            [Item(name="a", bought=WHEN)],
            list[Item],
            [{"name": "a", "bought": "2026-01-02T03:04:05Z"}],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_pydantic_knows_comes_back_as_its_type(value, type_, plain):
    """With as_, as the type asked for; without, as JSON."""
    assert decode_value(encode_value(value)) == plain
    assert decode_value_as(encode_value(value), type_) == value


class Diary(BaseModel):
    days: list[dict[str, datetime]]
    first: tuple[datetime, int]


@dataclass
class Day:
    at: datetime


@dataclass
class Box:
    content: Any


class Crate(BaseModel):
    content: Any

    def __init__(self, content):
        super().__init__(content=content)


REPEATED = datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
SKIPPED = datetime(2025, 3, 30, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize("moment", [REPEATED, REPEATED.replace(fold=1), SKIPPED])
def test_a_moment_that_a_clock_shows_twice_or_never_is_stored(moment):
    """As the moment that it is, wherever it stands; Python says it differs from all elsewhere."""
    told = [moment.astimezone(UTC)] * 4
    diary = Diary(days=[{"a": moment}, {}], first=(moment, 1))
    back = decode_value_as(encode_value(diary), Diary)
    days = decode_value_as(encode_value([Day(moment)]), list[Day])
    alone = decode_value_as(encode_value(moment), datetime)
    found = [back.days[0]["a"], back.first[0], days[0].at, alone]
    assert [each.astimezone(UTC) for each in found] == told


@pytest.mark.parametrize("wrap", [Box, Crate, lambda inner: [Box(inner)]])
def test_nesting_is_bounded_inside_of_models_too(wrap):
    """The levels of a model, and of what it is in, count."""
    levels = MAX_DEPTH - (2 if isinstance(wrap(1), list) else 1)
    assert decode_value(encode_value(wrap(nested(levels))))
    for more in (1, 50, 100, 10_000):
        with pytest.raises(SessionDataError):
            encode_value(wrap(nested(levels + more)))


def test_what_differs_is_not_the_same():
    """However deep, and of whichever kind."""
    other = REPEATED + timedelta(seconds=1)
    for one, another in [
        (REPEATED, other), (REPEATED, REPEATED.replace(tzinfo=None)), (REPEATED, 1), (1, 2),
        ([REPEATED], [other]), ([REPEATED], [REPEATED, 1]), ({"a": other}, {"a": REPEATED}),
        ({"a": REPEATED}, {"b": REPEATED}), (Day(REPEATED), Day(other)), ((1,), [1]),
    ]:  # fmt: skip
        assert not same(one, another)
        assert not same(another, one)


def test_a_value_of_another_shape_is_told_without_quoting_it():
    """What is stored may be private, keys included: the error names the fault."""
    with pytest.raises(SessionDataError, match="int_parsing, missing") as caught:
        decode_value_as(encode_value({"names": {"secret": "hidden"}}), Shelf)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("text", [b"", b'"secre', b"cos\nsystem\n(S'secret'\ntR.", b"[" * 10_000])
def test_what_is_no_json_is_told_without_quoting_it(text):
    """Whoever put it there has not written it by a session."""
    for decode in (decode_value, lambda text: decode_value_as(text, str)):
        with pytest.raises(SessionDataError) as caught:
            decode(text)
        assert "secre" not in str(caught.value)
        assert caught.value.__cause__ is None


class Measured(BaseModel):
    value: float


class Account(BaseModel):
    password: SecretStr


class Talkative(BaseModel):
    card: str

    @field_serializer("card")
    def refuse(self, card):
        raise ValueError(f"cannot mask {card}")


class Tags(Enum):
    SOME = frozenset({"a"})


@dataclass
class Loose:
    anything: object


@pytest.mark.parametrize(
    "value",
    [
        Measured(value=float("nan")),
        [{"deep": Measured(value=float("inf"))}],
        SecretStr("hunter2"),
        Account(password="hunter2"),
        Talkative(card="hunter2"),
        Tags.SOME,
        deque([{1, 2}]),
        Loose({1: 2}),
        Loose(b"x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_pydantic_would_alter_is_refused(value):
    """Stars for a secret, null for NaN, a list for a set: never stored in silence, never told."""
    with pytest.raises(SessionDataError) as caught:
        encode_value(value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


class Text(str):
    pass


def test_kinds_of_text_and_numbers_are_stored_as_such():
    """A subclass of str, int or float is what it is a kind of."""
    assert decode_value(encode_value([Text("a"), Level.HIGH])) == ["a", 3]


class Cat(BaseModel):
    name: str = ""


class Dog(BaseModel):
    name: str = ""


def test_the_order_of_a_union_counts():
    """The first that fits is taken, also after the same union was read the other way round."""
    encoded = encode_value({"name": "x"})
    assert type(decode_value_as(encoded, Cat | Dog)) is Cat
    assert type(decode_value_as(encoded, Dog | Cat)) is Dog


class Cupboard(BaseModel):
    names: dict[str, int]


class Talkative(BaseModel):
    card: str

    @field_serializer("card")
    def refuse(self, card):
        raise ValueError(f"cannot mask {card}")


def test_no_value_is_in_a_traceback():
    """It is logged: an error that quotes the value is not shown with ours."""
    private = {"names": {"a": "hunter2"}}
    encoded = encode_value(private)
    with pytest.raises(SessionDataError) as caught:
        decode_value_as(encoded, Cupboard)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    talkative = Talkative(card="hunter2")
    with pytest.raises(SessionDataError) as caught:
        encode_value(talkative)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
