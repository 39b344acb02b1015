"""The backend on a store (`interfaces.Backend`): each call is one transaction, decided by the rules of this package."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from yadtq_core.model import (
    Answer,
    CancelCode,
    Counts,
    CreateCode,
    Created,
    Delivery,
    Epoch,
    ExtendCode,
    Finding,
    FinishCode,
    Heartbeat,
    Hold,
    Outcome,
    Placed,
    Record,
    Release,
    Reset,
    Status,
    Submission,
    Sweep,
    Taken,
    WorkerIdentity,
    WorkerRow,
    WorkerStats,
)
from yadtq_core.model.terms import LISTED_MS, damaged, milliseconds
from yadtq_core.records import claims, indexes, ready, runs, submits, sweeps
from yadtq_core.records.batch import RecordBatch, counts, messages
from yadtq_core.records.moment import Limits, Moment
from yadtq_core.records.record import StoredRecord
from yadtq_core.records.store import RecordStore, Transaction
from yadtq_core.records.subscription import StoreSubscription
from yadtq_core.records.workers import WorkerList
from yadtq_core.settings import Settings
from yadtq_core.wire.envelope import kept_body


class StoreBackend:
    """A complete backend on a `RecordStore`. Durations are seconds; `Settings` explains them."""

    def __init__(self, store: RecordStore, settings: Settings) -> None:
        self._store = store
        self._subscriptions: dict[str, StoreSubscription] = {}
        self._limits = Limits(
            lease=milliseconds(settings.claim_stale_seconds),
            grace=milliseconds(settings.publish_grace),
            lost=settings.lost_limit,
            ttl=milliseconds(settings.result_ttl),
            unknown=milliseconds(settings.unknown_task_ttl),
        )

    def create(
        self, submissions: Sequence[Submission], *, stream: Callable[[str, int], str | None] | None = None
    ) -> Sequence[Created]:
        """Write the record of each.

        stream: not used. A broker with streams shares the Redis of its backend, and refuses any other backend.
        """
        with self._batch([submission.message.id for submission in submissions]) as batch:
            batch.epoch.born = batch.epoch.born or batch.moment.now

            def rule(record: StoredRecord | None, submission: Submission, moment: Moment) -> Created:
                if record is not None:
                    return submits.created(record, submission)
                made = batch.add(submits.new_record(submission, moment), submission.body)
                return Created(CreateCode.NEW, made.submitted_at, made.status, published=False)

            conflict = Created(CreateCode.CONFLICT, 0, Status.FAILED, published=False)
            return batch.each(submissions, rule, lambda *_: conflict)

    def confirm(self, positions: Sequence[Placed]) -> None:
        """Store the positions of acknowledged messages."""
        with self._batch([placed.id for placed in positions]) as batch:
            batch.each(positions, submits.confirm, lambda *_: None)

    def claim(
        self, deliveries: Sequence[Delivery], worker: WorkerIdentity, nonce: str, *, nothing_stale: bool = False
    ) -> Sequence[Answer]:
        """Ask for the right to run each."""
        by = claims.Claimant(worker, nonce, nothing_stale)
        return self._claimed(deliveries, lambda record, one, moment: claims.claim(record, one, by, moment))

    def offer(self, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
        """Make each ready for a worker with a free slot."""
        return self._claimed(deliveries, lambda record, _, moment: claims.offer(record, moment))

    def _claimed(
        self, deliveries: Sequence[Delivery], rule: Callable[[StoredRecord, Delivery, Moment], Answer]
    ) -> list[Answer]:
        with self._batch([delivery.message.id for delivery in deliveries]) as batch:

            def or_rebuild(record: StoredRecord | None, delivery: Delivery, moment: Moment) -> Answer:
                if record is None and batch.epoch.too_old(delivery.message.submitted_at_ms, moment):
                    return claims.TOO_OLD
                return rule(record or batch.add(claims.rebuilt(delivery, moment), delivery.body), delivery, moment)

            return batch.each(deliveries, or_rebuild, claims.damaged)

    def ended(self, ids: Sequence[str]) -> Sequence[bool]:
        """Return True for each ID whose record has ended."""
        with self._store.transaction() as tx:
            return [record is not None and record.ended for record in self._read(tx, ids).records()]

    def extend(self, holds: Sequence[Hold], worker: WorkerIdentity) -> Sequence[ExtendCode]:
        """Extend leases; the fence alone says whose they are."""
        with self._batch([hold.id for hold in holds]) as batch:
            return batch.each(holds, runs.extend, lambda *_: ExtendCode.LOST)

    def finish(self, outcomes: Sequence[Outcome], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Write how runs ended."""
        with self._batch([outcome.id for outcome in outcomes]) as batch:
            return batch.each(outcomes, runs.finish, lambda *_: FinishCode.ERROR)

    def release(self, releases: Sequence[Release], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Requeue records without an outcome."""
        with self._batch([given.id for given in releases]) as batch:
            return batch.each(releases, partial(runs.release, worker.id), lambda *_: FinishCode.ERROR)

    def held(self, worker: WorkerIdentity) -> Sequence[Hold]:
        """Return what this incarnation holds."""
        with self._store.transaction() as tx:
            records = self._read(tx, tx.held(worker.incarnation)).records()
        return [Hold(record.id, record.queue, record.fence) for record in records if record is not None]

    def sweep(self, limit: int, queues: Sequence[str]) -> Sweep:
        """Look at what is due in `open`, then in `scheduled`, the longest due first."""
        with self._store.transaction() as tx:
            moment = self._moment()
            ids = list(tx.first(indexes.OPEN, 0, moment.now + 1, limit))
            ids += tx.first(indexes.SCHEDULED, 0, moment.now + 1, limit - len(ids))
            batch = RecordBatch(tx, moment, ids)
            batch.reindex(ids)
            found = [one for one in batch.each(ids, sweeps.sweep, batch.postpone) if one is not None]
            batch.write()
            return Sweep(
                moment.now,
                [one.due for one in found if one.reclaimed],
                [one.due for one in found if one.failed],
                self._ready(tx, queues),
                more=len(ids) == limit,
            )

    def take(self, wanted: Mapping[str, int], elsewhere: Collection[str]) -> Taken:
        """Take the longest ready records of each queue."""
        with self._store.transaction() as tx:
            taking = ready.Taking(tx, self._moment(), elsewhere)
            deliveries = [one for queue, most in wanted.items() for one in taking.take(queue, most)]
            return Taken(deliveries, self._ready(tx, wanted))

    def _ready(self, tx: Transaction, queues: Iterable[str]) -> dict[str, int]:
        return {queue: tx.size(indexes.ready(queue)) for queue in queues}

    def recover(self, queue: str, ranges: Sequence[tuple[int, int, int]], epochs: Sequence[Epoch]) -> int:
        """Make ready what waits in these parts of the log; a store is one shard."""
        with self._store.transaction() as tx:
            if [epoch.id for epoch in epochs] != [self._read(tx, ()).epoch.id]:
                return 0
            batch = self._read(tx, ready.in_log(tx, queue, ranges))
            batch.reindex(batch.ids)
            recovered = batch.each(batch.ids, ready.recover, batch.postpone)
            batch.write()
            return sum(map(bool, recovered))

    def highest(self, queue: str, partitions: Sequence[int]) -> Mapping[int, int]:
        """Return the highest offset at which a record waits in each partition."""
        with self._store.transaction() as tx:
            found = {one: tx.highest(indexes.waiting(queue), *indexes.scores(one)) for one in partitions}
        return {one: score - indexes.scores(one)[0] for one, score in found.items() if score is not None}

    def messages(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Return the bodies of the kept messages."""
        with self._store.transaction() as tx:
            records, bodies = self._read(tx, ids).records(), messages(tx, ids)
        times = [record.submitted_at if record else 0 for record in records]
        return [kept_body(bodies.get(task_id, b""), time) for task_id, time in zip(ids, times, strict=True)]

    def buried(self, ids: Sequence[str]) -> None:
        """Drop the messages of failed records; the records expire from now on."""
        with self._batch(ids) as batch:
            batch.each(ids, sweeps.buried, lambda *_: None)

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """Return the records."""
        with self._store.transaction() as tx:
            return self._read(tx, ids).each(ids, lambda record, *_: record.shown() if record else None, damaged)

    def resets(self, ids: Sequence[str]) -> Sequence[Reset | None]:
        """Return the greatest recent loss: a store is one shard, so it is the same for all."""
        with self._store.transaction() as tx:
            batch = self._read(tx, ())
            return [batch.epoch.reset(batch.moment)] * len(ids)

    def cancel(self, ids: Sequence[str], reason: str) -> Sequence[CancelCode]:
        """End what has not started; mark what runs. The reason becomes the record's note."""
        with self._batch(ids) as batch:
            return batch.each([reason] * len(ids), submits.cancel, lambda *_: CancelCode.ENDED)

    def watch(self, ids: Sequence[str], channel: str) -> Sequence[bool]:
        """Report the end of each ID to the subscription with this channel; True for one that has ended already."""
        subscription = self._subscriptions.get(channel)
        ended = subscription.watch(ids) if subscription else self._ended(ids)
        return [task_id in ended for task_id in ids]

    def _ended(self, ids: Sequence[str]) -> set[str]:
        """Return those of these IDs that have ended or do not exist."""
        with self._store.transaction() as tx:
            records = self._read(tx, ids).records()
        return {task_id for task_id, record in zip(ids, records, strict=True) if record is None or record.ended}

    def subscribe(self) -> StoreSubscription:
        """Open a channel for `watch`."""
        self._store.now_us()  # raises if the store cannot be reached: one that does not push has not been asked yet
        subscription = StoreSubscription(
            self._store.listen(), self._ended, lambda channel: self._subscriptions.pop(channel, None)
        )
        self._subscriptions[subscription.channel] = subscription
        return subscription

    def counts(self) -> Counts:
        """Return how many records there are by status."""
        with self._store.transaction() as tx:
            return counts(tx)

    def heartbeat(self, worker: WorkerIdentity, stats: WorkerStats, known: Sequence[Epoch]) -> Heartbeat:
        """Record that the worker lives; a store is one shard."""
        with self._batch(()) as batch:
            moment = batch.moment
            WorkerList(batch.tx, moment).beat(worker, stats)
            batch.tx.purge(moment.now)
            epoch = batch.epoch.beat(known[0] if known else None, self._store.run_id, moment)
            return Heartbeat(moment.now, (epoch,))

    def workers(self, *, online: bool = False) -> Sequence[WorkerRow]:
        """Return the workers seen within the last hour, by name. `online`: read and return only those online now."""
        with self._store.transaction() as tx:
            rows = WorkerList(tx, self._moment())
            return rows.online() if online else rows.within(LISTED_MS)

    def time_ms(self) -> int:
        """Return the store's clock."""
        return self._store.now_us() // 1000

    def check(self) -> None:
        """Raise unless the store can be reached and used."""
        self._store.check()

    def findings(self) -> Iterable[Finding]:
        """Yield what `yadtq doctor` reports about the store."""
        return self._store.findings()

    def close(self) -> None:
        """Close the store. Never raises."""
        self._store.close()

    def _moment(self) -> Moment:
        us = self._store.now_us()
        return Moment(us, us // 1000, self._limits)

    def _read(self, tx: Transaction, ids: Sequence[str]) -> RecordBatch:
        return RecordBatch(tx, self._moment(), ids)

    @contextmanager
    def _batch(self, ids: Sequence[str]) -> Iterator[RecordBatch]:
        """Begin a transaction on these records; write at its end what has changed of them."""
        with self._store.transaction() as tx:
            batch = self._read(tx, ids)
            yield batch
            batch.write()
