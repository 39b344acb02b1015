"""The rules of the right to run: claim and offer."""

from __future__ import annotations

from typing import NamedTuple

from yadtq_core.model import DELAYED, Answer, Delivery, Status, Verdict, WorkerIdentity
from yadtq_core.model.terms import OTHER_ARGUMENTS
from yadtq_core.records.moment import Moment, end_outside, lose_run, make_ready
from yadtq_core.records.record import StoredRecord

DONE = Answer(Verdict.DONE)
LATER = Answer(Verdict.LATER)
TOO_OLD = Answer(Verdict.TOO_OLD)
OFFERED = Answer(Verdict.OFFERED)


class Claimant(NamedTuple):
    """One call of `claim`: its worker, its nonce, and whether an ended lease counts as live."""

    worker: WorkerIdentity
    nonce: str
    nothing_stale: bool


def rebuilt(delivery: Delivery, moment: Moment) -> StoredRecord:
    """Return the record of a message whose record is missing."""
    message = delivery.message
    return StoredRecord(
        id=message.id,
        task=message.task,
        queue=message.queue,
        digest=message.digest,
        submitted_at=message.submitted_at_ms or moment.now,
        status=Status.QUEUED,
        position=delivery.position or None,
    )


def damaged(_: str, reason: str) -> Answer:
    """Return the answer for a record that cannot be read."""
    return Answer(Verdict.ERROR, error=f"record is damaged: {reason}"[:200])


def claim(record: StoredRecord, delivery: Delivery, by: Claimant, moment: Moment) -> Answer:
    """Give the lease of a record to a worker if the record is free."""
    if record.ended:
        return DONE
    if delivery.message.digest not in ("", record.digest):
        return OTHER_ARGUMENTS
    if record.status is Status.PROCESSING and record.nonce == by.nonce:  # called again because the reply was lost
        _lease(record, moment)
        started_at = record.started_at or moment.now
        return Answer(Verdict.RUN, record.fence, record.attempt, 0, record.lost, started_at)
    return _not_free(record, moment, calm=by.nothing_stale) or _run(record, by, moment)


def offer(record: StoredRecord, moment: Moment) -> Answer:
    """Make a record ready for a worker with a free slot. Never answers RUN.

    The fence of an ended lease stays, so that a late outcome of its run counts until another claim.
    """
    if refusal := _not_free(record, moment):
        return refusal
    if record.status in DELAYED:
        record.fence += 1
    make_ready(record, moment)
    return OFFERED


def _not_free(record: StoredRecord, moment: Moment, *, calm: bool = False) -> Answer | None:
    """Return the answer for a record that has ended or ends here, is leased, or is not due; None for a free one."""
    if record.ended:
        return DONE
    left = (record.deadline or 0) - moment.now
    if record.status in DELAYED and left > 0:
        return LATER
    if record.status is Status.PROCESSING and (left > 0 or calm):
        return Answer(Verdict.BUSY, 0, record.attempt, left if left > 0 else moment.limits.lease, record.lost)
    if record.cancel is not None:
        end_outside(record, Status.CANCELLED, moment)
        return DONE
    if record.status is Status.PROCESSING:
        lose_run(record, moment)
    return Answer(Verdict.POISON, 0, record.attempt, 0, record.lost) if record.ended else None


def _run(record: StoredRecord, by: Claimant, moment: Moment) -> Answer:
    record.status, record.started_at = Status.PROCESSING, moment.now
    record.fence = max(moment.us, record.fence + 1)
    record.attempt += 1
    record.nonce, record.worker_id, record.incarnation = by.nonce, by.worker.id, by.worker.incarnation
    record.released = record.taken = False
    record.lost_fence = record.progress = record.note = None
    _lease(record, moment)
    return Answer(Verdict.RUN, record.fence, record.attempt, 0, record.lost, moment.now)


def _lease(record: StoredRecord, moment: Moment) -> None:
    record.deadline = record.due = moment.now + moment.limits.lease
