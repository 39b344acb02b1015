"""How runs end in memory: what extend.lua, finish.lua, release.lua and cancel.lua decide."""

from __future__ import annotations

from yadtq_core.backends.memory.claims import Limits
from yadtq_core.backends.memory.store import MemoryStore, Row, worker_lost
from yadtq_core.backends.redis.script_io import milliseconds
from yadtq_core.model import (
    ENDED,
    CancelCode,
    Error,
    ExtendCode,
    FinishCode,
    Hold,
    Outcome,
    Release,
    ReleaseReason,
    Status,
    WorkerIdentity,
)

RUNS = (Status.PROCESSING, Status.QUEUED)
"""Of a run that has not ended: one that a sweep has put back to `queued` is its own until somebody claims it."""


def extended(store: MemoryStore, hold: Hold, lease: int) -> ExtendCode:
    """Extend one lease by its full length."""
    row = store.row(hold.id)
    if row is None or not row.runs_under(hold.fence) or row.status not in RUNS:
        return ExtendCode.LOST
    row.status, row.deadline = Status.PROCESSING, store.now + lease
    store.look_at(row, row.deadline)
    if hold.progress:
        row.progress = hold.progress
    return ExtendCode.OK if row.cancel is None else ExtendCode.CANCEL


def finished(store: MemoryStore, outcome: Outcome, worker: WorkerIdentity, ttl: int) -> FinishCode:
    """Write how one run ended, if it still is its record's."""
    row = store.row(outcome.id)
    if row is None:
        store.let_go(worker.incarnation, outcome.id)
        return FinishCode.MISSING
    if not row.runs_under(outcome.fence):
        if row.incarnation != worker.incarnation:
            store.let_go(worker.incarnation, outcome.id)
        return FinishCode.FENCED
    store.let_go(worker.incarnation, outcome.id)
    if row.status not in RUNS:
        return FinishCode.ALREADY
    _write(store, row, outcome, ttl)
    return FinishCode.OK


def _write(store: MemoryStore, row: Row, outcome: Outcome, ttl: int) -> None:
    error = outcome.error or Error("", "failed without an error")
    status = outcome.status
    if status is Status.SCHEDULED and row.cancel is not None:
        status = Status.CANCELLED
    if status in (Status.FAILED, Status.SCHEDULED):
        reason = f"{error.type}: {error.message}" if error.type else error.message
        store.remember(row, outcome.worker_id, reason, store.now)
    if status is Status.SCHEDULED:
        return _retry(store, row, store.now + milliseconds(outcome.retry_in or 0.0))
    if status is Status.SUCCESS:
        row.result, row.content_type = outcome.result, outcome.content_type
    elif status is Status.FAILED:
        row.error, row.progress = error, None
    return store.end(row, status, ttl)


def _retry(store: MemoryStore, row: Row, due: int) -> None:
    """The message that brought it is spent: without a position a sweep publishes it again when its time has come."""
    row.forget()
    row.status, row.deadline, row.progress = Status.SCHEDULED, due, None
    store.look_at(row, due)


def released(store: MemoryStore, given: Release, worker: WorkerIdentity, limits: Limits) -> FinishCode:
    """Take one record back without an outcome."""
    row = store.row(given.id)
    if row is None:
        store.let_go(worker.incarnation, given.id)
        return FinishCode.MISSING
    if not row.runs_under(given.fence):
        if row.incarnation != worker.incarnation:
            store.let_go(worker.incarnation, given.id)
        # One higher: this very release has been here before, or somebody else has taken it from this run.
        return FinishCode.OK if row.fence == given.fence + 1 else FinishCode.FENCED
    store.let_go(worker.incarnation, given.id)
    if row.status in RUNS:
        _release(store, row, given, worker, limits)
    return FinishCode.OK


def _release(store: MemoryStore, row: Row, given: Release, worker: WorkerIdentity, limits: Limits) -> None:
    unknown = given.reason is ReleaseReason.UNKNOWN_TASK
    if given.lost:
        row.lost += 1
        store.remember(row, worker.id, given.note or "worker lost", store.now)
    if (given.lost and row.lost > limits.lost) or (unknown and store.now - row.submitted_at >= limits.unknown):
        note = given.note or (f"given back: {given.reason.value}" if unknown else worker_lost(row.lost).message)
        error = Error("UnknownTask" if unknown else "WorkerLost", note)
        return store.end_outside(row, Status.FAILED, limits.ttl, error)
    row.fence += 1
    row.nonce = row.incarnation = row.deadline = row.progress = None
    row.released, row.note = True, given.note or None
    if unknown or given.reason is ReleaseReason.UNSTARTED:  # no attempt is counted for a run that did not begin
        row.attempt -= 1
        row.worker_id = row.started_at = None
    delay = milliseconds(given.delay)
    # One that is to be cancelled does not wait: the next sweep ends it.
    if (unknown or delay > 0) and row.cancel is None:
        row.status, row.deadline = Status.SCHEDULED, store.now + delay
    else:
        row.status = Status.QUEUED
    return store.look_at(row, store.now if row.deadline is None else row.deadline)


def cancelled(store: MemoryStore, task_id: str, reason: str, ttl: int) -> CancelCode:
    """End what has not started; mark what runs."""
    row = store.row(task_id)
    if row is None:
        return CancelCode.MISSING
    if row.status in ENDED:
        return CancelCode.ENDED
    if row.status is Status.PROCESSING:
        row.cancel = row.cancel if row.cancel is not None else reason
        return CancelCode.REQUESTED
    row.cancel = reason
    store.end_outside(row, Status.CANCELLED, ttl)
    return CancelCode.CANCELLED
