"""add, sub and mul: their results, and the refusals, which are equal at submit and in the run."""

import json
import time
from typing import Any

import pytest

from yadtq_builtin_tasks.arithmetic import add, mul, sub
from yadtq_core import InvalidArguments


@pytest.mark.parametrize(
    ("task", "numbers", "result"),
    [
        (add, [1, 2, 3], 6),
        (sub, [10, 4], 6),
        (mul, [2, 3, 4], 24),
        (add, [], 0),
        (mul, [], 1),
        (sub, [5], 5),
        (sub, [10, 4, 3], 3),
        (add, [1, 0.5], 1.5),
        (add, [0.1, 0.1, 0.1], 0.30000000000000004),
        (add, [0.1] * 10, 1.0),
        (sub, [0.5, 0.25], 0.25),
        (mul, [0.5, 4], 2.0),
        (mul, [10**4299, 1], 10**4299),
        (mul, [10**4299, 10**4299, 0], 0),
        (add, [10**20, 1], 10**20 + 1),
    ],
)
def test_results(task: Any, numbers: list[Any], result: Any) -> None:
    task.validate(numbers, {})
    assert task(*numbers) == result
    assert type(task(*numbers)) is type(result)


@pytest.mark.parametrize(
    ("task", "arguments", "text"),
    [
        (sub, "[]", "sub needs at least one number"),
        (add, "[true, 1]", "add: element 0 is a boolean; use 1, not true"),
        (add, '["1", "2"]', 'add: element 0 is a string; use 1, not "1"'),
        (mul, '["a", 1000000000]', 'mul: element 0 is a string; "a" is not a number'),
        (mul, "[[0], 1000000000]", "mul: element 0 is an array; only numbers are taken"),
        (mul, "[2, {}]", "mul: element 1 is an object; only numbers are taken"),
        (add, "[1, null]", "add: element 1 is null; only numbers are taken"),
        (add, "[NaN]", "add: element 0 is nan: NaN and Infinity are not JSON"),
        (add, "[1e400]", "add: element 0 is inf: NaN and Infinity are not JSON"),
        (add, '["NaN"]', 'add: element 0 is a string; "NaN" is not a number'),
        (add, '["\\u001b[2J"]', r'add: element 0 is a string; "\u001b[2J" is not a number'),
        (add, "[1e308, 1e308]", "add: the result is out of the range of a float (1.8e308)"),
        (mul, "[1e308, 10.0]", "mul: the result is out of the range of a float (1.8e308)"),
    ],
)
def test_refusals(task: Any, arguments: str, text: str) -> None:
    numbers = json.loads(arguments)
    refused_alike(task, numbers, text)


@pytest.mark.parametrize(
    ("task", "numbers", "text"),
    [
        (add, [10**400, 0.5], "add: integer too large to mix with a float (1.8e308 at most)"),
        (mul, [10**400, 0.0], "mul: integer too large to mix with a float (1.8e308 at most)"),
        (mul, [10**4299, 10, 10], "mul: result would have 4302 digits, limit 4300"),
        (mul, [-(10**4299), 10], "mul: result would have 4301 digits, limit 4300"),
        (add, [10**4300 - 1, 1], "add: result would have 4301 digits, limit 4300"),
        (sub, [-(10**4300) + 1, 1], "sub: result would have 4301 digits, limit 4300"),
        (add, [1] * 10_001, "add takes at most 10000 numbers, got 10001"),
    ],
)
def test_refusals_of_size(task: Any, numbers: list[Any], text: str) -> None:
    refused_alike(task, numbers, text)


def test_a_product_that_would_hold_the_interpreter_for_minutes_is_refused_at_once() -> None:
    numbers = [10**4299 + n for n in range(2000)]
    begun = time.perf_counter()
    refused_alike(mul, numbers, "mul: result would have 8598001 digits, limit 4300")
    assert time.perf_counter() - begun < 20


def test_names_are_not_taken() -> None:
    with pytest.raises(InvalidArguments, match=r"add\(\*numbers: int \| float\).*unexpected keyword argument 'a'"):
        add.validate([], {"a": 1})


def refused_alike(task: Any, numbers: list[Any], text: str) -> None:
    """The text is the same at submit (`validate`) and when the function runs."""
    with pytest.raises(InvalidArguments) as at_submit:
        task.validate(numbers, {})
    with pytest.raises(InvalidArguments) as when_run:
        task(*numbers)
    assert str(at_submit.value) == str(when_run.value) == text
