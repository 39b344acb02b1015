"""The rules of the submitting side: create, confirm, cancel."""

from __future__ import annotations

from yadtq_core.model import CancelCode, CreateCode, Created, Placed, Status, Submission
from yadtq_core.model.terms import milliseconds
from yadtq_core.records.moment import Moment, end_outside
from yadtq_core.records.record import StoredRecord


def new_record(submission: Submission, moment: Moment) -> StoredRecord:
    """Return the record of a submission: `queued`, or `scheduled` if it has a delay."""
    message, delay = submission.message, milliseconds(submission.delay)
    return StoredRecord(
        id=message.id,
        task=message.task,
        queue=message.queue,
        digest=message.digest,
        submitted_at=moment.now,
        status=Status.SCHEDULED if delay else Status.QUEUED,
        deadline=moment.now + delay if delay else None,
        due=moment.now + (delay or moment.limits.grace),
    )


def created(record: StoredRecord, submission: Submission) -> Created:
    """Return the answer to a submission whose record exists."""
    code = CreateCode.EXISTS if record.digest == submission.message.digest else CreateCode.CONFLICT
    return Created(code, record.submitted_at, record.status, published=bool(record.position))


def confirm(record: StoredRecord | None, placed: Placed, _: Moment) -> None:
    """Store the position of an acknowledged message: a record that waits for its first run waits there from now on.

    A record that was claimed or released before has no use for it, except that a run whose submit is repeated answers
    that it is published.
    """
    if record is None or record.queue != placed.queue:
        return
    if record.unclaimed or (record.status is Status.PROCESSING and record.position is None):
        record.position = placed.position


def cancel(record: StoredRecord | None, reason: str, moment: Moment) -> CancelCode:
    """End a record that has not started; mark one that runs."""
    if record is None:
        return CancelCode.MISSING
    if record.ended:
        return CancelCode.ENDED
    if record.status is Status.PROCESSING:
        record.cancel = reason if record.cancel is None else record.cancel
        return CancelCode.REQUESTED
    record.cancel = reason
    end_outside(record, Status.CANCELLED, moment)
    return CancelCode.CANCELLED
