"""The rules of completion: when outcomes are written, in which batches, and the meaning of the answers.

A plain object without I/O; times are local monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from yadtq_core.child.pipe import Done
from yadtq_core.model import FinishCode, Lease, Outcome, Status, WorkerIdentity
from yadtq_core.worker.rules.budget import BUDGET, size_of_delivery, size_of_outcome

MAX_BATCH = 400
"""Outcomes written at a time: two script calls."""
ENOUGH = 50
"""With this many outcomes, write without waiting for more."""
_BACKOFF_FIRST = 0.05
_BACKOFF_MOST = 2.0


class Finished(NamedTuple):
    """The answers of one batch, sorted.

    settled: the outcome is written, now or before: the message is done. accepted: the outcomes that were written now.
    fenced: another run has the record, or it was ended or requeued. missing: the record is gone.
    """

    settled: list[Lease]
    accepted: list[Outcome]
    fenced: list[Lease]
    missing: list[Lease]

    @property
    def again(self) -> list[Lease]:
        """The leases whose outcomes were refused: claim their messages again."""
        return [*self.fenced, *self.missing]


class Completion:
    """Outcomes on their way into the backend."""

    def __init__(self, worker: WorkerIdentity) -> None:
        self.executed = 0
        """Runs of this worker whose outcomes the backend has accepted."""
        self.progress: dict[str, str] = {}
        """The last progress text of each running task, by ID, until the keeper sends it with an extension."""
        self._worker = worker
        self._pending: deque[tuple[Lease, Outcome]] = deque()
        self._bytes = 0
        """What the pending outcomes and their leases hold."""
        self._retry_at = 0.0
        self._backoff = _BACKOFF_FIRST

    def ended(self, runs: Sequence[tuple[Lease, Done]]) -> None:
        """Add the outcomes of runs that have ended."""
        for lease, done in runs:
            entry = (lease, outcome_of(lease, done, self._worker.id))
            self._pending.append(entry)
            self._bytes += _size(entry)
        self.forget_progress(lease for lease, _ in runs)

    def forget_progress(self, leases: Iterable[Lease]) -> None:
        """Drop the progress texts of runs that are over."""
        if self.progress:
            for lease in leases:
                self.progress.pop(lease.id, None)

    @property
    def pending(self) -> int:
        """How many outcomes are not written yet."""
        return len(self._pending)

    def held(self) -> list[Lease]:
        """Return the leases of outcomes that are not written yet: they must still be extended."""
        return [lease for lease, _ in tuple(self._pending)]

    def full(self) -> bool:
        """True when the pending outcomes use up the budget: read no more of them before some are written."""
        return self._bytes >= BUDGET

    def few(self) -> bool:
        """True when there are outcomes to write, but so few that it pays to wait for more."""
        return 0 < len(self._pending) < ENOUGH and not self.full()

    def next_batch(self, now: float) -> list[tuple[Lease, Outcome]]:
        """Return the outcomes to write now; they stay pending until `answered`.

        Their results fit in BUDGET: a slow network must carry them within the time limit of a call, or no retry would
        succeed. A larger one is written alone.
        """
        if now < self._retry_at:
            return []
        batch: list[tuple[Lease, Outcome]] = []
        size = 0
        for index in range(min(len(self._pending), MAX_BATCH)):
            entry = self._pending[index]
            size += size_of_outcome(entry[1])
            if batch and size > BUDGET:
                break
            batch.append(entry)
        return batch

    def wait(self, now: float, otherwise: float) -> float:
        """Return how many seconds to wait before the next write; `otherwise` if nothing is pending."""
        return max(0.0, self._retry_at - now) if self._pending else otherwise

    def answered(self, batch: Sequence[tuple[Lease, Outcome]], codes: Sequence[FinishCode]) -> Finished:
        """Process the answers of a batch, which is then not pending any more.

        ERROR (a damaged record) settles the message: this worker cannot repair the record.
        """
        self._backoff, self._retry_at = _BACKOFF_FIRST, 0.0
        finished = Finished([], [], [], [])
        for (lease, outcome), code in zip(batch, codes, strict=True):
            self._bytes -= _size(self._pending.popleft())
            if code is FinishCode.FENCED:
                finished.fenced.append(lease)
            elif code is FinishCode.MISSING:
                finished.missing.append(lease)
            else:
                finished.settled.append(lease)
            if code is FinishCode.OK:
                finished.accepted.append(outcome)
        self.executed += len(finished.accepted)
        return finished

    def unanswered(self, now: float) -> None:
        """Schedule the same batch again, because the backend did not answer; the delay doubles up to 2 s."""
        self._retry_at = now + self._backoff
        self._backoff = min(self._backoff * 2, _BACKOFF_MOST)


def _size(entry: tuple[Lease, Outcome]) -> int:
    return size_of_delivery(entry[0].delivery) + size_of_outcome(entry[1])


def outcome_of(lease: Lease, done: Done, worker_id: str) -> Outcome:
    """Return the outcome of a run, for the backend and for plugins."""
    message = lease.delivery.message
    return Outcome(
        id=message.id,
        task=message.task,
        status=Status(done.status),
        attempt=lease.attempt,
        fence=lease.fence,
        worker_id=worker_id,
        queue=message.queue,
        headers=message.headers,
        submitted_at=message.submitted_at_ms / 1000,
        started_at=lease.started_at_ms / 1000,
        duration=done.duration,
        retry_in=done.retry_in,
        result=done.result,
        content_type=done.content_type,
        error=done.error,
    )
