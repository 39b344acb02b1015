"""Values as MessagePack and back, and the places of those that are refused."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import enum
import math
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq_core import SerializationError
from yadtq_msgpack.plain import plain
from yadtq_msgpack.serializer import MsgpackSerializer

MSGPACK = MsgpackSerializer()
NOON = dt.datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=dt.UTC)
SOME_UUID = UUID("0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11")


class Colour(enum.Enum):
    """Has values of several kinds."""

    RED = "red"
    RAW = b"\x01"


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: bytes


class Text(str):
    """A subclass of str."""


class Number(int):
    """A subclass of int."""


class Fraction(float):
    """A subclass of float."""


@dataclasses.dataclass
class Part:
    """Holds bytes."""

    name: str
    data: bytes


class Whole(msgspec.Struct, rename="camel", tag="whole"):
    """A struct with renamed fields and a tag."""

    first_part: Part
    left_out: int | msgspec.UnsetType = msgspec.UNSET


class Row(msgspec.Struct, array_like=True, tag=True):
    """A struct that is an array."""

    number: int
    big: int


@dataclasses.dataclass
class Lazy:
    """A struct with an unset field."""

    size: int = dataclasses.field(init=False)


class Attrs:
    """A class like those that attrs makes."""

    __attrs_attrs__: ClassVar[list[Any]] = [collections.namedtuple("Attribute", "name")("size")]

    def __init__(self) -> None:
        self.size = 2**70


class Model:
    """A class like a pydantic model."""

    def __init__(self, dumped: Any) -> None:
        self._dumped = dumped

    def model_dump(self, *, mode: str) -> Any:
        """Return the given value, or raise it."""
        assert mode == "json"
        if isinstance(self._dumped, Exception):
            raise self._dumped
        return self._dumped


def test_what_it_is_called() -> None:
    assert (MSGPACK.name, MSGPACK.content_type) == ("msgpack", "application/msgpack")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "grün",
        b"\x00\xff",
        0.1,
        -(2**63),
        2**64 - 1,
        2**64,
        -(2**63) - 1,
        pytest.param(2**20_000, id="6,000 digits"),
        pytest.param(-(2**20_000), id="minus 6,000 digits"),
        [1, [2, {"a": b"b"}]],
        {1: "one", -2: "two", b"k": "bytes", 1.5: "float", "t": "text"},
        {"at": NOON},
        math.inf,
    ],
)
def test_it_comes_back_as_it_was(value: Any) -> None:
    back = MSGPACK.loads(MSGPACK.dumps(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ((1, (2,)), [1, [2]]),
        (Point(1, b"2"), [1, b"2"]),
        (bytearray(b"ab"), b"ab"),
        ([memoryview(b"abcd")[::2]], [b"ac"]),
        (Decimal("1.50"), "1.50"),
        (Decimal("NaN"), "NaN"),
        (SOME_UUID, str(SOME_UUID)),
        (dt.date(2026, 11, 24), "2026-11-24"),
        (dt.time(12, 30), "12:30:00"),
        (dt.timedelta(days=1, seconds=1.5), "P1DT1.5S"),
        (Colour.RED, "red"),
        ([Colour.RAW], [b"\x01"]),
        (Text("t"), "t"),
        ([Number(7), Number(2**70), Fraction(0.5)], [7, 2**70, 0.5]),
        (Part("p", b"\x00"), {"name": "p", "data": b"\x00"}),
        (Whole(Part("p", b"")), {"type": "whole", "firstPart": {"name": "p", "data": b""}}),
        (Row(1, 2**64), ["Row", 1, 2**64]),
        (Attrs(), {"size": 2**70}),
        ([Model({"a": [1, "x"]})], [{"a": [1, "x"]}]),
        ({SOME_UUID: 1, dt.date(2026, 1, 1): 2, Colour.RED: 3}, {str(SOME_UUID): 1, "2026-01-01": 2, "red": 3}),
        ({NOON: 1}, {"2026-11-24T12:00:00.123456Z": 1}),
        (collections.OrderedDict(a=(1,)), {"a": [1]}),
    ],
)
def test_what_has_no_type_of_its_own_follows_the_rules(value: Any, back: Any) -> None:
    assert MSGPACK.loads(MSGPACK.dumps(value)) == back


def test_nan_is_carried() -> None:
    assert math.isnan(MSGPACK.loads(MSGPACK.dumps({"v": math.nan}))["v"])


def test_a_datetime_keeps_its_instant_and_loses_its_offset() -> None:
    there = NOON.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=30)))
    back = MSGPACK.loads(MSGPACK.dumps([there]))[0]
    assert back == there
    assert back.utcoffset() == dt.timedelta(0)


def test_a_datetime_without_an_offset_is_text_as_it_names_no_instant() -> None:
    assert MSGPACK.loads(MSGPACK.dumps([NOON.replace(tzinfo=None)])) == ["2026-11-24T12:00:00.123456"]


def test_others_can_read_it() -> None:
    """The bytes of the MessagePack specification, and of the extension type in the README."""
    assert MSGPACK.dumps({"a": b"b"}) == b"\x81\xa1a\xc4\x01b"
    assert MSGPACK.dumps(dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC)) == b"\xd6\xff\x00\x00\x00\x01"
    assert MSGPACK.dumps(2**64) == b"\xc7\x09\x01\x01" + bytes(8)
    assert MSGPACK.dumps(-(2**64)) == b"\xc7\x09\x01\xff" + bytes(8)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [0, {1}]}, "$['a'][1] is of type set, which yadtq-msgpack does not write; use a list"),
        (frozenset(), "$ is of type frozenset, which yadtq-msgpack does not write; use a list"),
        ([object()], "$[0] is of type object, which yadtq-msgpack does not write"),
        (Part, "$ is of type type, which yadtq-msgpack does not write"),
        (Part("p", {1}), "$['data'] is of type set"),  # type: ignore[arg-type]
        (Whole(Part("p", 1j)), "$['firstPart']['data'] is of type complex"),  # type: ignore[arg-type]
        (["a\ud800"], "$[0] is text with a lone surrogate"),
        ({"\ud800": 1}, "$ has the key '\\ud800' with a lone surrogate"),
        ({"a": {(1, 2): 3}}, "$['a'] has a key of type tuple; keys are text, bytes, numbers"),
        ({None: 1}, "$ has a key of type NoneType"),
        ({True: 1}, "$ has a key of type bool"),
        ({2**64: 1}, "$ has a key that is an integer beyond 64 bits; use its text"),
        ({SOME_UUID: 1, str(SOME_UUID): 2}, f"$ has two keys that are written as '{SOME_UUID}'"),
        (dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))), "in UTC is outside of the years 1 to 9999"),
        (dt.datetime(9999, 12, 31, 23, tzinfo=dt.timezone(dt.timedelta(hours=-5))), "is outside of the years"),
        ([Model(ValueError("no"))], "$[0] cannot be written: its model_dump raised ValueError: no"),
        ([Model({"a": {1}})], "$[0]['a'] is of type set"),
        ([Lazy()], "$ cannot be read: AttributeError: "),
        pytest.param({2**20_000: {1}}, "$ has a key that is an integer beyond 64 bits", id="6,000 digits"),
        ([Model("text")], "$[0] cannot be written: its model_dump gave str, not plain values"),
    ],
)
def test_what_it_cannot_carry_is_refused_with_its_place(value: Any, said: str) -> None:
    with pytest.raises(SerializationError) as caught:
        MSGPACK.dumps(value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("holder", [list, dict])
def test_a_value_that_refers_to_itself_is_refused(holder: type) -> None:
    value: Any = holder()
    if isinstance(value, list):
        value.append(value)
    else:
        value["self"] = value
    with pytest.raises(SerializationError, match="nested too deeply, or refers to itself"):
        MSGPACK.dumps(value)


def test_a_place_is_cut_to_what_a_line_can_show() -> None:
    with pytest.raises(SerializationError) as caught:
        MSGPACK.dumps({"k" * 1000: {1}})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not MessagePack: Input data was truncated"),
        (b"\xc1", "not MessagePack: MessagePack data is malformed"),
        (b"\xa1\xff", "not MessagePack: "),
        (b"\x01\x01", "not MessagePack: "),
        (b"\xd4\x07\x00", "not MessagePack: extension 7 is not known here; a newer yadtq-msgpack may know it"),
        (b"\x91" * 100_000, "not MessagePack: "),
    ],
)
def test_what_is_no_messagepack_is_said(data: bytes, said: str) -> None:
    with pytest.raises(SerializationError) as caught:
        MSGPACK.loads(data)
    assert str(caught.value).startswith(said)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=st.just(dt.UTC)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-(2**63), 2**63), inner),
    max_leaves=20,
)


@given(PLAIN | st.dates() | st.times() | st.timedeltas() | st.uuids() | st.decimals() | st.datetimes())
def test_the_way_for_plain_values_writes_what_the_way_for_all_writes(value: Any) -> None:
    assert MSGPACK.dumps([value]) == msgspec.msgpack.encode(plain([value]))


@given(PLAIN)
def test_every_plain_value_comes_back(value: Any) -> None:
    assert MSGPACK.loads(MSGPACK.dumps(value)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_loaded_or_refused(data: bytes) -> None:
    with contextlib.suppress(SerializationError):
        MSGPACK.loads(data)
