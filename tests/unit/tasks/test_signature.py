"""Annotations: the conversion of arguments before a run, and the refusals at submit and before the run."""

from __future__ import annotations

import datetime
import enum
import sys
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict

import pytest
from msgspec import Meta, Struct

from yadtq_core.errors import InvalidArguments
from yadtq_core.tasks.task import task
from yadtq_core.wire.json_format import JsonSerializer

if typing.TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]

json = JsonSerializer()
Small = Annotated[int, Meta(ge=1, le=10)]


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Mixed(enum.Enum):
    A = "a"
    B = 3


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Order:
    id: uuid.UUID
    lines: list[Line]
    at: datetime.datetime | None = None


class Point(Struct):
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    deep: bool


class Odd(Struct):
    n: int

    def __post_init__(self) -> None:
        if self.n % 2 == 0:
            raise ValueError(f"n is odd, got {self.n}")


class ModelError(Exception):
    def errors(self) -> list[dict[str, Any]]:
        return [{"loc": ("n",), "msg": "Input should be a number"}, {"loc": (), "msg": "too short"}]


class Model:
    """What a pydantic model looks like from outside."""

    def __init__(self, n: int) -> None:
        self.n = n

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        if not isinstance(value.get("n"), int):
            raise ModelError
        return cls(value["n"])

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        return {"n": self.n, "mode": mode}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.n == self.n

    __hash__ = None  # type: ignore[assignment]


class Own:
    """A class that no conversion is known for."""


def taking(annotation: Any, default: Any = None) -> Any:
    """Return a task with one parameter of this annotation."""

    def one(it: Any) -> None: ...

    one.__annotations__["it"] = annotation
    return task(one)


def converted(annotation: Any, value: Any) -> Any:
    """Return what a worker makes of an argument that was submitted: through JSON, as it travels."""
    made = taking(annotation)
    made.validate((value,), {})
    (args, _) = made.convert(json.loads(json.dumps([value])), {})
    return args[0]


def refusal(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidArguments) as caught:
        call(args, kwargs)
    return str(caught.value)


ORDER = Order(uuid.UUID(int=1), [Line("a"), Line("b", 2)], datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))


@pytest.mark.parametrize(
    ("annotation", "value", "made"),
    [
        (int, 3, 3),
        (int, 10**400, 10**400),
        (float, 1, 1.0),
        (float, 1.5, 1.5),
        (int | float, 1, 1),
        (str | None, None, None),
        (bool, True, True),
        (bytes, b"abc", b"abc"),
        (bytes, "YWJj", b"abc"),
        (datetime.datetime, ORDER.at, ORDER.at),
        (datetime.datetime, "2026-01-02T00:00:00Z", ORDER.at),
        (datetime.date, datetime.date(2026, 1, 2), datetime.date(2026, 1, 2)),
        (datetime.time, "01:02:03", datetime.time(1, 2, 3)),
        (datetime.timedelta, datetime.timedelta(days=1, seconds=0.5), datetime.timedelta(days=1, seconds=0.5)),
        (uuid.UUID, uuid.UUID(int=7), uuid.UUID(int=7)),
        (Decimal, Decimal("1.50"), Decimal("1.50")),
        (Level, Level.HIGH, Level.HIGH),
        (Level, "low", Level.LOW),
        (Literal["a", "b"], "b", "b"),
        (Small, 10, 10),
        (Order, ORDER, ORDER),
        (Order, {"id": str(ORDER.id), "lines": [{"sku": "a"}]}, Order(ORDER.id, [Line("a")])),
        (Point, Point(1, 2), Point(1.0, 2.0)),
        (list[Point], ({"x": 1}, Point(2)), [Point(1.0), Point(2.0)]),
        (Options, {"deep": True}, {"deep": True}),
        (dict[int, list[uuid.UUID]], {1: [uuid.UUID(int=1)]}, {1: [uuid.UUID(int=1)]}),
        (dict[str, int], {1: 2}, {"1": 2}),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        (Sequence[int], (1, 2), [1, 2]),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1, 2], {1, 2}),
        (Model, Model(1), Model(1)),
        (list[Model] | None, [{"n": 2}], [Model(2)]),
    ],
    ids=repr,
)  # fmt: skip
def test_an_argument_is_converted_by_its_annotation(annotation: Any, value: Any, made: Any) -> None:
    found = converted(annotation, value)
    assert found == made
    assert type(found) is type(made)


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        (int, "1", "it: expected int, got str"),
        (int, True, "it: expected int, got bool"),
        (int, 1.0, "it: expected int, got float"),
        (str, 1, "it: expected str, got int"),
        (float, None, "it: expected float, got null"),
        (int | float, "x", "it: expected int | float, got str"),
        (Small, 11, "it: expected int <= 10"),
        (bytes, "!", "it: invalid base64 encoded string"),
        (datetime.datetime, "today", "it: invalid RFC3339 encoded datetime"),
        (Level, "none", "it: invalid value 'none'"),
        (Literal["a"], "x" * 1000, "it: invalid value '" + "x" * 79),
        (list[int], [1, [2], 3], "it[1]: expected int, got array"),
        (Order, {"id": str(ORDER.id), "lines": [{"sku": "a"}, {}]}, "it.lines[1]: object missing required field sku"),
        (Order, Order(ORDER.id, [Line("a", count="2")]), "it.lines[0].count: expected int, got str"),  # type: ignore[arg-type]
        (dict[str, int], {"a": "b"}, "it[...]: expected int, got str"),
        (dict[int, int], {"a": 1}, "it (a key): expected int, got str"),
        (Odd, {"n": 2}, "it: n is odd, got 2"),
        (Model, {"n": "x"}, "it: n: Input should be a number; too short"),
        (list[Model], [{"n": 1}, Model("x")], "it[1]: n: Input should be a number; too short"),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_an_argument_that_does_not_fit_has_one_message_at_submit_and_run(
    annotation: Any, value: Any, said: str
) -> None:
    made = taking(annotation)
    assert refusal(made.validate, value).partition("): ")[2] == said
    assert refusal(made.convert, json.loads(json.dumps(value))).partition("): ")[2] == said


