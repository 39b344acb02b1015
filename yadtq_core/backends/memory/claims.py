"""Claims and offers in memory: what claim.lua and offer.lua decide."""

from __future__ import annotations

from dataclasses import dataclass

from yadtq_core.backends.memory.store import MemoryStore, Row, worker_lost
from yadtq_core.backends.redis.script_io import OTHER_ARGUMENTS
from yadtq_core.model import ENDED, Answer, Delivery, Status, Verdict, WorkerIdentity

DONE = Answer(Verdict.DONE)
LATER = Answer(Verdict.LATER)
TOO_OLD = Answer(Verdict.TOO_OLD)
OFFERED = Answer(Verdict.OFFERED)


@dataclass(frozen=True, slots=True)
class Limits:
    """The backend's settings, in milliseconds."""

    lease: int
    grace: int
    check: int
    lost: int
    ttl: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Claims:
    """One call of `claim`."""

    store: MemoryStore
    limits: Limits
    worker: WorkerIdentity
    nonce: str
    nothing_stale: bool

    def one(self, delivery: Delivery) -> Answer:
        """Answer for one delivery."""
        row = self.store.row(delivery.message.id)
        if row is None:
            return self._rebuilt(delivery)
        if row.status in ENDED:
            return DONE
        if delivery.message.digest not in ("", row.digest):
            return OTHER_ARGUMENTS
        if row.status is Status.PROCESSING:
            return self._processing(row)
        return self._waiting(row)

    def _waiting(self, row: Row) -> Answer:
        store = self.store
        if row.status is Status.SCHEDULED and (row.deadline or 0) > store.now:
            return LATER
        if row.cancel is not None:
            store.end_outside(row, Status.CANCELLED, self.limits.ttl)
            return DONE
        return self._run(row, row.lost)

    def _rebuilt(self, delivery: Delivery) -> Answer:
        row = rebuilt(self.store, delivery, self.limits.ttl)
        return TOO_OLD if row is None else self._run(row, 0)

    def _processing(self, row: Row) -> Answer:
        store, lease = self.store, self.limits.lease
        if row.nonce == self.nonce:  # the same call again, because its reply was lost
            self._lease(row)
            return Answer(Verdict.RUN, row.fence, row.attempt, 0, row.lost, row.started_at or store.now)
        left = (row.deadline or 0) - store.now
        if left <= 0 and self.nothing_stale:
            left = lease
        if left > 0:
            return Answer(Verdict.BUSY, 0, row.attempt, left, row.lost)
        return self._taken_over(row)

    def _taken_over(self, row: Row) -> Answer:
        store = self.store
        if row.cancel is not None:
            store.end_outside(row, Status.CANCELLED, self.limits.ttl)
            return DONE
        store.remember_lost(row)
        if row.lost + 1 <= self.limits.lost:
            return self._run(row, row.lost + 1)
        return poisoned(store, row, self.limits)

    def _run(self, row: Row, lost: int) -> Answer:
        store = self.store
        if row.incarnation != self.worker.incarnation:
            store.let_go(row.incarnation, row.id)
        row.status, row.lost = Status.PROCESSING, lost
        row.fence = max(store.now_us, row.fence + 1)
        row.attempt += 1
        row.nonce, row.worker_id, row.incarnation = self.nonce, self.worker.id, self.worker.incarnation
        row.started_at = store.now
        row.released, row.check, row.progress, row.note = False, None, None, None
        self._lease(row)
        return Answer(Verdict.RUN, row.fence, row.attempt, 0, lost, row.started_at)

    def _lease(self, row: Row) -> None:
        row.deadline = self.store.now + self.limits.lease
        self.store.look_at(row, row.deadline)
        self.store.held[self.worker.incarnation][row.id] = row.fence


@dataclass(frozen=True, slots=True)
class Offers:
    """One call of `offer`: a claim with a lease of nothing."""

    store: MemoryStore
    limits: Limits

    def one(self, delivery: Delivery) -> Answer:
        """Answer for one delivery."""
        store, row = self.store, self.store.row(delivery.message.id)
        if row is None:
            row = rebuilt(store, delivery, self.limits.ttl)
            return TOO_OLD if row is None else self._offered(row)
        if row.status in ENDED:
            return DONE
        left = (row.deadline or 0) - store.now
        if row.status is Status.PROCESSING and left > 0:
            return Answer(Verdict.BUSY, 0, row.attempt, left, row.lost)
        if row.status is Status.SCHEDULED and left > 0:
            return LATER
        if row.cancel is not None:
            store.end_outside(row, Status.CANCELLED, self.limits.ttl)
            return DONE
        return self._lease_over(row) if row.status is Status.PROCESSING else self._due(row)

    def _lease_over(self, row: Row) -> Answer:
        """The fence stays, so that the lost worker's outcome still counts until somebody claims."""
        self.store.remember_lost(row)
        if row.lost + 1 > self.limits.lost:
            return poisoned(self.store, row, self.limits)
        row.lost += 1
        return self._offered(row)

    def _due(self, row: Row) -> Answer:
        if row.status is Status.SCHEDULED:
            row.fence += 1
        return self._offered(row)

    def _offered(self, row: Row) -> Answer:
        row.status, row.released = Status.QUEUED, True
        self.store.look_at(row, self.store.now)
        return OFFERED


def rebuilt(store: MemoryStore, delivery: Delivery, ttl: int) -> Row | None:
    """Return the row that a message makes anew; None where it may have run and expired."""
    message = delivery.message
    if store.too_old(message.submitted_at_ms, ttl):
        return None
    row = Row(
        message.id,
        message.task,
        message.queue,
        message.digest,
        message.submitted_at_ms or store.now,
        Status.QUEUED,
        position=delivery.position or None,
    )
    store.rows[row.id] = row
    store.messages[row.id] = delivery.body
    return row


def poisoned(store: MemoryStore, row: Row, limits: Limits) -> Answer:
    """End a record whose workers were lost once more than is allowed."""
    row.lost += 1
    attempt = row.attempt
    store.end_outside(row, Status.FAILED, limits.ttl, worker_lost(row.lost))
    return Answer(Verdict.POISON, 0, attempt, 0, row.lost)
