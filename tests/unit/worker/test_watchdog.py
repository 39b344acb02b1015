"""The watchdog: a stuck thread ends the worker."""

from __future__ import annotations

import faulthandler
import os

import pytest

from yadtq_core.worker import watchdog
from yadtq_core.worker.watchdog import EXIT_HANGS, WATCHDOG_SECONDS, Watchdog


class Clock:
    """The time, and when the loop of the intake thread began its last pass."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looped_at = 1000.0

    def monotonic(self) -> float:
        return self.now

    def slowest(self) -> tuple[str, float]:
        return "intake", self.now - self.looped_at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(watchdog, "time", made)
    monkeypatch.setattr(faulthandler, "dump_traceback", lambda _: None)

    def left(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", left)
    return made


def test_a_stuck_thread_ends_the_worker(clock: Clock) -> None:
    dog = Watchdog(clock.slowest)
    for _ in range(int(WATCHDOG_SECONDS) - 1):
        clock.now += 1
        dog.look()
    clock.now += 1
    with pytest.raises(SystemExit) as end:
        dog.look()
    assert end.value.code == EXIT_HANGS


def test_a_worker_whose_process_was_stopped_for_long_goes_on(clock: Clock) -> None:
    dog = Watchdog(clock.slowest)
    clock.now += 10 * WATCHDOG_SECONDS  # SIGSTOP, or a suspended laptop: the main thread wakes first
    dog.look()
    clock.now += 1
    clock.looped_at = clock.now
    dog.look()
