"""JSON: what it carries, and how it says where what it cannot carry is."""

from __future__ import annotations

import dataclasses
import datetime
import math
import uuid
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq_core.errors import SerializationError
from yadtq_core.interfaces import Serializer
from yadtq_core.serializers import JsonSerializer

json = JsonSerializer()
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Point(NamedTuple):
    x: int
    y: int


class Level(IntEnum):
    HIGH = 3


class Colour(Enum):
    RED = "red"


class Named(msgspec.Struct):
    x: float


@dataclasses.dataclass
class Box:
    x: float


def refusal(value: Any) -> str:
    with pytest.raises(SerializationError) as caught:
        json.dumps(value)
    return str(caught.value)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@given(plain)
def test_plain_values_come_back_as_they_went(value: Any) -> None:
    assert json.loads(json.dumps(value)) == value


def test_it_fulfils_the_seam() -> None:
    assert isinstance(json, Serializer)
    assert json.content_type == "application/json"


def test_tuples_and_numbers_with_names_are_what_they_look_like() -> None:
    assert json.dumps(((1, 2), Point(3, 4), Level.HIGH)) == b"[[1,2],[3,4],3]"


def test_large_integers_pass_up_to_what_python_prints() -> None:
    assert json.loads(json.dumps(2**100)) == 2**100
    assert refusal({"n": [1, 10**5000]}) == "$['n'][1] is an integer of more than 4300 digits"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "$ is nan: NaN and Infinity are not JSON"),
        ([None, -math.inf], "$[1] is -inf: NaN and Infinity are not JSON"),
        ({"a": [None, {"b": 1e400}]}, "$['a'][1]['b'] is inf: NaN and Infinity are not JSON"),
        (([1], {"x": (math.nan,)}), "$[1]['x'][0] is nan: NaN and Infinity are not JSON"),
    ],
)
def test_nan_and_infinity_are_refused_with_their_place(value: Any, said: str) -> None:
    assert refusal(value) == said


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({1, 2}, "set"),
        (frozenset({math.nan}), "frozenset"),
        (b"abc", "bytes"),
        (bytearray(b"abc"), "bytearray"),
        (memoryview(b"abc"), "memoryview"),
        (datetime.datetime(2026, 1, 1), "datetime"),
        (datetime.timedelta(1), "timedelta"),
        (Decimal("1.5"), "Decimal"),
        (uuid.UUID(int=1), "UUID"),
        (Box(math.nan), "Box"),
        (Named(math.nan), "Named"),
        (Colour.RED, "Colour"),
        (1j, "complex"),
        (object(), "object"),
        (Box, "type"),
        (len, "builtin_function_or_method"),
        ((x for x in [1]), "generator"),
        (range(3), "range"),
        (..., "ellipsis"),
    ],
)
def test_what_json_has_no_word_for_is_refused_and_never_turned_into_something_else(value: Any, kind: str) -> None:
    assert refusal(value).startswith(f"$ is of type {kind}, which JSON has no word for")
    assert refusal([1, {"x": value}]).startswith(f"$[1]['x'] is of type {kind}, which JSON has no word for")


def test_a_set_is_told_what_to_be() -> None:
    assert refusal([{1}]) == "$[0] is of type set, which JSON has no word for; use a list"


def test_keys_that_json_cannot_have_are_refused() -> None:
    assert "key" in refusal({(1, 2): 3})
    assert "key" in refusal({None: 3})
    assert "surrogate" in refusal({"\ud800": 3})


def test_a_lone_surrogate_is_refused_with_its_place() -> None:
    assert refusal(["a", "\ud800"]) == "$[1] is text with a lone surrogate, which UTF-8 cannot carry"


def test_a_value_that_holds_itself_is_refused() -> None:
    circle: list[Any] = [None]
    circle[0] = circle
    ring: dict[str, Any] = {}
    ring["x"] = [1, ring]
    assert "refers to itself" in refusal(circle)
    assert "refers to itself" in refusal(ring)


def test_a_value_nested_too_deeply_is_an_error_and_no_crash() -> None:
    assert "nested too deeply" in refusal(nested(100_000))
    assert "nested too deeply" in refusal([math.nan, nested(5_000)])


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b"[1,]", b"NaN", b"[Infinity]", b"{'a':1}", b"\xff", b'"\\ud800"', b"1 2", b"1" * 6000, b"[" * 100_000],
)
def test_what_is_not_json_is_said_so(data: bytes) -> None:
    with pytest.raises(SerializationError, match="not JSON"):
        json.loads(data)
