"""The supervisor's watchdog, and children that cannot be started."""

from __future__ import annotations

import faulthandler
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from yadtq_core.child.pipe import Start
from yadtq_core.settings import Settings
from yadtq_core.worker import supervisor
from yadtq_core.worker.child_process import ChildProcess
from yadtq_core.worker.supervisor import EXIT_HANGS, WATCHDOG_SECONDS, Watchdog


class Clock:
    """The time, and a worker one of whose threads came round last at `seen`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.seen = 1000.0

    def monotonic(self) -> float:
        return self.now

    def silent_for(self) -> tuple[str, float]:
        return "intake", self.now - self.seen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(supervisor, "time", made)
    monkeypatch.setattr(faulthandler, "dump_traceback", lambda _: None)

    def left(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", left)
    return made


def test_a_thread_that_hangs_ends_the_worker(clock: Clock) -> None:
    watchdog = Watchdog(clock)  # type: ignore[arg-type]  # all that it asks of a worker
    for _ in range(int(WATCHDOG_SECONDS) - 1):
        clock.now += 1
        watchdog.look()
    clock.now += 1
    with pytest.raises(SystemExit) as end:
        watchdog.look()
    assert end.value.code == EXIT_HANGS


def test_a_worker_that_was_stopped_for_long_goes_on(clock: Clock) -> None:
    watchdog = Watchdog(clock)  # type: ignore[arg-type]  # all that it asks of a worker
    clock.now += 10 * WATCHDOG_SECONDS  # SIGSTOP, or a laptop asleep: the main thread wakes first
    watchdog.look()
    clock.now += 1
    clock.seen = clock.now
    watchdog.look()


def test_a_child_that_cannot_be_started_costs_no_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_to_be_had(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", none_to_be_had)
    before = _descriptors()
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            ChildProcess(1, Start("w", 1, [], Settings()))
    assert _descriptors() == before


def _descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0  # noqa: PTH208  (names alone)
