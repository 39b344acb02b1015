"""Refuses a `@task` that no worker would find: in the body of a class, or in the place of an earlier one."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

from yadtq_core.errors import InvalidTask


def check_definition(function: Callable[..., Any], task: type[Any]) -> CodeType | None:
    """Return the code of the module that is being executed and defines this function as a task, None outside of one.

    task: the class of tasks. Raises InvalidTask in the body of a class, and if this execution of the module has defined
    another task of the same Python name. A reload of the module, or another cell of a notebook, is another execution
    with other code.
    """
    plain = getattr(function, "__func__", function)  # of a staticmethod or classmethod
    qualname = getattr(plain, "__qualname__", "")
    frame = _statement(sys._getframe(1))
    if frame is None:
        return None
    if frame.f_locals is not frame.f_globals:
        if frame.f_locals.get("__qualname__") == qualname.rpartition(".")[0]:
            raise InvalidTask(
                f"task '{plain.__module__}:{qualname}' is in the body of a class, where no worker can find it: define "
                f"it at the top of a module, and let it call {qualname.split('<locals>.')[-1]}"
            )
        return None
    if qualname.isidentifier():
        _check_first(plain, frame, task)
    return frame.f_code


def _statement(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the innermost module or class body that is being executed."""
    while frame is not None and frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # a function
        frame = frame.f_back
    return frame


def _check_first(function: Callable[..., Any], module: FrameType, task: type[Any]) -> None:
    earlier: Any = module.f_globals.get(function.__name__)
    if not isinstance(earlier, task) or earlier.defined_by is not module.f_code:
        return
    if any(one in (earlier, earlier.function) for one in _wrapped(function)):
        return
    raise InvalidTask(
        f"two tasks are defined as {function.__module__}:{function.__qualname__}, in {_line(earlier)} and in "
        f"{_line(function)}; the first would never run: rename one"
    )


def _line(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"line {code.co_firstlineno}" if code else "another line"


def _wrapped(function: Any) -> Iterator[Any]:
    """Yield a function and those that it wraps: a task that is made of another one replaces it on purpose."""
    while function is not None:
        yield function
        function = getattr(function, "__wrapped__", None)
