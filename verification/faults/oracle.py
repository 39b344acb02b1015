"""The expected ends of the tasks of the fault runs: a second implementation, for the checker."""

from __future__ import annotations

from collections.abc import Sequence

_SUCCESS = frozenset({"success"})
_FAILED = frozenset({"failed"})
_ENDS = {
    "faults.doomed": _FAILED,
    "faults.hopeless": _FAILED,
    "faults.killer": _FAILED,
    "faults.unwanted": frozenset({"success", "cancelled"}),
}


def expected(task: str) -> frozenset[str]:
    """Return the statuses in which a task of `tasks.py` may end."""
    return _ENDS.get(task, _SUCCESS)


def result(task: str, arguments: Sequence[float]) -> object:
    """Return what a task of `tasks.py` returns for these arguments."""
    match task, arguments:
        case "faults.add", numbers:
            return sum(numbers)
        case "faults.square" | "faults.effect", [_, number]:
            return number * number
        case "faults.flaky", [failures, number]:
            return [failures, number]
        case "faults.hog" | "faults.unwanted", [_, number]:
            return number
    raise ValueError(f"no task {task} returns anything for {len(arguments)} arguments")
