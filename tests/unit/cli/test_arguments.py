"""ARGS on the command line: accepted forms, and the message for each refused one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from yadtq_core.cli.arguments import parse, parse_arguments
from yadtq_core.errors import InvalidArguments
from yadtq_core.model import MAX_ARGUMENT_BYTES
from yadtq_core.tasks.task import task


@task
def plus(*numbers: int) -> int:
    return sum(numbers)


@task
def resize(path: str, width: int = 800) -> str:
    return f"{path}@{width}"


@task
def tick() -> None: ...


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, 2.5, -0.0, 1e3]", [1, 2.5, -0.0, 1000.0]),
        ('["a\\u0000b", "\\ud83d\\ude00", "ü"]', ["a\0b", "😀", "ü"]),
        (f"[{10**999}]", [10**999]),
        ('[" ] [ \\" { "]', [' ] [ " { ']),
        ("[" * 32 + "]" * 32, json.loads("[" * 32 + "]" * 32)),
        (" [1]\n", [1]),
    ],
)
def test_json_arguments_are_taken(text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("[1,2,3", "arguments are not JSON: expected ',' or ']' at column 7"),
        ('[{"a": 1', "arguments are not JSON: expected ',' or '}' at column 9"),
        ('[{"a": "]"}', "arguments are not JSON: expected ',' or ']' at column 12"),
        ('{"a" 1}', "arguments are not JSON: expected ':' at column 6"),
        ("[1,\n2", "arguments are not JSON: expected ',' or ']' at line 2 column 2"),
        ('["a', "arguments are not JSON: a string that does not end begins at column 2"),
        ("[1,2,3] trailing", "unexpected text after the array at column 9"),
        ('{"a": 1} {}', "unexpected text after the object at column 10"),
        ("[NaN]", "NaN and Infinity are not JSON: NaN"),
        ("[-Infinity]", "NaN and Infinity are not JSON: -Infinity"),
        ("[1e400]", "number out of range: 1e400; at most 1.8e308"),
        (f"[{'7' * 5000}]", "integer too long: 5000 digits, limit 1000"),
        (f"[-{'7' * 1001}]", "integer too long: 1001 digits, limit 1000"),
        ("[" * 100_000, "arguments are nested deeper than 32"),
        ("[" * 33 + "]" * 33, "arguments are nested deeper than 32"),
        ('{"a": 1, "a": 2}', "the name 'a' is twice in an object"),
        ('["\\ud800"]', "a string has a lone surrogate: \\ud800 to \\udfff without its other half"),
        ('["\udce9"]', "arguments are not UTF-8 at byte 2"),
        ("\ufeff[1]", "arguments are not plain UTF-8 at byte 0: a byte order mark; leave it out"),
    ],
)
def test_other_arguments_are_refused_with_the_place(text: str, answer: str) -> None:
    with pytest.raises(InvalidArguments) as error:
        parse(text)
    assert str(error.value) == answer


@pytest.mark.parametrize("text", ["['a']", "[a]", "{a: 1}", "{'a': 1}"])
def test_quotes_that_a_shell_has_eaten_are_explained(text: str) -> None:
    with pytest.raises(InvalidArguments, match="at column 2; JSON strings use double quotes; wrap the whole in single"):
        parse(text)


def test_too_large_arguments_are_refused() -> None:
    with pytest.raises(InvalidArguments, match="arguments are larger than 256 KiB; put large data where the worker"):
        parse("[" + "1," * (MAX_ARGUMENT_BYTES // 2) + "1]")


@pytest.mark.parametrize(
    ("known", "text", "args", "kwargs"),
    [
        (plus, "[1, 2]", [1, 2], {}),
        (plus, "[]", [], {}),
        (resize, '{"path": "a.png"}', [], {"path": "a.png"}),
        (tick, None, [], {}),
        (None, '{"path": "a.png"}', [], {"path": "a.png"}),
    ],
)
def test_an_array_is_positional_and_an_object_is_named(
    known: Any, text: str | None, args: list[Any], kwargs: dict[str, Any]
) -> None:
    assert parse_arguments("t", text, known) == (args, kwargs)


@pytest.mark.parametrize(
    ("known", "text", "answer"),
    [
        (plus, None, "t needs a JSON array, got nothing; for example: yadtq submit t '[1, 2]'"),
        (plus, " ", "t needs a JSON array, got nothing; for example: yadtq submit t '[1, 2]'"),
        (resize, None, "t needs a JSON array, got nothing; for example: yadtq submit t '[1, 2]'"),
        (None, None, "t needs a JSON array, got nothing; for example: yadtq submit t '[1, 2]'"),
        (plus, "5", "t: expected a JSON array, got a number"),
        (plus, '{"a": 1}', "t: expected a JSON array, got an object"),
        (plus, "null", "t: expected a JSON array, got null"),
        (resize, '"x"', "t: expected a JSON array or an object of named arguments, got a string"),
        (None, "true", "t: expected a JSON array or an object of named arguments, got a boolean"),
    ],
)
def test_other_shapes_are_refused(known: Any, text: str | None, answer: str) -> None:
    with pytest.raises(InvalidArguments) as error:
        parse_arguments("t", text, known)
    assert str(error.value) == answer
