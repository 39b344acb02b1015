"""The online workers as a client sees them, and why they have not ended a task yet."""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Iterable, Sequence

from yadtq_core.client.results import moment
from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import DELAYED, Record, Status, WorkerRow

FRESH = 5.0
"""Seconds for which an answer is used again: heartbeats are 5 s apart by default, so a newer one says little more."""


class Fleet:
    """The online workers. Safe for use by several threads; two that ask at once may both ask the backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._online: Sequence[WorkerRow] = ()
        self._read_at = -math.inf

    def online(self, fresh: float = FRESH) -> Sequence[WorkerRow] | None:
        """Return the workers that are online, None if the backend does not answer.

        fresh: seconds for which an earlier answer is used again.
        """
        now = time.monotonic()
        if now - self._read_at > fresh:
            try:
                self._online = [row for row in self._backend.workers(online=True) if row.online]
            except YadtqError:
                return None
            self._read_at = now
        return self._online


def why_open(record: Record, workers: Sequence[WorkerRow] | None) -> str:
    """Return why a task has not ended, with what to do if there is something; empty if no reason is known.

    workers: those that are online; None: not known.
    """
    if record.status is Status.PROCESSING:
        return f"worker {record.worker_id} runs it" if record.worker_id else ""
    due = f"it is due at {moment(record.due_at)}" if record.status in DELAYED and record.due_at else ""
    lacking = "" if workers is None else _lacking(record, workers)
    return "; ".join(part for part in (due, lacking or record.note) if part)


def _lacking(record: Record, workers: Sequence[WorkerRow]) -> str:
    if not workers:
        return "no worker is online: start one with `yadtq worker`"
    serving = [row.stats for row in workers if record.queue in row.stats.queues]
    if not serving:
        return f"no online worker serves queue {record.queue}: start one with `yadtq worker -Q {record.queue}`"
    known = {task for stats in serving for task in stats.tasks}
    if record.task not in known:
        hint = did_you_mean(record.task, known)
        return f"no online worker of queue {record.queue} has loaded task {record.task!r}{hint}"
    if record.status not in DELAYED and not any(stats.free for stats in serving):
        return f"all slots of the workers of queue {record.queue} are taken"
    return ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `: did you mean '…'?` with the closest known name; empty if none is close."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f": did you mean {close[0]!r}?" if close else ""
