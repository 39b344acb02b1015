"""The time of one call and the limits of its backend, and the steps that several rules share.

Every rule is a function of a record, what was asked, and the moment. It reads no clock and no store.
"""

from __future__ import annotations

from typing import NamedTuple

from yadtq_core.model import Attempt, Error, Status
from yadtq_core.model.terms import FIRST_MS, HISTORY, worker_lost
from yadtq_core.records.record import StoredRecord

LOST = "worker lost"


class Limits(NamedTuple):
    """The settings of a backend; durations in milliseconds."""

    lease: int
    grace: int
    lost: int
    ttl: int
    unknown: int


class Moment(NamedTuple):
    """The store's clock at the beginning of a call, and the limits."""

    us: int
    now: int
    """The same in milliseconds."""
    limits: Limits


def end(record: StoredRecord, status: Status, moment: Moment) -> None:
    """End a record. A failed one stays due until its dead letter is acknowledged."""
    record.status, record.finished_at = status, moment.now
    forget_run(record)
    if status is Status.FAILED:
        record.due = moment.now
    else:
        expire(record, moment)


def expire(record: StoredRecord, moment: Moment) -> None:
    """Keep an ended record for the result TTL from now on; it needs no sweep and no message any more."""
    record.due, record.expires_at = None, moment.now + moment.limits.ttl


def end_outside(record: StoredRecord, status: Status, moment: Moment, error: Error | None = None) -> None:
    """End a record from outside its run. The higher fence refuses a late outcome of the run."""
    record.fence += 1
    record.error, record.progress = error, None
    end(record, status, moment)


def forget_run(record: StoredRecord) -> None:
    """Clear what belongs to a run that is over, and to the message that brought it."""
    record.nonce = record.incarnation = record.deadline = record.position = record.note = None
    record.lost_fence = record.unknown_since = None
    record.released = record.taken = False


def remember(record: StoredRecord, worker_id: str, reason: str, ended_at: int) -> None:
    """Add a run that did not end the record to its history."""
    record.history.append(Attempt(record.attempt or 1, worker_id, ended_at / 1000, reason[:200]))
    del record.history[:-HISTORY]


def lose_run(record: StoredRecord, moment: Moment) -> None:
    """Count a run whose lease has ended as lost. Past the limit the record fails: `record.ended` is then true.

    Until the next claim the run may still report: `found_alive` takes the count back.
    """
    ended_at = moment.now if record.deadline is None else record.deadline
    remember(record, record.worker_id or "", LOST, ended_at)
    record.lost += 1
    record.lost_fence = record.fence
    if record.lost > moment.limits.lost:
        end_outside(record, Status.FAILED, moment, worker_lost(record.lost))


def found_alive(record: StoredRecord) -> None:
    """Take back the loss of the current run if one was counted: its worker was only late."""
    if record.lost_fence != record.fence:
        return
    record.lost_fence = None
    record.lost -= 1
    if record.history and record.history[-1].reason == LOST:
        del record.history[-1]


def make_ready(record: StoredRecord, moment: Moment, *, since: int | None = None, first: bool = False) -> None:
    """Let a record wait for a free slot of any worker of its queue, from now on or `since` a time.

    first: it was taken from a worker, and comes before every delay and retry.
    """
    record.status, record.released, record.taken = Status.QUEUED, True, False
    record.due = moment.now - FIRST_MS if first else moment.now if since is None else since
