"""The numbers and answers that every backend shares: the scripts of Redis and the rules of the kit `records`."""

from __future__ import annotations

from collections.abc import Iterable

from yadtq_core.model.record import Error, Record, Reset, Status
from yadtq_core.model.runs import Answer, Verdict

LONGEST_CHECK_MS = 30 * 60 * 1000
"""The time until a damaged record is due again."""
TAKEN_MS = 5000
"""A record that a worker has taken and not claimed is ready again after this time: the worker was lost in between."""
FIRST_MS = 100_000_000_000
"""Three years: this much before now is the score in `ready` of what was taken from a worker, so that it comes first."""
TAKE_BYTES = 8 * 1024 * 1024
"""Bodies in one answer of `take`, and in one of `messages` to a worker: it bounds what one reply holds in memory."""
HEADS = 200
"""Records that one call of `take` or `recover` looks at, a shard and queue."""
PARTITIONS, OFFSETS = 2**15, 2**38
"""A record that waits in the log has the score partition * OFFSETS + offset, which a double represents exactly."""
BACK_OFF_MS = (5_000, 300_000)
"""The shortest and the longest time until a task that a worker lacks is ready again; a quarter of its age between."""
LISTED_MS = 3600 * 1000
"""A worker is listed for this long after its last heartbeat."""
HISTORY = 10
"""Earlier runs that a record keeps."""
EPOCHS = 50
"""Epochs that a store remembers."""
OTHER_ARGUMENTS = Answer(
    Verdict.BUSY, wait_ms=5000, error="not run: this message has other arguments than the record of its ID"
)
"""The answer to a message whose ID was submitted twice with different arguments, after the store had lost the first.

The worker parks it: if the record is lost as well, this message is the only copy of the task.
"""


def milliseconds(seconds: float) -> int:
    """Return a duration in whole milliseconds; at least 1 for any duration above zero."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0


def seconds(milliseconds: int | None) -> float | None:
    """Return a time in seconds, None for None."""
    return None if milliseconds is None else milliseconds / 1000


def worker_lost(times: int) -> Error:
    """Return the error of a record whose workers were lost more often than `lost_limit` allows."""
    return Error("WorkerLost", f"worker lost {times} times")


def damaged(task_id: str, reason: str) -> Record:
    """Return a failed record that stands for one that cannot be read."""
    error = Error("DamagedRecord", f"record is damaged: {reason}")
    return Record(id=task_id, task="", status=Status.FAILED, queue="", submitted_at=0.0, error=error)


def greatest_loss(windows: Iterable[tuple[int, int, int]], after_ms: int) -> Reset | None:
    """Return the widest of these windows (mark, begins, ends; ms), the latest of equal ones.

    None if all of them ended at `after_ms` or before.
    """
    recent = [Reset(ends / 1000, begins / 1000, mark / 1000) for mark, begins, ends in windows if ends > after_ms]
    return min(recent, key=lambda reset: (reset.since, -reset.at), default=None)
