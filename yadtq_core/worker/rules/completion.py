"""Completion's rules: what has ended is written in batches, and what the answers mean.

A plain object without I/O; times are local monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from yadtq_core.child.pipe import Done
from yadtq_core.model import FinishCode, Lease, Outcome, Status, WorkerIdentity

MAX_BATCH = 400
"""Outcomes written at a time: two script calls."""
MAX_BYTES = 8 * 1024 * 1024
"""Results of one batch: what a slow network carries within a call's time limit, or it would be tried for ever."""
ENOUGH = 50
"""Outcomes that are written without waiting for more."""
_BACKOFF_FIRST = 0.05
_BACKOFF_MOST = 2.0


class Finished(NamedTuple):
    """What the answers of one batch mean.

    settled: written (or written before): the message is done. again: another holds the record now, or it is gone:
    claim once more with the message. accepted: the outcomes that count.
    """

    settled: list[Lease]
    again: list[Lease]
    accepted: list[Outcome]


class Completion:
    """Outcomes on their way into the backend."""

    def __init__(self, worker: WorkerIdentity) -> None:
        self.executed = 0
        """Runs of this worker whose outcomes the backend has accepted."""
        self._worker = worker
        self._pending: deque[tuple[Lease, Outcome]] = deque()
        self._retry_at = 0.0
        self._backoff = _BACKOFF_FIRST

    def ended(self, runs: Sequence[tuple[Lease, Done]]) -> None:
        """Runs ended: their outcomes are to be written."""
        self._pending.extend((lease, outcome_of(lease, done, self._worker.id)) for lease, done in runs)

    @property
    def pending(self) -> int:
        """How many outcomes are not written yet."""
        return len(self._pending)

    def held(self) -> list[Lease]:
        """Return the leases whose outcomes are not written yet: they are still to be extended."""
        return [lease for lease, _ in tuple(self._pending)]

    def few(self) -> bool:
        """Return whether there is something to write, but so little that more is worth waiting for."""
        return 0 < len(self._pending) < ENOUGH

    def next_batch(self, now: float) -> list[tuple[Lease, Outcome]]:
        """Return the outcomes to write now; they stay pending until `answered`."""
        if now < self._retry_at:
            return []
        batch: list[tuple[Lease, Outcome]] = []
        size = 0
        for index in range(min(len(self._pending), MAX_BATCH)):
            entry = self._pending[index]
            size += len(entry[1].result or b"")
            if batch and size > MAX_BYTES:
                break
            batch.append(entry)
        return batch

    def wait(self, now: float, otherwise: float) -> float:
        """Return for how many seconds there is nothing to write; `otherwise` where nothing is pending."""
        return max(0.0, self._retry_at - now) if self._pending else otherwise

    def answered(self, batch: Sequence[tuple[Lease, Outcome]], codes: Sequence[FinishCode]) -> Finished:
        """The batch was answered; it is pending no more.

        ERROR (a damaged record) settles: nothing that this worker could do would mend it.
        """
        self._backoff, self._retry_at = _BACKOFF_FIRST, 0.0
        finished = Finished([], [], [])
        for (lease, outcome), code in zip(batch, codes, strict=True):
            self._pending.popleft()
            if code in (FinishCode.FENCED, FinishCode.MISSING):
                finished.again.append(lease)
                continue
            finished.settled.append(lease)
            if code is FinishCode.OK:
                finished.accepted.append(outcome)
        self.executed += len(finished.accepted)
        return finished

    def unanswered(self, now: float) -> None:
        """The backend did not answer: the same batch again, later and later, at most every 2 s."""
        self._retry_at = now + self._backoff
        self._backoff = min(self._backoff * 2, _BACKOFF_MOST)


def outcome_of(lease: Lease, done: Done, worker_id: str) -> Outcome:
    """Return how a run ended, as it is written and as listeners see it."""
    message = lease.delivery.message
    return Outcome(
        message.id,
        message.task,
        Status(done.status),
        lease.attempt,
        lease.fence,
        worker_id,
        message.queue,
        message.headers,
        message.submitted_at_ms / 1000,
        lease.started_at_ms / 1000,
        done.duration,
        done.retry_in,
        done.result,
        done.content_type,
        done.error,
    )
