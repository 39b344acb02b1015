"""`@task`: names, options, validation, and that a task is still its function."""

from __future__ import annotations

import asyncio
import datetime
import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import pytest

from yadtq_core.errors import InvalidArguments, InvalidTask
from yadtq_core.tasks.retry import RetryPolicy
from yadtq_core.tasks.task import AsyncTask, Task, task


@task
def resize(path: str, width: int = 800) -> str:
    """Make an image smaller."""
    return f"{path}@{width}"


@task(name="shop.mail", retries=5, retry_base=0.5, retry_most=60)
async def mail(address: str) -> str:
    return f"to {address}"


def test_a_task_is_still_the_function_it_was() -> None:
    assert resize("a.png", width=3) == "a.png@3"
    assert (resize.__name__, resize.__doc__) == ("resize", "Make an image smaller.")
    assert asyncio.run(mail("x")) == "to x"


def test_the_name_is_the_place_unless_one_is_declared() -> None:
    assert resize.place == f"{__name__}:resize"
    assert resize.name == f"{__name__}.resize"
    assert (mail.name, mail.declared_name) == ("shop.mail", "shop.mail")
    assert repr(mail) == "<task shop.mail>"


def test_options_are_kept() -> None:
    assert resize.retry == RetryPolicy()
    assert mail.retry == RetryPolicy(5, 0.5, 60.0)
    assert (type(resize), type(mail)) == (Task, AsyncTask)
    assert (resize.is_async, mail.is_async) == (False, True)


def test_arguments_are_checked_against_the_signature() -> None:
    resize.validate(("a",), {})
    resize.validate(["a"], {"width": 3})
    with pytest.raises(InvalidArguments, match=r"resize\(path: str, width: int = 800\): path: missing"):
        resize.validate((), {})
    with pytest.raises(InvalidArguments, match="too many positional"):
        resize.validate((1, 2, 3), {})
    with pytest.raises(InvalidArguments, match="unexpected keyword argument 'height'"):
        resize.validate(("a",), {"height": 3})


def test_a_check_runs_after_the_signature() -> None:
    seen: list[Any] = []

    def even(n: int) -> None:
        seen.append(n)
        if n % 2:
            raise InvalidArguments(f"n is even, got {n}")

    @task(check=even)
    def halve(n: int) -> int:
        return n // 2

    halve.validate((4,), {})
    with pytest.raises(InvalidArguments, match="n is even, got 3"):
        halve.validate((3,), {})
    with pytest.raises(InvalidArguments, match="missing"):
        halve.validate((), {})
    with pytest.raises(InvalidArguments, match="n: expected int, got str"):
        halve.validate(("x",), {})
    assert seen == [4, 3, "x"], "it is asked of what does not fit too: it may have better words"


def test_a_check_sees_the_converted_arguments() -> None:
    seen: list[Any] = []

    def look(day: datetime.date) -> None:
        seen.append(day)

    @task(check=look)
    def close(day: datetime.date) -> None: ...

    close.validate(("2026-01-02",), {})
    close.validate((), {"day": datetime.date(2026, 1, 2)})
    assert close.convert(["2026-01-02"], {}) == ([datetime.date(2026, 1, 2)], {})
    assert seen == [datetime.date(2026, 1, 2)] * 3


def test_a_version_is_the_author_s_own_text() -> None:
    assert resize.version is None
    assert task(version="2")(print_nothing).version == "2"


@pytest.mark.parametrize("version", ["", "x" * 65, "a\n", "a\x1b[2J", 2])
def test_a_version_that_cannot_be_shown_is_refused(version: Any) -> None:
    with pytest.raises(InvalidTask, match="version takes 1 to 64 printable characters"):
        task(version=version)(print_nothing)


def test_an_error_names_the_signature_at_submit_if_it_was_another() -> None:
    assert resize.signature_text == "(path: str, width: int = 800)"
    assert resize.signature_hint("(path: str)", "1") == "; it was submitted for version 1 with (path: str)"
    assert resize.signature_hint("(path: str)", "") == "; it was submitted with (path: str)"
    assert resize.signature_hint("(path: str, width: int = 800)", "1") == ""
    assert resize.signature_hint("", "1") == ""
    assert len(resize.signature_hint("x" * 10**6, "y" * 10**6)) < 400


def test_a_long_signature_is_cut_and_an_address_in_it_left_out() -> None:
    def long(name: object = object(), other: str = "x" * 500) -> None: ...

    told = task(long).signature_text
    assert told.startswith("(name: object = <object object>, other: str = 'xxx")
    assert len(told) == 200
    assert task(long).signature_hint(told, "") == ""


def print_nothing() -> None: ...


@pytest.mark.parametrize("name", ["", " a", "1a", "a b", "a\n", "x" * 129, "ä", "a/b", "a;b"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(InvalidTask, match="not a task name"):
        task(name=name)(len)


@pytest.mark.parametrize("retries", [-1, 1001, True, 1.5, "3", None])
def test_retries_are_a_whole_number_within_bounds(retries: Any) -> None:
    with pytest.raises(InvalidTask, match="retries takes a whole number from 0 to 1000"):
        task(retries=retries)


@pytest.mark.parametrize(("base", "most"), [(0, 1), (-1, 1), (2, 1), (math.nan, 1), (1, math.nan), (1, math.inf)])
def test_delays_are_above_nothing_finite_and_in_order(base: float, most: float) -> None:
    with pytest.raises(InvalidTask, match="retry_base must be above 0"):
        task(retry_base=base, retry_most=most)


class Callable_:  # noqa: N801 - only here to be no function
    def __call__(self) -> None: ...


@pytest.mark.parametrize("thing", [int, Callable_, Callable_(), functools.partial(print), operator.itemgetter(1)])
def test_only_functions_become_tasks(thing: Callable[..., Any]) -> None:
    with pytest.raises(InvalidTask, match="@task takes a function"):
        Task(thing)
    with pytest.raises(InvalidTask, match="@task takes a function"):
        Task(5)  # type: ignore[arg-type]


def test_attributes_of_the_function_do_not_replace_those_of_the_task() -> None:
    """tenacity puts `retry` on what it decorates, others `function` or `check`."""

    def fetch() -> None: ...

    fetch.retry = "tenacity's"  # type: ignore[attr-defined]
    fetch.function = fetch.check = fetch.is_async = None  # type: ignore[attr-defined]
    fetch.kept = 1  # type: ignore[attr-defined]
    made: Task[[], None] = Task(fetch, retry=RetryPolicy(2))
    assert made.retry == RetryPolicy(2)
    assert made.function is fetch
    assert made.is_async is False
    assert made.kept == 1  # type: ignore[attr-defined]
