"""sleep and slow_task: tasks that wait, and stop when they are cancelled."""

import time
from contextlib import suppress
from typing import Any

from yadtq_builtin_tasks.numbers import not_a_number
from yadtq_core import Cancelled, InvalidArguments, YadtqError, current, task

MAX_SECONDS = 86_400
STEP = 0.2
"""Seconds between two checks for a cancel."""


def _check_seconds(name: str, seconds: Any) -> None:
    if not_a_number(seconds):
        raise InvalidArguments(f"{name} takes exactly one number, but it {not_a_number(seconds)}")
    if not 0 <= seconds <= MAX_SECONDS:
        raise InvalidArguments(f"{name} seconds must be 0..{MAX_SECONDS}, got {_shown(seconds)}")


def _shown(number: int | float) -> str:
    """Return a number as text; only the size of an integer that is too long to print."""
    if isinstance(number, int) and abs(number) >= 10**30:
        return f"an integer of {number.bit_length()} bits"
    return repr(number)


def _check_sleep(*seconds: Any, **named: Any) -> None:
    _check_one("sleep", (*seconds, *named.values()))


def _check_slow_task(*seconds: Any, **named: Any) -> None:
    _check_one("slow_task", (*seconds, *named.values()))


def _check_one(name: str, seconds: tuple[Any, ...]) -> None:
    if len(seconds) != 1:
        raise InvalidArguments(f"{name} takes exactly one number, got {len(seconds)}")
    _check_seconds(name, seconds[0])


def _stop_if_cancelled() -> None:
    with suppress(YadtqError):  # a direct call outside of a worker, which cannot be cancelled
        if current().cancelled():
            raise Cancelled("cancelled while it waited")


def _report(done: float, seconds: float) -> None:
    with suppress(YadtqError):
        current().progress(min(1.0, done / seconds), f"{done:.1f} of {seconds:g} s")


@task(check=_check_sleep)
def sleep(seconds: int | float) -> int | float:
    """Wait for a number of seconds, 0 to 86400; return the number.

    Stops within 0.2 s when cancelled. Raises InvalidArguments for other values.
    """
    _check_sleep(seconds)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        _stop_if_cancelled()
        time.sleep(min(STEP, left))
    return seconds


@task(check=_check_slow_task)
def slow_task(seconds: int | float) -> int | float:
    """Wait for a number of seconds, 0 to 86400, and report progress every 0.2 s; return the number.

    A substitute for long work, for tests and demonstrations. Stops within 0.2 s when cancelled. Raises
    InvalidArguments for other values.
    """
    _check_slow_task(seconds)
    begun = time.monotonic()
    while (left := begun + seconds - time.monotonic()) > 0:
        _stop_if_cancelled()
        time.sleep(min(STEP, left))
        _report(min(seconds, time.monotonic() - begun), seconds)
    return seconds
