"""sleep and slow_task: their range, their progress, and a cancel."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from yadtq_builtin_tasks.waiting import sleep, slow_task
from yadtq_core import Cancelled, InvalidArguments
from yadtq_core.interfaces import Message
from yadtq_core.tasks import run as runs


@contextmanager
def a_run(cancelled: bool = False) -> Iterator[list[tuple[float, str]]]:
    """Enter a run as a worker's runner does; yields the reported progress."""
    reports: list[tuple[float, str]] = []
    run = runs.Run(
        Message(id="0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11", task="slow_task"),
        attempt=1,
        fence=1,
        worker_id="w",
        report=lambda fraction, text: reports.append((fraction, text)),
        cancelled=lambda: cancelled,
    )
    token = runs.enter(run)
    try:
        yield reports
    finally:
        runs.leave(token)


@pytest.mark.parametrize("task", [sleep, slow_task])
@pytest.mark.parametrize("seconds", [0, 0.001])
def test_they_wait_and_return_their_seconds_outside_of_a_worker_too(task: Any, seconds: float) -> None:
    task.validate([seconds], {})
    begun = time.monotonic()
    assert task(seconds) == seconds
    assert time.monotonic() - begun >= 0.9 * seconds


@pytest.mark.parametrize("task", [sleep, slow_task])
def test_a_day_is_accepted(task: Any) -> None:
    task.validate([86400], {})


@pytest.mark.parametrize("name", ["sleep", "slow_task"])
@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "{} seconds must be 0..86400, got -1"),
        (86400.5, "{} seconds must be 0..86400, got 86400.5"),
        (1e30, "{} seconds must be 0..86400, got 1e+30"),
        pytest.param(10**5000, "{} seconds must be 0..86400, got an integer of 16610 bits", id="huge"),
        ("5", '{} takes exactly one number, but it is a string; use 5, not "5"'),
        (None, "{} takes exactly one number, but it is null; only numbers are taken"),
        (True, "{} takes exactly one number, but it is a boolean; use 1, not true"),
        (float("nan"), "{} takes exactly one number, but it is nan: NaN and Infinity are not JSON"),
    ],
)
def test_refusals_are_the_same_at_submit_and_when_run(name: str, seconds: Any, text: str) -> None:
    task: Any = {"sleep": sleep, "slow_task": slow_task}[name]
    attempts: list[Callable[[], object]] = [lambda: task.validate([seconds], {}), lambda: task(seconds)]
    for refused in attempts:
        with pytest.raises(InvalidArguments) as error:
            refused()
        assert str(error.value) == text.format(name)


@pytest.mark.parametrize("arguments", [[], [1, 2]])
def test_exactly_one_number(arguments: list[int]) -> None:
    with pytest.raises(InvalidArguments, match=f"sleep takes exactly one number, got {len(arguments)}"):
        sleep.validate(arguments, {})


@pytest.mark.parametrize("task", [sleep, slow_task])
def test_they_stop_when_cancelled(task: Any) -> None:
    begun = time.monotonic()
    with a_run(cancelled=True), pytest.raises(Cancelled):
        task(60)
    assert time.monotonic() - begun < 20


@pytest.mark.slow
def test_slow_task_reports_its_progress() -> None:
    with a_run() as reports:
        slow_task(1)
    assert 2 <= len(reports) <= 6, "after each step of 0.2 s, fewer where the machine was busy"
    assert reports == sorted(reports)
    assert reports[-1] == (1.0, "1.0 of 1 s")
