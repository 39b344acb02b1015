"""Sweeps in memory: what sweep.lua decides."""

from __future__ import annotations

from dataclasses import dataclass

from yadtq_core.backends.memory.claims import Limits
from yadtq_core.backends.memory.store import MemoryStore, Row, worker_lost
from yadtq_core.backends.redis.decoding import delivery_of
from yadtq_core.model import Due, Status

SOON = 1000
"""Milliseconds: what was released waits for a free slot only, and is looked at so often."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One call of `sweep`. `leave`: released ones that come without a message stay due for whoever has room."""

    store: MemoryStore
    limits: Limits
    with_messages: int
    leave: bool

    def one(self, number: int, task_id: str) -> Due | None:
        """Look at one that was due; None where there is nothing to do."""
        store, row = self.store, self.store.row(task_id)
        if row is None or row.status in (Status.SUCCESS, Status.CANCELLED):
            store.close(task_id)
            return None
        if row.status in (Status.PROCESSING, Status.SCHEDULED) and (row.deadline or 0) > store.now:
            store.look_at(row, row.deadline or 0)
            return None
        if row.status is Status.FAILED:
            return self._handed(number, row, was_released=False)
        if row.cancel is not None:
            store.end_outside(row, Status.CANCELLED, self.limits.ttl)
            return None
        if row.status is Status.PROCESSING:
            return self._stale(number, row)
        if row.status is Status.SCHEDULED:
            row.status, row.deadline = Status.QUEUED, None
            row.fence += 1
        return self._handed(number, row, was_released=row.released)

    def _stale(self, number: int, row: Row) -> Due | None:
        """The fence stays: a late extend or finish with it is accepted until somebody claims."""
        self.store.remember_lost(row)
        row.lost += 1
        if row.lost > self.limits.lost:
            self.store.end_outside(row, Status.FAILED, self.limits.ttl, worker_lost(row.lost))
            return self._handed(number, row, was_released=False, reclaimed=True)
        was_released, row.released, row.status = row.released, True, Status.QUEUED
        return self._handed(number, row, was_released=was_released, reclaimed=True)

    def _handed(self, number: int, row: Row, *, was_released: bool, reclaimed: bool = False) -> Due | None:
        store, queued, mine = self.store, row.status is Status.QUEUED, number < self.with_messages
        if self.leave and queued and was_released and not mine:
            return None
        store.look_at(row, store.now + (SOON if queued and (was_released or reclaimed) else self.limits.grace))
        wanted = mine or not row.position or row.status is Status.FAILED
        body = store.messages.get(row.id, b"") if wanted else b""
        return Due(
            id=row.id,
            task=row.task,
            queue=row.queue,
            status=row.status,
            position=row.position or "",
            delivery=delivery_of(body, row.submitted_at),
            reclaimed=reclaimed,
        )