def test_each_argument_that_does_not_fit_is_named_in_one_error() -> None:
    @task
    def resize(path: str, width: int = 800, *, height: int, mode: str = "fit") -> str:
        raise AssertionError

    text = "resize(path: str, width: int = 800, *, height: int, mode: str = 'fit'): "
    assert refusal(resize.convert, "a", "x") == text + "height: missing; width: expected int, got str"
    assert refusal(resize.convert, 1, mode=2) == text + (
        "height: missing; path: expected str, got int; mode: expected str, got int"
    )
    assert refusal(resize.validate, "a", path="b", height=1) == text + "path: multiple values"
    assert refusal(resize.validate, "a", 1, 2, height=1) == text + "too many positional arguments"
    assert refusal(resize.validate, "a", heigth=1) == text + (
        "height: missing; unexpected keyword argument 'heigth' (did you mean 'height'?)"
    )
    assert refusal(resize.validate, "a", height=1, **{"z" * 1000: 1}) == text + (
        f"unexpected keyword argument '{'z' * 80}'"
    )


def test_further_arguments_have_their_annotations_too() -> None:
    @task
    def many(first: str, /, *numbers: int, **points: Point) -> None: ...

    args, kwargs = many.convert(["a", 1, 2], {"p": {"x": 1}, "first": {"x": 2}})
    assert (args, kwargs) == (["a", 1, 2], {"p": Point(1.0), "first": Point(2.0)})
    text = refusal(many.convert, "a", 1, "2", p={}).partition("): ")[2]
    assert text == "numbers[1]: expected int, got str; p: object missing required field x"
    assert "first: missing" in refusal(many.convert, first="a")
    text = refusal(many.convert, "a", *"abcdefghijklmnop")
    assert text.endswith("numbers[9]: expected int, got str; and 6 more")


def test_arguments_that_fit_are_the_very_ones_that_were_given() -> None:
    @task
    def add(*numbers: int | float) -> float:
        return sum(numbers)

    args: list[Any] = [1, 2.5]
    assert add.convert(args, {})[0] is args
    assert add.convert([], {}) == ([], {})
    assert "numbers[0]: expected int | float, got bool" in refusal(add.convert, True)


def test_defaults_are_not_touched_and_may_be_given() -> None:
    @task
    def old_style(when: datetime.datetime = None, width: int = "wide") -> Any:  # type: ignore[assignment]  # noqa: RUF013
        return when, width

    args, kwargs = old_style.convert([], {})
    assert old_style(*args, **kwargs) == (None, "wide")
    assert old_style.convert([None], {}) == ([None], {})
    assert "expected datetime | null, got int" in refusal(old_style.convert, 5)


@pytest.mark.parametrize(
    "annotation",
    [
        Own,
        list[Own],
        Own | None,
        Callable[[], int],
        typing.Iterable[int],
        typing.Any,
        object,
        Mixed,
        datetime.datetime | str,
        Line | Point,
        Point | Model,
        "Unknown",
        "list[Unknown]",
        "1 +",
        "1/0",
        type[int],
        typing.TypeVar("T"),
        5,
    ],
    ids=repr,
)
def test_an_argument_without_a_known_conversion_is_unchanged(annotation: Any) -> None:
    made = taking(annotation)
    value = {"sku": [1, "x"]}
    made.validate((value,), {})
    assert made.convert([value], {})[0][0] is value
    assert "it: missing" in refusal(made.convert)


def test_one_annotation_that_cannot_be_resolved_leaves_the_others_checked() -> None:
    @task
    def both(one: Unknown, other: int) -> None: ...

    assert both.convert([{}, 1], {}) == ([{}, 1], {})
    assert refusal(both.convert, {}, "x") == "both(one: Unknown, other: int): other: expected int, got str"


def test_annotations_may_name_classes_defined_later() -> None:
    def later(it: Later) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    made = task(later)
    module = sys.modules[__name__]
    module.Later = Point  # type: ignore[attr-defined]
    try:
        assert made.convert([{"x": 1}], {})[0] == [Point(1.0)]
    finally:
        del module.Later


def test_an_argument_that_json_cannot_carry_is_refused_by_the_serializer() -> None:
    made = taking(set[int])
    made.validate(({1, 2},), {})
    taking(list[float]).validate(([float("nan"), "x"],), {})


def test_an_error_of_the_annotated_class_is_an_invalid_argument() -> None:
    class Rude(Struct):
        def __post_init__(self) -> None:
            raise RuntimeError("no")

    assert refusal(taking(Rude).convert, {}).endswith("it: RuntimeError: no")


def test_an_argument_becomes_a_pydantic_model() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Order", id=(uuid.UUID, ...), count=(int, 1))
    assert converted(model, model(id=uuid.UUID(int=1))) == model(id=uuid.UUID(int=1))
    text = refusal(taking(model).validate, {"count": "x" * 1000})
    assert "it: id: Field required; count: Input should be a valid integer" in text
    assert "xxx" not in text
