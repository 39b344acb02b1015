"""`@task`: names, options, validation, and that a task is still its function."""

from __future__ import annotations

import asyncio
import datetime
import functools
import importlib.util
import math
import operator
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
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


def defined(tmp_path: Path, code: str) -> ModuleType:
    """Return the module of this code, imported under the name `defined`."""
    (tmp_path / "defined.py").write_text("from yadtq_core import task\n" + textwrap.dedent(code))
    spec = importlib.util.spec_from_file_location("defined", tmp_path / "defined.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["defined"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["defined"]
    return module


IN_A_CLASS = "is in the body of a class, where no worker can find it: define it at the top of a module, and let it call"


@pytest.mark.parametrize(
    "body",
    [
        "    @task\n    def resize(self, path): ...",
        "    @task(name='shop.resize')\n    def resize(self, path): ...",
        "    @task\n    async def resize(self, path): ...",
        "    @staticmethod\n    @task\n    def resize(path): ...",
        "    @task\n    @staticmethod\n    def resize(path): ...",
        "    @task\n    @classmethod\n    def resize(cls, path): ...",
        "    @classmethod\n    @task\n    def resize(cls, path): ...",
        "    def mine(function): return task(retries=1)(function)\n    @mine\n    def resize(path): ...",
    ],
)
def test_a_task_in_the_body_of_a_class_is_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(InvalidTask, match=rf"task 'defined:Shop.resize' {IN_A_CLASS} Shop.resize"):
        defined(tmp_path, f"class Shop:\n{body}\n")
    with pytest.raises(InvalidTask, match=rf"task 'defined:make.<locals>.Shop.resize' {IN_A_CLASS}"):
        defined(tmp_path, f"def make():\n  class Shop:\n{textwrap.indent(body, '  ')}\nmake()\n")


def test_a_class_may_hold_a_task_and_a_task_may_be_made_of_its_function(tmp_path: Path) -> None:
    module = defined(
        tmp_path,
        """
        class Shop:
            @staticmethod
            def scale(path): return f"{path} made small"

        @task
        def resize(path): return Shop.scale(path)

        scale = task(name="defined.scale")(Shop.scale)

        class Jobs:
            job = resize
        """,
    )
    assert module.Jobs.job is module.resize
    assert module.resize("a.png") == module.scale("a.png") == "a.png made small"


def test_a_task_defined_over_another_one_is_refused(tmp_path: Path) -> None:
    text = "two tasks are defined as defined:resize, in line 2 and in line 5; the first would never run: rename one"
    with pytest.raises(InvalidTask, match=text):
        defined(tmp_path, "@task\ndef resize(path): ...\n\n@task\ndef resize(path, width): ...\n")
    with pytest.raises(InvalidTask, match=text):
        defined(tmp_path, "@task(name='a')\ndef resize(): ...\n\n@task(name='b')\nasync def resize(): ...\n")


def test_a_task_may_be_defined_anew_by_what_is_no_second_definition(tmp_path: Path) -> None:
    """A reload, a cell of a notebook that is run again, other options for the same function, an import replaced."""
    module = defined(tmp_path, "@task\ndef resize(): return 1\nresize = task(name='x', retries=3)(resize)\n")
    assert (module.resize.name, module.resize()) == ("x", 1)

    (tmp_path / "defined.py").write_text(
        "from yadtq_core import task\n# one more line\n@task\ndef resize(): return 2\n"
    )
    sys.modules["defined"] = module
    try:
        sys.path.insert(0, str(tmp_path))
        importlib.reload(module)
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["defined"]
    assert module.resize() == 2

    for _ in range(2):
        exec("@task\ndef resize(): return 3\n", vars(module))
    assert module.resize() == 3

    other = defined(
        tmp_path,
        """
        from tests.unit.tasks.test_task import resize
        @task
        def resize(): return 4

        def factory(n):
            @task(name=f"defined.{n}")
            def made(): return n
            return made
        one = factory(1)
        made = factory(2)
        made = factory(3)
        if made() == 3:
            @task
            def chosen(): ...
        else:
            @task
            def chosen(): ...
        """,
    )
    assert (other.resize(), other.one(), other.made.name) == (4, 1, "defined.3")
