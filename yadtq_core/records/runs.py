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
from yadtq_core.model.terms import BACK_OFF_MS, milliseconds, worker_lost
from yadtq_core.records.moment import (
    LOST,
    Moment,
    end,
    end_outside,
    forget_run,
    found_alive,
    make_ready,
    remember,
)
from yadtq_core.records.record import StoredRecord

NOT_HERE = frozenset({ReleaseReason.UNKNOWN_TASK, ReleaseReason.BINDING_FAILED})
"""The reasons of a release by a worker that cannot run the task; another one can."""
NOT_BEGUN = NOT_HERE | {ReleaseReason.UNSTARTED}


def extend(record: StoredRecord | None, hold: Hold, moment: Moment) -> ExtendCode:
    """Extend a lease by its full length from now; store progress if there is any."""
    if record is None or not record.runs_under(hold.fence):
        return ExtendCode.LOST
    found_alive(record)
    record.status, record.released, record.taken = Status.PROCESSING, False, False
    record.deadline = record.due = moment.now + moment.limits.lease
    record.progress = hold.progress or record.progress
    return ExtendCode.OK if record.cancel is None else ExtendCode.CANCEL


def finish(record: StoredRecord | None, outcome: Outcome, moment: Moment) -> FinishCode:
    """Write how a run ended."""
    if record is None:
        return FinishCode.MISSING
    if record.runs_under(outcome.fence):
        found_alive(record)
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
    """Schedule the next run. The message is spent: the record is ready when it is due."""
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
    counted = given.lost and record.status is Status.PROCESSING  # a sweep has counted the death of a queued one
    if not given.lost:
        found_alive(record)
    elif counted:
        record.lost += 1
        remember(record, worker_id, given.note or LOST, moment.now)
    unknown = given.reason is ReleaseReason.UNKNOWN_TASK and given.delay > 0  # without a delay, a peer knows it
    record.unknown_since = (record.unknown_since or moment.now) if unknown else None
    if error := _final_error(record, given, moment, counted=counted):
        return end_outside(record, Status.FAILED, moment, error)
    if given.reason in NOT_BEGUN:  # so it is no attempt
        record.attempt -= 1
        record.worker_id = record.started_at = None
    return _requeue(record, given, moment)


def _final_error(record: StoredRecord, given: Release, moment: Moment, *, counted: bool) -> Error | None:
    """Return the error with which the record fails, or None to requeue it."""
    too_often = counted and record.lost > moment.limits.lost
    too_long = moment.now - (record.unknown_since or moment.now) >= moment.limits.unknown
    if not (too_often or too_long):
        return None
    if given.reason is ReleaseReason.UNKNOWN_TASK:
        return Error("UnknownTask", given.note or f"requeued: {given.reason.value}")
    return Error("WorkerLost", given.note) if given.note else worker_lost(record.lost)


def _requeue(record: StoredRecord, given: Release, moment: Moment) -> None:
    record.fence += 1
    record.nonce = record.incarnation = record.deadline = record.progress = None
    record.note = given.note or None
    if record.cancel is None:
        make_ready(record, moment, first=True)
    else:
        make_ready(record, moment)
    if given.delay > 0 and record.cancel is None:  # one to be cancelled does not wait: the next sweep ends it
        record.status = Status.SCHEDULED
        record.deadline = record.due = moment.now + _delay(record, given, moment)


def _delay(record: StoredRecord, given: Release, moment: Moment) -> int:
    """Return the milliseconds until the record is ready: with back-off if this worker cannot run the task."""
    if given.reason not in NOT_HERE:
        return milliseconds(given.delay)
    shortest, longest = BACK_OFF_MS
    return min(max((moment.now - (record.unknown_since or moment.now)) // 4, shortest), longest)
