"""The backend in memory (`interfaces.Backend`): every method holds one lock, so that it is one script call."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence

from yadtq_core.backends.memory.claims import Claims, Limits, Offers
from yadtq_core.backends.memory.ends import cancelled, extended, finished, released
from yadtq_core.backends.memory.store import WAITERS, MemoryStore, Row, Window, ended
from yadtq_core.backends.memory.subscription import MemorySubscription
from yadtq_core.backends.memory.sweeps import SOON, Sweep
from yadtq_core.backends.redis.decoding import delivery_of, greatest_loss
from yadtq_core.backends.redis.script_io import milliseconds
from yadtq_core.errors import ConfigurationRefused
from yadtq_core.model import (
    ENDED,
    Answer,
    CancelCode,
    Counts,
    CreateCode,
    Created,
    Delivery,
    Due,
    Epoch,
    ExtendCode,
    Finding,
    FinishCode,
    Heartbeat,
    Hold,
    Outcome,
    Past,
    Record,
    Release,
    Reset,
    Status,
    Submission,
    WorkerIdentity,
    WorkerRow,
    WorkerStats,
    ok,
)
from yadtq_core.settings import Settings, masked_url

LONGEST_CHECK = 30 * 60 * 1000
LISTED = 3600 * 1000
EPOCHS = 50

_stores: dict[tuple[str, str], MemoryStore] = {}
"""By address and namespace: what a client and a worker of one process share. The one state of a module: a memory that
ended with its last user would forget its results when a client is closed."""


def open(settings: Settings) -> MemoryBackend:  # noqa: A001  (what every implementation's factory is called)
    """Return the backend at `settings.backend`; all that this process opens there share their records.

    Raises ConfigurationRefused where the broker is not in memory too.
    """
    if not settings.broker.startswith("memory://"):
        raise ConfigurationRefused(
            f"broker {masked_url(settings.broker)} with backend {settings.backend}: memory lives in one process and "
            "ends with it; use memory:// for both or for neither"
        )
    store = _stores.setdefault((settings.backend, settings.namespace), MemoryStore())
    return MemoryBackend(
        store,
        lease=settings.claim_stale_seconds,
        publish_grace=settings.publish_grace,
        queue_check=settings.queue_check,
        lost_limit=settings.lost_limit,
        result_ttl=settings.result_ttl,
        unknown_task_ttl=settings.unknown_task_ttl,
    )


class MemoryBackend:
    """`interfaces.Backend` in this process. Durations are seconds; `Settings` says what they mean."""

    def __init__(
        self,
        store: MemoryStore,
        *,
        lease: float = 15.0,
        publish_grace: float = 10.0,
        queue_check: float = 60.0,
        lost_limit: int = 3,
        result_ttl: float = 86400.0,
        unknown_task_ttl: float = 86400.0,
    ) -> None:
        self._store = store
        self._limits = Limits(
            lease=milliseconds(lease),
            grace=milliseconds(publish_grace),
            check=milliseconds(queue_check),
            lost=lost_limit,
            ttl=milliseconds(result_ttl),
            unknown=milliseconds(unknown_task_ttl),
        )

    def create(self, submissions: Sequence[Submission]) -> Sequence[Created]:
        """Write the record of each."""
        with self._store.lock:
            self._store.epoch.born = self._store.epoch.born or self._store.now
            return [self._created(submission) for submission in submissions]

    def _created(self, submission: Submission) -> Created:
        store, message = self._store, submission.message
        row = store.row(message.id)
        if row is not None:
            code = CreateCode.EXISTS if row.digest == message.digest else CreateCode.CONFLICT
            return Created(code, row.submitted_at, row.status, published=bool(row.position))
        delay = milliseconds(submission.delay)
        status = Status.SCHEDULED if delay else Status.QUEUED
        row = Row(message.id, message.task, message.queue, message.digest, store.now, status)
        row.deadline = row.submitted_at + delay if delay else None  # one clock, read once: as Redis does
        store.rows[row.id], store.messages[row.id] = row, submission.body
        store.look_at(row, row.submitted_at + (delay or self._limits.grace))
        return Created(CreateCode.NEW, row.submitted_at, status, published=False)

    def confirm(self, positions: Sequence[tuple[str, str]]) -> None:
        """Store where messages stand."""
        with self._store.lock:
            for task_id, position in positions:
                row = self._store.row(task_id)
                # Not of a scheduled one: its retry has cleared the position, and this is the old message's.
                if row is not None and row.status in (Status.QUEUED, Status.PROCESSING):
                    if row.status is Status.QUEUED:
                        self._store.look_at(row, self._store.now + self._wait_of(row, position))
                    row.position = position

    def _wait_of(self, row: Row, position: str) -> int:
        """A released record is looked at often, a waiting one ever more seldom while its message is the same."""
        if row.released:
            return SOON
        if row.position != position:
            row.check = None
            return self._limits.check
        row.check = min(2 * (row.check or self._limits.check), max(LONGEST_CHECK, self._limits.check))
        return row.check

    def claim(
        self, deliveries: Sequence[Delivery], worker: WorkerIdentity, nonce: str, *, nothing_stale: bool = False
    ) -> Sequence[Answer]:
        """Ask for the right to run each."""
        with self._store.lock:
            claims = Claims(self._store, self._limits, worker, nonce, nothing_stale)
            return [claims.one(delivery) for delivery in deliveries]

    def offer(self, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
        """Leave each to whoever has a free slot."""
        with self._store.lock:
            offers = Offers(self._store, self._limits)
            return [offers.one(delivery) for delivery in deliveries]

    def extend(self, holds: Sequence[Hold], worker: WorkerIdentity) -> Sequence[ExtendCode]:
        """Extend leases; the fence alone says whose they are."""
        with self._store.lock:
            return [extended(self._store, hold, self._limits.lease) for hold in holds]

    def finish(self, outcomes: Sequence[Outcome], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Write how runs ended."""
        with self._store.lock:
            return [finished(self._store, outcome, worker, self._limits.ttl) for outcome in outcomes]

    def release(self, releases: Sequence[Release], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Give records back."""
        with self._store.lock:
            return [released(self._store, each, worker, self._limits) for each in releases]

    def held(self, worker: WorkerIdentity) -> Sequence[Hold]:
        """Return what this incarnation holds."""
        with self._store.lock:
            return [Hold(task_id, fence) for task_id, fence in self._store.held[worker.incarnation].items()]

    def sweep(self, limit: int, with_messages: int) -> tuple[int, Sequence[Due]]:
        """Return what is due, the longest due first."""
        store = self._store
        with store.lock:
            now = store.now
            due = sorted((when, task_id) for task_id, when in store.open.items() if when <= now)[:limit]
            sweep = Sweep(store, self._limits, with_messages, leave=len(due) < limit)
            found = [sweep.one(number, task_id) for number, (_, task_id) in enumerate(due)]
            return now, [each for each in found if each is not None]

    def messages(self, ids: Sequence[str]) -> Sequence[Delivery | None]:
        """Return the kept messages."""
        with self._store.lock:
            return [self._message(task_id) for task_id in ids]

    def _message(self, task_id: str) -> Delivery | None:
        row = self._store.row(task_id)
        return delivery_of(self._store.messages.get(task_id, b""), row.submitted_at if row else 0)

    def buried(self, ids: Sequence[str]) -> None:
        """Drop message and `open` entry of failed ones; the record expires from now on."""
        with self._store.lock:
            for task_id in ids:
                row = self._store.row(task_id)
                if row is None or row.status is Status.FAILED:
                    self._store.close(task_id)
                    if row is not None:
                        row.expires_at = self._store.now + self._limits.ttl

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """Return the records."""
        with self._store.lock:
            rows = [self._store.row(task_id) for task_id in ids]
            return [row.record() if row else None for row in rows]

    def resets(self, ids: Sequence[str]) -> Sequence[Reset | None]:
        """Return the greatest recent loss: of one shard, so the same for all."""
        store = self._store
        with store.lock:
            windows = [(past.from_ms, past.begins, past.ends) for past in store.epoch.past]
            return [greatest_loss(windows, store.now - self._limits.ttl)] * len(ids)

    def cancel(self, ids: Sequence[str], reason: str) -> Sequence[CancelCode]:
        """End what has not started; mark what runs. The reason becomes the record's note."""
        with self._store.lock:
            return [cancelled(self._store, task_id, reason, self._limits.ttl) for task_id in ids]

    def watch(self, ids: Sequence[str], channel: str) -> Sequence[bool]:
        """Push each ID to `channel` when it ends; the last four who ask for one record are told."""
        with self._store.lock:
            rows = [self._store.row(task_id) for task_id in ids]
            for row in rows:
                if row is not None and not ended(row):
                    others = [other for other in row.waiters if other != channel]
                    row.waiters = [channel, *others][:WAITERS]
            return [row is None or ended(row) for row in rows]

    def subscribe(self) -> MemorySubscription:
        """Open a channel of one's own for `watch`."""
        subscription = MemorySubscription(lambda channel: self._store.channels.pop(channel, None))
        self._store.channels[subscription.channel] = subscription
        return subscription

    def counts(self) -> Counts:
        """Return how many records there are by status; the unfinished ones are counted here and now."""
        with self._store.lock:
            queues: dict[str, Counter[str]] = {}
            for row in self._store.rows.values():
                if row.status not in ENDED:
                    queues.setdefault(row.queue, Counter())[row.status.value] += 1
            return Counts({queue: dict(by) for queue, by in queues.items()}, dict(self._store.ended))

    def heartbeat(self, worker: WorkerIdentity, stats: WorkerStats, known: Sequence[Epoch]) -> Heartbeat:
        """Tell that the worker lives; there is one shard."""
        store = self._store
        with store.lock:
            store.workers[worker.id, worker.incarnation] = (worker, stats, store.now)
            for member, (identity, _, seen) in list(store.workers.items()):
                if seen <= store.now - LISTED:
                    del store.workers[member]
                    store.held.pop(identity.incarnation, None)
            return Heartbeat(store.now, (self._epoch(known[0] if known else None),))

    def _epoch(self, known: Epoch | None) -> Epoch:
        """Make a new epoch where writes may have been lost, adopt any other, raise the mark."""
        store, row = self._store, self._store.epoch
        row.born = row.born or store.now
        known_mark = known.mark_ms if known else 0
        behind = known is not None and row.id == known.id and row.mark < known_mark
        if not row.id or row.run_id != store.run_id or behind:
            since = row.mark if row.id else known_mark
            margin = 2 * self._limits.lease // 3
            begins, ends = (max(since - margin, 0), store.now) if row.id else (0, row.born)
            row.id, row.run_id = secrets.token_hex(8), store.run_id
            row.past = [*row.past, Window(row.id, since, begins, ends)][-EPOCHS:]
        row.mark = max(row.mark, store.now)
        return Epoch(row.id, row.mark, tuple(Past(past.id, past.from_ms) for past in row.past))

    def workers(self) -> Sequence[WorkerRow]:
        """Return the workers seen within the last hour, by name."""
        store = self._store
        with store.lock:
            rows = [
                WorkerRow(identity, stats, seen / 1000, online=self._online(stats, seen))
                for identity, stats, seen in store.workers.values()
                if store.now - seen <= LISTED
            ]
        return sorted(rows, key=lambda row: (row.identity.id, row.identity.incarnation))

    def _online(self, stats: WorkerStats, seen: int) -> bool:
        return self._store.now - seen < self._limits.lease and stats.state != "offline"

    def time_ms(self) -> int:
        """Return the store's clock."""
        return self._store.now

    def check(self) -> None:
        """Do nothing: it will do."""

    def findings(self) -> Sequence[Finding]:
        """Return that it lives as long as this process."""
        return [ok("backend", f"{len(self._store.rows)} records in this process's memory")]

    def close(self) -> None:
        """Do nothing: the records stay until the process ends."""
