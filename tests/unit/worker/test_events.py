"""Events of plugins: those that wait for a slow listener have a budget of bytes, and dropped ones are counted."""

from __future__ import annotations

import logging
import threading

import pytest
from msgspec import Raw

from tests.waiting import wait_until
from yadtq_core import hookimpl
from yadtq_core.model import Delivery, Lease, Message, Outcome, Status, WorkerIdentity, WorkerStats
from yadtq_core.plugin import load_plugins
from yadtq_core.worker.events import Events
from yadtq_core.worker.rules.budget import BUDGET

IDENTITY = WorkerIdentity("w", "i", "host", 1, 0.0)
STATS = WorkerStats("online", 0, 0, 1, 1, ("default",), ())
MIB = 1024 * 1024


def outcome(size: int = 0, name: str = "id") -> Outcome:
    return Outcome(name, "t", Status.SUCCESS, 1, 1, "w", "default", {}, 0.0, 0.0, 0.0, result=b"x" * size)


def lease(size: int) -> Lease:
    return Lease(Delivery(Message(v=1, id="id", task="t", arguments=Raw(b"")), b"x" * size), 1, 1, 0)


class Listener:
    """A plugin that notes what it is told; with `go` cleared it blocks."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()
        self.heard: list[str] = []

    @hookimpl
    def yadtq_tasks_finished(self, outcomes: tuple[Outcome, ...]) -> None:
        self.entered.set()
        assert self.go.wait(60)
        self.heard += [one.id for one in outcomes]

    @hookimpl
    def yadtq_tasks_started(self, leases: tuple[Lease, ...]) -> None:
        self.heard.append("started")

    @hookimpl
    def yadtq_heartbeat(self) -> None:
        self.heard.append("heartbeat")

    @hookimpl
    def yadtq_worker_stopped(self) -> None:
        self.heard.append("stopped")


def events_of(*plugins: object) -> Events:
    """Return events whose thread does not run: `call_waiting` calls what waits."""
    return Events(load_plugins(*plugins), IDENTITY)


def test_large_results_wait_up_to_the_budget_and_the_oldest_are_dropped() -> None:
    listener = Listener()
    events = events_of(listener)
    for number in range(20):
        events.finished([outcome(MIB, f"{number}")])
    assert events.dropped == 13
    events.call_waiting()
    assert listener.heard == [f"{number}" for number in range(13, 20)]


def test_small_events_count_with_their_objects() -> None:
    """Without them, events of tasks without results would wait without a bound."""
    events = events_of(Listener())
    for _ in range(2 * BUDGET // 1024):
        events.finished([outcome()])
    assert events.dropped >= BUDGET // 1024


def test_arguments_of_started_tasks_count() -> None:
    listener = Listener()
    events = events_of(listener)
    for _ in range(40):
        events.started([lease(MIB // 4)])
    assert events.dropped == 9
    events.call_waiting()
    assert listener.heard == ["started"] * 31


def test_the_newest_event_waits_although_it_is_larger_than_the_budget() -> None:
    listener = Listener()
    events = events_of(listener)
    events.heartbeat(STATS)
    events.finished([outcome(BUDGET + 1, "large")])
    assert events.dropped == 1
    events.close(STATS)
    events.call_waiting()
    assert listener.heard == ["stopped"]
    assert events.dropped == 2


def test_events_that_were_called_free_the_budget() -> None:
    events = events_of(Listener())
    for _ in range(50):
        events.finished([outcome(MIB)])
        events.call_waiting()
    assert events.dropped == 0


def test_the_log_names_the_slow_plugin_once(caplog: pytest.LogCaptureFixture) -> None:
    slow, quick = Listener(), Listener()
    slow.go.clear()
    loaded = load_plugins(quick)
    loaded.manager._sealed = False
    loaded.manager.register(slow, "acme-slow")
    events = Events(loaded, IDENTITY)
    events.worker_started()
    try:
        events.finished([outcome(0, "first")])
        wait_until(slow.entered.is_set, "the slow listener has the first event")
        for _ in range(30):
            events.finished([outcome(MIB)])
        assert events.dropped == 23
    finally:
        slow.go.set()
        events.close(STATS)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "plugin acme-slow is too slow in yadtq_tasks_finished: more than 8 MiB of events wait, "
        "and the oldest are dropped"
    ]
