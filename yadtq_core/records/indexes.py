"""The four indexes of unfinished records. Each record is in at most one of them, and its fields alone say in which.

- `open`, by time: records that a sweep must look at. Their publication is not confirmed, they run (the end of the
  lease), they were taken and not claimed yet, they are to be cancelled, or they failed and need a dead letter.
- `scheduled`, by time: delays and retries.
- `ready:QUEUE`, by the time since when they are ready: they wait for a free slot, and are taken from the store.
- `waiting:QUEUE`, by partition and offset: they wait in the log for their first run.
"""

from __future__ import annotations

import re

from yadtq_core.model import DELAYED, Status
from yadtq_core.model.terms import OFFSETS, PARTITIONS
from yadtq_core.records.record import StoredRecord

OPEN, SCHEDULED = "open", "scheduled"
ALL = (0, PARTITIONS * OFFSETS)
"""The scores of all records of an index: from the first, below the second."""

_POSITION = re.compile(r"([0-9]{1,5}):([0-9]{1,12})")


def ready(queue: str) -> str:
    """Return the name of the index of this queue's ready records."""
    return f"ready:{queue}"


def waiting(queue: str) -> str:
    """Return the name of the index of the records that wait in this queue's log."""
    return f"waiting:{queue}"


def scores(partition: int, first: int = 0, end: int = OFFSETS) -> tuple[int, int]:
    """Return the scores of these offsets (`end` is not one of them) in `waiting`: the lowest, and the one after them.

    Both are equal if no record can wait there.
    """
    if not 0 <= partition < PARTITIONS:
        return 0, 0
    low, high = (partition * OFFSETS + min(max(offset, 0), OFFSETS) for offset in (first, end))
    return low, max(low, high)


def index_of(record: StoredRecord) -> tuple[str, int] | None:
    """Return the index of a record and its score there; None for an ended one that needs no dead letter any more."""
    if record.due is None:
        return None
    if record.status in DELAYED:
        return SCHEDULED, record.due
    if record.status is not Status.QUEUED or record.taken or record.cancel is not None:
        return OPEN, record.due
    if record.released:
        return ready(record.queue), record.due
    score = _waiting_score(record.position or "") if record.unclaimed else None
    return (OPEN, record.due) if score is None else (waiting(record.queue), score)


def _waiting_score(position: str) -> int | None:
    """Return the score of a position `PARTITION:OFFSET`; None for a text of another form, or too large a number."""
    found = _POSITION.fullmatch(position)
    if not found:
        return None
    partition, offset = int(found[1]), int(found[2])
    return partition * OFFSETS + offset if partition < PARTITIONS and offset < OFFSETS else None
