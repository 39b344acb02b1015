"""JSON: the values that it carries, and the place named in the error for one that it cannot carry."""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
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
from yadtq_core.wire.json_format import JsonSerializer

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
    LOST = math.nan


class Named(msgspec.Struct):
    x: Any


class Renamed(msgspec.Struct, rename={"x": "ex"}, tag="renamed"):
    x: Any
    y: int | msgspec.UnsetType = msgspec.UNSET


class InRow(msgspec.Struct, array_like=True):
    x: Any


@dataclasses.dataclass
class Box:
    x: Any


class Model:
    """What a pydantic model looks like from outside."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        assert mode == "json"
        if self.x == "broken":
            raise RuntimeError("no luck")
        return {"x": self.x}


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Broken(float):
    """As numpy.float64 is one."""


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
def test_plain_values_survive_the_trip(value: Any) -> None:
    assert json.loads(json.dumps(value)) == value


def test_it_fulfils_the_seam() -> None:
    assert isinstance(json, Serializer)
    assert json.content_type == "application/json"


def test_tuples_become_lists_and_enums_their_values() -> None:
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
        (1j, "complex"),
        (object(), "object"),
        (Box, "type"),
        (Model, "type"),
        (msgspec.Raw(b"}{"), "Raw"),
        (msgspec.UNSET, "UnsetType"),
        (len, "builtin_function_or_method"),
        ((x for x in [1]), "generator"),
        (range(3), "range"),
        (..., "ellipsis"),
    ],
)
def test_values_that_json_lacks_are_refused_and_never_converted(value: Any, kind: str) -> None:
    assert refusal(value).startswith(f"$ is of type {kind}, which JSON cannot represent")
    assert refusal([1, {"x": value}]).startswith(f"$[1]['x'] is of type {kind}, which JSON cannot represent")


def test_a_set_is_refused_with_a_remedy() -> None:
    assert refusal([{1}]) == "$[0] is of type set, which JSON cannot represent; use a list"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.datetime(2026, 1, 2, 3, 4, 5, 6), '"2026-01-02T03:04:05.000006"'),
        (datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC), '"2026-01-02T03:00:00Z"'),
        (
            datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
            '"2026-01-02T03:00:00+02:00"',
        ),
        (datetime.date(2026, 1, 2), '"2026-01-02"'),
        (datetime.time(3, 4), '"03:04:00"'),
        (datetime.timedelta(days=1, seconds=1.5), '"P1DT1.5S"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Decimal("1.50"), '"1.50"'),
        (Colour.RED, '"red"'),
        (Level.HIGH, "3"),
        (b"abc", '"YWJj"'),
        (bytearray(b"abc"), '"YWJj"'),
        (memoryview(b"abc"), '"YWJj"'),
        (Box([Box(None)]), '{"x":[{"x":null}]}'),
        (Named(1.5), '{"x":1.5}'),
        (Renamed(b"abc"), '{"type":"renamed","ex":"YWJj"}'),
        (InRow(InRow(1)), "[[1]]"),
        (Model(Model(None).x), '{"x":null}'),
        ([Model(1), {"m": Model([2])}], '[{"x":1},{"m":{"x":[2]}}]'),
        (Text("a"), '"a"'),
        ([Whole(3), Broken(1.5), Whole(2**70)], f"[3,1.5,{2**70}]"),
        ({1: 2, uuid.UUID(int=1): 3, Colour.RED: 4, Text("a"): 5}, '{"1":2,"00000000-0000-0000-0000-000000000001":3,'
         '"red":4,"a":5}'),
    ],
)  # fmt: skip
def test_types_with_a_rule_are_written_by_it(value: Any, text: str) -> None:
    assert json.dumps(value).decode() == text
    assert json.dumps([None, {"a": value}]).decode() == f'[null,{{"a":{text}}}]'


@pytest.mark.parametrize("made", [Box, Named, Renamed, InRow, Model, lambda x: Model(Box(x)), list])
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (math.nan, "is nan: NaN and Infinity are not JSON"),
        (Broken("-inf"), "is -inf: NaN and Infinity are not JSON"),
        (Decimal("NaN"), "is NaN: NaN and Infinity are not JSON"),
        ([10**5000], "is an integer of more than 4300 digits"),
        ("\ud800", "is text with a lone surrogate, which UTF-8 cannot encode"),
        ({1}, "is of type set, which JSON cannot represent; use a list"),
        (Colour.LOST, "is nan: NaN and Infinity are not JSON"),
    ],
)
def test_nothing_hides_in_a_field(made: Any, bad: Any, said: str) -> None:
    value = made([bad]) if made is list else made(bad)
    text = refusal({"a": [0, value]})
    assert re.fullmatch(r"\$\['a'\]\[1\](\['e?x'\]|\[0\]){1,3} " + re.escape(said), text), text


def test_the_place_is_the_one_in_the_json() -> None:
    assert refusal(Renamed([math.nan])).startswith("$['ex'][0] is nan")
    assert refusal(Model(Box({"b": math.nan}))).startswith("$['x']['x']['b'] is nan")


def test_a_long_place_is_cut() -> None:
    text = refusal({"k" * 1000: math.nan})
    assert text.startswith("$['kkk")
    assert len(text) < 200


def test_a_model_that_cannot_be_dumped_is_named() -> None:
    assert refusal([Model("broken")]) == "$[0] cannot be written: its model_dump raised RuntimeError: no luck"


def test_a_pydantic_model_becomes_json() -> None:
    pydantic = pytest.importorskip("pydantic")
    order = pydantic.create_model("Order", id=(uuid.UUID, ...), price=(Decimal, ...), weight=(float, 1.0))
    made = order(id=uuid.UUID(int=1), price=Decimal("1.50"))
    assert json.loads(json.dumps([made])) == [{"id": str(uuid.UUID(int=1)), "price": "1.50", "weight": 1.0}]
    light = order(id=uuid.UUID(int=1), price=1, weight=math.nan)
    assert refusal({"o": light}) == "$['o']['weight'] is nan: NaN and Infinity are not JSON"


def test_keys_that_json_cannot_have_are_refused() -> None:
    assert refusal([{(1, 2): 3}]).startswith("$[0] has a key of type tuple; a key is text, or a number")
    assert refusal({None: 3}).startswith("$ has a key of type NoneType; a key is text")
    assert refusal({True: Box(1)}).startswith("$ has a key of type bool; a key is text")
    assert refusal({"\ud800": 3}) == r"$ has the key '\ud800' with a lone surrogate, which UTF-8 cannot encode"


def test_a_lone_surrogate_is_refused_with_its_place() -> None:
    assert refusal(["a", "\ud800"]) == "$[1] is text with a lone surrogate, which UTF-8 cannot encode"


def test_a_value_that_holds_itself_is_refused() -> None:
    circle: list[Any] = [None]
    circle[0] = circle
    ring: dict[str, Any] = {}
    ring["x"] = [1, ring]
    assert "refers to itself" in refusal(circle)
    assert "refers to itself" in refusal(ring)
    box = Box(None)
    box.x = [box]
    assert "refers to itself" in refusal(box)


def test_a_value_nested_too_deeply_is_an_error_and_no_crash() -> None:
    assert "nested too deeply" in refusal(nested(100_000))
    assert "nested too deeply" in refusal([math.nan, nested(5_000)])


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b"[1,]", b"NaN", b"[Infinity]", b"{'a':1}", b"\xff", b'"\\ud800"', b"1 2", b"1" * 6000, b"[" * 100_000],
)
def test_bytes_that_are_not_json_are_refused(data: bytes) -> None:
    with pytest.raises(SerializationError, match="not JSON"):
        json.loads(data)
