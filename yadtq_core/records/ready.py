"""The rules of records that wait for a free slot: take, and recover from the log."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from yadtq_core.model import Delivery, Status
from yadtq_core.model.terms import HEADS, TAKE_BYTES, TAKEN_MS
from yadtq_core.records.batch import RecordBatch, messages
from yadtq_core.records.indexes import ALL, ready, scores, waiting
from yadtq_core.records.moment import Moment, make_ready
from yadtq_core.records.record import StoredRecord
from yadtq_core.records.store import Transaction
from yadtq_core.wire.envelope import delivery_of


class Taking:
    """One call of `take`: all its queues share one budget of bytes."""

    def __init__(self, tx: Transaction, moment: Moment, elsewhere: Collection[str]) -> None:
        self._tx = tx
        self._moment = moment
        self._elsewhere = elsewhere
        self._left = TAKE_BYTES

    def take(self, queue: str, wanted: int) -> list[Delivery]:
        """Take the longest ready records of a queue, at most `wanted`."""
        ids = self._tx.first(ready(queue), *ALL, HEADS)
        batch = RecordBatch(self._tx, self._moment, ids)
        found: list[Delivery] = []

        def one(record: StoredRecord | None, task_id: str, _: Moment) -> None:
            if record is None or record.status is not Status.QUEUED or not record.released:
                batch.reindex([task_id])  # another version of yadtq has left it in the wrong index
            elif record.task in self._elsewhere:
                record.due = self._moment.now  # behind the others
            elif len(found) < wanted and self._left > 0:
                found.extend(self._taken(record))

        batch.each(ids, one, batch.postpone)
        batch.write()
        return found

    def _taken(self, record: StoredRecord) -> list[Delivery]:
        """Move a record out of `ready`; return nothing if its message does not fit or cannot be read."""
        body = messages(self._tx, [record.id]).get(record.id, b"")
        delivery = delivery_of(body, record.submitted_at)
        if delivery is None:
            record.due = self._moment.now  # left to a worker of a newer version, behind the others
            return []
        if len(body) > self._left < TAKE_BYTES:
            self._left = 0
            return []
        self._left -= len(body)
        record.taken, record.due = True, self._moment.now + TAKEN_MS
        return [delivery]


def in_log(tx: Transaction, queue: str, ranges: Sequence[tuple[int, int, int]]) -> list[str]:
    """Return IDs of what wait in these parts of the log (partition, first offset, offset after the last)."""
    found: list[str] = []
    for partition, first, end in ranges:
        found += tx.first(waiting(queue), *scores(partition, first, end), HEADS - len(found))
    return found


def recover(record: StoredRecord | None, _: str, moment: Moment) -> bool:
    """Make a record ready whose message no consumer receives; return whether it waited for it."""
    if record is None or not record.unclaimed:
        return False
    make_ready(record, moment)
    return True
