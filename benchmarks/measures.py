"""The measures, in the order of the report, and the samples of one run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Literal, NamedTuple

Side = Literal["raw", "yadtq"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A measure: its title, its unit, and whether more is better."""

    title: str
    unit: str
    more_is_better: bool = False


class Measure(Enum):
    """All measures."""

    SUBMIT_MANY = Kind("submit in bulk, until Kafka has acknowledged all", "tasks/s", more_is_better=True)
    SUBMIT_MANY_CONFIRMED = Kind("submit in bulk, until all records are confirmed", "tasks/s", more_is_better=True)
    SUBMIT_CPU = Kind("submit in bulk: CPU of the client", "CPU s / 1,000")
    EXECUTE_ONE = Kind("execute, worker with 1 child", "tasks/s", more_is_better=True)
    EXECUTE_TWO = Kind("execute, worker with 2 children", "tasks/s", more_is_better=True)
    EXECUTE_CPU = Kind("execute, 1 child: CPU of the worker's processes", "CPU s / 1,000")
    EXECUTE_CPU_PARENT = Kind("… of the parent process", "CPU s / 1,000")
    EXECUTE_CPU_CHILDREN = Kind("… of its child", "CPU s / 1,000")
    SCRIPT_CALLS = Kind("script calls to Redis, submit and execute in bulk", "calls per task")
    RECORD_BYTES = Kind("Redis memory of a finished record", "B")
    SUBMIT_ONE = Kind("submit one by one, one caller", "tasks/s", more_is_better=True)
    SUBMIT_RECORD = Kind("submit one by one, one caller, not waiting for Kafka", "tasks/s", more_is_better=True)
    SUBMIT_THREADS = Kind("submit one by one, 32 threads that share a client", "tasks/s", more_is_better=True)
    ROUND_TRIP_50 = Kind("round trip, idle worker, p50", "ms")
    ROUND_TRIP_99 = Kind("round trip, idle worker, p99", "ms")
    START_SUBMIT = Kind("a process that submits one task and ends", "s")
    START_HELP = Kind("`yadtq --help`", "s")
    START_WORKER = Kind("worker, from its start until it is online", "s")
    START_FIRST = Kind("worker, from its start until a waiting task has ended", "s")
    WORKER_MEMORY = Kind("memory of the parent process at rest", "MB")
    CHILD_MEMORY = Kind("memory of a child at rest", "MB")
    WORKER_MEMORY_AFTER = Kind("memory of the parent process after the run", "MB")


class Spread(NamedTuple):
    """The median, the minimum and the maximum of some samples."""

    middle: float
    least: float
    most: float


class Samples:
    """The samples of one run; the n-th samples of both sides are from the same round."""

    def __init__(self) -> None:
        self._taken: dict[tuple[Measure, Side], list[float]] = defaultdict(list)

    def add(self, measure: Measure, side: Side, value: float) -> None:
        """Keep one sample."""
        self._taken[measure, side].append(value)

    def spread(self, measure: Measure, side: Side) -> Spread | None:
        """Return the spread of one side; None if it was not measured."""
        return _spread(self._taken[measure, side])

    def ratio(self, measure: Measure) -> Spread | None:
        """Return yadtq ÷ raw, computed per round; None if one side was not measured."""
        raw, ours = self._taken[measure, "raw"], self._taken[measure, "yadtq"]
        return _spread([mine / theirs for theirs, mine in zip(raw, ours, strict=False) if theirs])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that a `share` (0 to 1) of all values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _spread(values: Sequence[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None
