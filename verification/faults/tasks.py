"""The tasks of the fault runs: each writes that it has begun into the history."""

from __future__ import annotations

import math
import os
import signal
import time

from verification.faults import history, ledger
from yadtq_core import Cancelled, Retry, current, task

STEP_SECONDS = 0.02

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
    """Fail `times` times, then succeed."""
    begin()
    run = current()
    if ledger.failures(run.id) < failures:
        ledger.fail_once(run.id, run.fence)
        raise Retry("not yet", delay=0.3)
    return [failures, number]


@task(name="faults.doomed", retries=1)
def doomed(number: int) -> None:
    """Fail in every run."""
    begin()
    raise ValueError(f"{number} never works")


@task(name="faults.hopeless")
def hopeless(number: int) -> None:
    """Fail, and have no other run."""
    begin()
    raise ValueError(f"{number} does not work")


@task(name="faults.killer")
def killer(number: int) -> None:
    """Kill the process that runs this, in every run."""
    begin()
    os.kill(os.getpid(), signal.SIGKILL)


@task(name="faults.unwanted")
def unwanted(seconds: float, number: int) -> int:
    """Sleep a while in small steps and return the number; stop as soon as it is cancelled."""
    begin()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if current().cancelled():
            raise Cancelled
        time.sleep(STEP_SECONDS)
    return number


@task(name="faults.effect")
def effect(seconds: float, number: int) -> int:
    """Sleep a while, write to the ledger under this run's fence, then return the square."""
    begin()
    time.sleep(seconds)
    run, b = current(), history.now()
    taken = ledger.put(run.id, run.fence)
    _writer.write(history.Effect(_writer.who, b, history.now(), run.id, run.fence, taken))
    return number**2
