"""The rules of the submitting side: create, confirm, cancel."""

from __future__ import annotations

from yadtq_core.model import CancelCode, CreateCode, Created, Status, Submission
from yadtq_core.model.terms import LONGEST_CHECK_MS, RELEASED_CHECK_MS, milliseconds
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


def confirm(record: StoredRecord | None, position: str, moment: Moment) -> None:
    """Store the position of an acknowledged message.

    Not for a scheduled record: its retry has cleared the position, and this is the position of the spent message.
    """
    if record is None or record.status not in (Status.QUEUED, Status.PROCESSING):
        return
    if record.status is Status.QUEUED:
        record.due = moment.now + _wait(record, position, moment.limits.check)
    record.position = position


def _wait(record: StoredRecord, position: str, check: int) -> int:
    """Return the time until the next check: short for a released record, doubled while the message is the same."""
    if record.released:
        return RELEASED_CHECK_MS
    if record.position != position:
        record.check = None
        return check
    record.check = min(2 * (record.check or check), max(LONGEST_CHECK_MS, check))
    return record.check


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
