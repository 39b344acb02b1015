"""Measures the cost of plugins without services: `python -m benchmarks.hooks`.

Two figures, each the median of 30 alternating runs with and without the plugin: the time that a listener for batches
adds to each task, and the time that a context adds to each run beyond its own work (the same context manager, entered
by hand).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from yadtq_core import Run, hookimpl, task
from yadtq_core.child.pipeline import BoundCall, Pipeline
from yadtq_core.interfaces import Outcome, Status, WorkerIdentity
from yadtq_core.plugin import Plugins, load_plugins
from yadtq_core.settings import Settings
from yadtq_core.worker.events import Events

ROUNDS = 30
BATCH = 100
BATCHES = 500
RUNS = 50_000
WORKER = WorkerIdentity("w", "i", "host", 1, 0.0)


class Listener:
    """Counts outcomes."""

    def __init__(self) -> None:
        self.seen = 0

    @hookimpl
    def yadtq_tasks_finished(self, outcomes: Sequence[Outcome]) -> None:
        """Count a batch."""
        self.seen += len(outcomes)


class Empty:
    """A context manager that does nothing."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


class Context:
    """Enters an empty context around every run."""

    @hookimpl
    def yadtq_task_context(self) -> Callable[[Run], Empty]:
        """Return the context."""
        empty = Empty()
        return lambda run: empty


@task
def nothing() -> None:
    """Do nothing."""


def listener() -> float:
    """Return the microseconds per task that a listener for batches adds."""
    heard, unheard = (_events(load_plugins(*more)) for more in ((Listener(),), ()))
    return _difference(lambda: _tell(heard), lambda: _tell(unheard), BATCH * BATCHES)


def context() -> float:
    """Return the microseconds per run that a context adds beyond its own work."""
    within, bare = (_call(load_plugins(*more)) for more in ((Context(),), ()))
    return _difference(lambda: _run(within), lambda: _run_by_hand(bare), RUNS)


def _events(plugins: Plugins) -> Events:
    return Events(plugins, WORKER)


def _tell(events: Events) -> None:
    """Queue batches of outcomes, and call the listeners as the worker's thread does."""
    outcome = Outcome("id", "t", Status.SUCCESS, 1, 1, "w", "default", {}, 0.0, 0.0, 0.0)
    batch = [outcome] * BATCH
    for _ in range(BATCHES):
        events.finished(batch)
        events.call_waiting()


def _call(plugins: Plugins) -> BoundCall:
    settings = plugins.configure(Settings())
    return Pipeline(plugins, plugins.payloads(settings), lambda coroutine: None).bind(nothing).call


def _run(call: BoundCall) -> None:
    run: Any = None
    for _ in range(RUNS):
        call(run, [], {})


def _run_by_hand(call: BoundCall) -> None:
    run: Any = None
    empty = Empty()
    for _ in range(RUNS):
        with empty:
            call(run, [], {})


def _difference(one: Callable[[], None], other: Callable[[], None], count: int) -> float:
    differences = []
    for _ in range(ROUNDS):
        with _timed() as first:
            one()
        with _timed() as second:
            other()
        differences.append((first[0] - second[0]) / count * 1e6)
    return statistics.median(differences)


@contextmanager
def _timed() -> Iterator[list[float]]:
    took: list[float] = []
    begun = time.perf_counter()
    yield took
    took.append(time.perf_counter() - begun)


def main() -> None:
    """Measure and print."""
    print(f"| added by a plugin, median of {ROUNDS} alternating runs | µs | goal |\n|---|---|---|")
    print(f"| a listener for batches of {BATCH}, per task | {listener():.3f} | 0.1 |")
    print(f"| a task context beyond its own work, per run | {context():.3f} | 0.3 |")


if __name__ == "__main__":
    main()
