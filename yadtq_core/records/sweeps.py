"""The rules of a record that is due, and of a failed one whose dead letter is acknowledged."""

from __future__ import annotations

from typing import NamedTuple

from yadtq_core.model import DELAYED, Due, Status
from yadtq_core.records.moment import Moment, end_outside, expire, lose_run, make_ready
from yadtq_core.records.record import StoredRecord


class Found(NamedTuple):
    """A record that a sweep tells its caller about: its worker was lost, it needs a dead letter, or both."""

    due: Due
    reclaimed: bool
    failed: bool


def sweep(record: StoredRecord | None, _: str, moment: Moment) -> Found | None:
    """Make a record that is due ready, or end it.

    The fence of an ended lease stays: a late extend or finish counts until another claim.
    """
    if record is None:
        return None
    timed = record.status is Status.PROCESSING or record.status in DELAYED
    if timed and (record.deadline or 0) > moment.now:  # an older yadtq that could not read it has postponed it
        return None
    if record.cancel is not None and not record.ended:
        end_outside(record, Status.CANCELLED, moment)
        return None
    reclaimed = record.status is Status.PROCESSING
    if reclaimed:
        lose_run(record, moment)
    since = record.deadline if record.status in DELAYED else None
    if since is not None:
        record.deadline = None
        record.fence += 1
    failed = record.status is Status.FAILED
    if failed:
        record.due = moment.now + moment.limits.grace
    elif not record.ended:
        make_ready(record, moment, since=since, first=since is None)
    return Found(Due(record.id, record.task, record.queue), reclaimed, failed) if reclaimed or failed else None


def buried(record: StoredRecord | None, _: str, moment: Moment) -> None:
    """The dead letter of a failed record is acknowledged: no sweep needs it any more."""
    if record is not None and record.status is Status.FAILED:
        expire(record, moment)
