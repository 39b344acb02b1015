"""The rules of a record that is due, and of a failed one whose dead letter is acknowledged."""

from __future__ import annotations

from typing import NamedTuple

from yadtq_core.model import DELAYED, Due, Status
from yadtq_core.model.terms import RELEASED_CHECK_MS
from yadtq_core.records.moment import Moment, end_outside, expire, lose_run
from yadtq_core.records.record import StoredRecord
from yadtq_core.wire.envelope import delivery_of


class Room(NamedTuple):
    """The room of a sweep for one record.

    message: its message comes along. leave: a released record without its message stays due for another worker.
    """

    message: bool
    leave: bool


class Swept(NamedTuple):
    """A record that the worker must look at; `reclaimed`: its lease had ended."""

    record: StoredRecord
    reclaimed: bool
    wants_message: bool

    def due(self, body: bytes) -> Due:
        """Return what the sweep answers; `body` is the message, empty if the record does not want it."""
        record = self.record
        return Due(
            id=record.id,
            task=record.task,
            queue=record.queue,
            status=record.status,
            position=record.position or "",
            delivery=delivery_of(body, record.submitted_at),
            reclaimed=self.reclaimed,
        )


def sweep(record: StoredRecord | None, room: Room, moment: Moment) -> Swept | None:
    """Move the due time of a record that is due; return it if the worker must look at it.

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
    was_released, reclaimed = record.released, record.status is Status.PROCESSING
    _requeue(record, moment)
    if room.leave and was_released and not room.message and not record.ended:
        return None
    record.due = moment.now + (RELEASED_CHECK_MS if record.released else moment.limits.grace)
    wants_message = room.message or not record.position or record.ended
    return Swept(record, reclaimed, wants_message)


def _requeue(record: StoredRecord, moment: Moment) -> None:
    if record.status is Status.PROCESSING:
        lose_run(record, moment)
        record.released = not record.ended
    elif record.status in DELAYED:
        record.deadline = None
        record.fence += 1
    if not record.ended:
        record.status = Status.QUEUED


def buried(record: StoredRecord | None, _: str, moment: Moment) -> None:
    """The dead letter of a failed record is acknowledged: no sweep needs it any more."""
    if record is not None and record.status is Status.FAILED:
        expire(record, moment)
