"""Tasks that return, raise and leave behind what no task should."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from typing import Any

from yadtq_core import task


class Unprintable(Exception):
    """An error whose `__str__` raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@task
def echo(value: Any) -> Any:
    return value


@task
def long(size: int) -> str:
    return "x" * size


@task
def digits(count: int) -> int:
    return int("9" * 4000) ** 3 if count > 4300 else 0


@task
def a_set() -> set[int]:
    return {1}


@task
def not_a_number() -> float:
    return math.nan


@task
def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@task
def generator() -> Any:
    return (n for n in range(3))


@task
def unprintable() -> None:
    raise Unprintable


@task
def long_error() -> None:
    raise ValueError("x" * 10_000_000)


@task
def odd_error() -> None:
    raise ValueError("\ud800\x1b[2J\x00")


@task
def leave() -> None:
    os._exit(0)


@task
def exit_quietly() -> None:
    raise SystemExit(0)


@task
def spoil() -> int:
    """Change what all tasks of a process share, and say which process it was."""
    os.environ["SPOILT"] = "yes"
    os.chdir("/")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
    return os.getpid()


@task
def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
