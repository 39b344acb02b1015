"""The rules of a run, each only under the record's current fence: extend, finish, release."""

from __future__ import annotations

from yadtq_core.model import (
    Error,
    ExtendCode,
    FinishCode,
    Hold,
    Outcome,
    Release,
    ReleaseReason,
    Status,
)
from yadtq_core.model.terms import milliseconds, worker_lost
from yadtq_core.records.moment import Moment, end, end_outside, forget_run, remember
from yadtq_core.records.record import StoredRecord


def extend(record: StoredRecord | None, hold: Hold, moment: Moment) -> ExtendCode:
    """Extend a lease by its full length from now; store progress if there is any."""
    if record is None or not record.runs_under(hold.fence):
        return ExtendCode.LOST
    record.status = Status.PROCESSING
    record.deadline = record.due = moment.now + moment.limits.lease
    record.progress = hold.progress or record.progress
    return ExtendCode.OK if record.cancel is None else ExtendCode.CANCEL


def finish(record: StoredRecord | None, outcome: Outcome, moment: Moment) -> FinishCode:
    """Write how a run ended."""
    if record is None:
        return FinishCode.MISSING
    if record.runs_under(outcome.fence):
        _write(record, outcome, moment)
        return FinishCode.OK
    return FinishCode.ALREADY if record.fence == outcome.fence != 0 else FinishCode.FENCED


def _write(record: StoredRecord, outcome: Outcome, moment: Moment) -> None:
    error = outcome.error or Error("", "failed without an error")
    retry = outcome.status is Status.SCHEDULED
    if retry and record.cancel is not None:
        return end(record, Status.CANCELLED, moment)
    if retry or outcome.status is Status.FAILED:
        reason = f"{error.type}: {error.message}" if error.type else error.message
        remember(record, outcome.worker_id, reason, moment.now)
    if retry:
        return _retry(record, moment.now + milliseconds(outcome.retry_in or 0.0))
    if outcome.status is Status.SUCCESS:
        record.result, record.content_type = outcome.result, outcome.content_type
    elif outcome.status is Status.FAILED:
        record.error, record.progress = error, None
    return end(record, outcome.status, moment)


def _retry(record: StoredRecord, due: int) -> None:
    """Schedule the next run. The message is spent: a record without a position is published again when it is due."""
    forget_run(record)
    record.status, record.progress = Status.SCHEDULED, None
    record.deadline = record.due = due


def release(worker_id: str, record: StoredRecord | None, given: Release, moment: Moment) -> FinishCode:
    """Requeue a record without an outcome, under a higher fence."""
    if record is None:
        return FinishCode.MISSING
    if record.runs_under(given.fence):
        _release(worker_id, record, given, moment)
    elif record.fence not in (given.fence, given.fence + 1) or not given.fence:
        return FinishCode.FENCED
    # A fence that is one higher: this release was done before, or another process has ended this run.
    return FinishCode.OK


def _release(worker_id: str, record: StoredRecord, given: Release, moment: Moment) -> None:
    if given.lost:
        record.lost += 1
        remember(record, worker_id, given.note or "worker lost", moment.now)
    if error := _final_error(record, given, moment):
        return end_outside(record, Status.FAILED, moment, error)
    unknown = given.reason is ReleaseReason.UNKNOWN_TASK
    if unknown or given.reason is ReleaseReason.UNSTARTED:  # the run did not begin, so it is no attempt
        record.attempt -= 1
        record.worker_id = record.started_at = None
    return _requeue(record, given, moment, scheduled=unknown or given.delay > 0)


def _final_error(record: StoredRecord, given: Release, moment: Moment) -> Error | None:
    """Return the error with which the record fails, or None to requeue it."""
    unknown = given.reason is ReleaseReason.UNKNOWN_TASK
    too_often = given.lost and record.lost > moment.limits.lost
    too_long = unknown and moment.now - record.submitted_at >= moment.limits.unknown
    if not (too_often or too_long):
        return None
    if unknown:
        return Error("UnknownTask", given.note or f"requeued: {given.reason.value}")
    return Error("WorkerLost", given.note) if given.note else worker_lost(record.lost)


def _requeue(record: StoredRecord, given: Release, moment: Moment, *, scheduled: bool) -> None:
    record.fence += 1
    record.nonce = record.incarnation = record.deadline = record.progress = None
    record.released, record.note = True, given.note or None
    record.status, record.due = Status.QUEUED, moment.now
    if scheduled and record.cancel is None:  # one to be cancelled does not wait: the next sweep ends it
        record.status = Status.SCHEDULED
        record.deadline = record.due = moment.now + milliseconds(given.delay)
