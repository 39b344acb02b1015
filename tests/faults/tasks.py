"""The tasks of the fault runs: each writes that it has begun into the history."""

from __future__ import annotations

import math
import os
import sqlite3
import time

from tests.faults import history
from yadtq_core import Retry, current, task

LEDGER = "FAULTS_LEDGER"
"""The variable that names the ledger's file."""

_writer = history.writer_of_environment()


def begin() -> None:
    """Write that this run has begun."""
    run, at = current(), history.now()
    _writer.write(history.Started(_writer.who, at, at, run.id, run.attempt, run.fence, run.worker_id))


@task(name="faults.add")
def add(*numbers: int) -> int:
    """Return the sum."""
    begin()
    return sum(numbers)


@task(name="faults.square")
def square(seconds: float, number: int) -> int:
    """Sleep a while, then return the square."""
    begin()
    time.sleep(seconds)
    return number**2


@task(name="faults.hog")
def hog(seconds: float, number: int) -> int:
    """Hold the interpreter for about this long, in calls that never let it go."""
    begin()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        math.prod(range(1, 40_000))
    return number


@task(name="faults.flaky", retries=5)
def flaky(failures: int, number: int) -> list[int]:
    """Fail so many times, then succeed."""
    begin()
    run = current()
    if len(_failures(run.id)) < failures:
        _fail_once(run.id, run.fence)
        raise Retry("not yet", delay=0.3)
    return [failures, number]


@task(name="faults.effect")
def effect(seconds: float, number: int) -> int:
    """Sleep a while, write to the ledger under this run's fence, then return the square."""
    begin()
    time.sleep(seconds)
    run, b = current(), history.now()
    taken = _put(run.id, run.fence)
    _writer.write(history.Effect(_writer.who, b, history.now(), run.id, run.fence, taken))
    return number**2


def _ledger() -> sqlite3.Connection:
    connection = sqlite3.connect(os.environ[LEDGER], timeout=30, isolation_level=None)
    connection.execute("CREATE TABLE IF NOT EXISTS effects (id TEXT PRIMARY KEY, fence INTEGER)")
    connection.execute("CREATE TABLE IF NOT EXISTS failures (id TEXT, fence INTEGER)")
    return connection


def _put(task_id: str, fence: int) -> bool:
    """Write to the ledger; False where it has the effect of a newer run."""
    connection = _ledger()
    try:
        changed = connection.execute(
            "INSERT INTO effects VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET fence = excluded.fence "
            "WHERE excluded.fence > effects.fence",
            (task_id, fence),
        )
        return changed.rowcount == 1
    finally:
        connection.close()


def _failures(task_id: str) -> list[int]:
    connection = _ledger()
    try:
        return [fence for (fence,) in connection.execute("SELECT fence FROM failures WHERE id = ?", (task_id,))]
    finally:
        connection.close()


def _fail_once(task_id: str, fence: int) -> None:
    connection = _ledger()
    try:
        connection.execute("INSERT INTO failures VALUES (?, ?)", (task_id, fence))
    finally:
        connection.close()
