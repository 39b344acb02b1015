"""The backend on Redis or Valkey: each method is one call of a Lua script for each shard and 200 IDs.

What the scripts decide, and why, is in the design's protocol; keys and fields are in `keys.py`, arguments and
answers in `script_io.py`. This file sorts IDs by
shard, sends, and puts the answers back into the order of the question.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from yadtq_core.backends.redis import checks, script_io, scripts
from yadtq_core.backends.redis.decoding import (
    counts_of,
    epoch_of,
    record_of,
    reset_of,
    worker_fields,
    worker_of,
)
from yadtq_core.backends.redis.keys import Keys, ShardKeys
from yadtq_core.errors import YadtqError
from yadtq_core.model import (
    Answer,
    CancelCode,
    Counts,
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
    Record,
    Release,
    Reset,
    Submission,
    WorkerIdentity,
    WorkerRow,
    WorkerStats,
    shard_of,
)
from yadtq_core.net.redis_client import Listener, Store, open_store
from yadtq_core.net.redis_errors import ServerError, server_text
from yadtq_core.net.redis_scripts import BATCH, Script, ScriptCall, evaluate
from yadtq_core.records.terms import damaged, milliseconds
from yadtq_core.settings import Settings

log = logging.getLogger("yadtq.backend")

LONGEST_CHECK_MS = 30 * 60 * 1000
"""A waiting record's message is looked for at least so often."""
RELEASED_CHECK_MS = 1000
"""What was released, offered or reclaimed waits for a free slot only: a sweep looks at it every second."""
LISTED_MS = 3600 * 1000
"""A worker that is gone is listed for so long."""
ROW_MS = 2 * LISTED_MS
"""A worker's row outlives its place in the list, so that what is listed has a row."""
READ_AT_ONCE = 500
MAX_BYTES = 8 * 1024 * 1024
"""Of messages in one call."""

T = TypeVar("T")


def open(settings: Settings) -> RedisBackend:  # noqa: A001  (what every implementation's factory is called)
    """Return the backend at `settings.backend`; connects when it is first used.

    Raises InvalidSetting for an address that cannot be used, ConfigurationRefused for a file of it.
    """
    store = open_store(settings.backend, password=settings.backend_password)
    for warning in store.warnings():
        log.warning("%s", warning)
    return RedisBackend(
        store,
        namespace=settings.namespace,
        shards=settings.shards,
        lease=settings.claim_stale_seconds,
        publish_grace=settings.publish_grace,
        queue_check=settings.queue_check,
        lost_limit=settings.lost_limit,
        result_ttl=settings.result_ttl,
        unknown_task_ttl=settings.unknown_task_ttl,
    )


class _Batch(NamedTuple):
    """IDs of one shard, and where they stood in what was asked."""

    keys: ShardKeys
    indexes: Sequence[int]
    ids: Sequence[str]

    def of(self, asked: Sequence[T]) -> Sequence[T]:
        """Return what was asked about these IDs."""
        return [asked[index] for index in self.indexes]


class RedisBackend:
    """`interfaces.Backend` on one Redis or Valkey. Durations are seconds; `Settings` says what they mean."""

    def __init__(
        self,
        store: Store,
        *,
        namespace: str,
        shards: int = 1,
        lease: float = 15.0,
        publish_grace: float = 10.0,
        queue_check: float = 60.0,
        lost_limit: int = 3,
        result_ttl: float = 86400.0,
        unknown_task_ttl: float = 86400.0,
    ) -> None:
        self._store = store
        self._namespace = namespace
        self._keys = Keys(namespace, shards)
        self._lease_ms = milliseconds(lease)
        self._grace_ms = milliseconds(publish_grace)
        self._check_ms = milliseconds(queue_check)
        self._lost_limit = lost_limit
        self._ttl_ms = milliseconds(result_ttl)
        self._unknown_ms = milliseconds(unknown_task_ttl)

    def create(self, submissions: Sequence[Submission]) -> Sequence[Created]:
        """Write the record of each. Where a damaged record stands: CONFLICT, with status `failed`."""

        def call(batch: _Batch) -> ScriptCall:
            keys, ids = batch.keys, batch.ids
            names = [keys.open, keys.counts, keys.epoch, *keys.tasks(ids), *keys.messages(ids)]
            return ScriptCall(
                scripts.CREATE, names, [self._grace_ms, *script_io.submissions_out(batch.of(submissions))]
            )

        return self._answered([each.message.id for each in submissions], call, script_io.created_in)

    def confirm(self, positions: Sequence[tuple[str, str]]) -> None:
        """Store where messages stand; a queued record is looked at after the queue check, or its double."""
        ids = [task_id for task_id, _ in positions]
        limits = [self._check_ms, max(LONGEST_CHECK_MS, self._check_ms), RELEASED_CHECK_MS]

        def call(batch: _Batch) -> ScriptCall:
            names = [batch.keys.open, *batch.keys.tasks(batch.ids)]
            return ScriptCall(scripts.CONFIRM, names, [*limits, *(place for _, place in batch.of(positions))])

        self._asked(ids, call)

    def claim(
        self, deliveries: Sequence[Delivery], worker: WorkerIdentity, nonce: str, *, nothing_stale: bool = False
    ) -> Sequence[Answer]:
        """Ask for the right to run each. Messages are sent only for those whose record is missing."""
        limits = [self._lease_ms, self._lost_limit, self._ttl_ms, int(nothing_stale)]
        head = [nonce, worker.id, worker.incarnation, *limits]

        def keys(shard: ShardKeys) -> list[str]:
            return [shard.open, shard.counts, shard.held + worker.incarnation, shard.epoch]

        return self._claimed(scripts.CLAIM, deliveries, keys, head)

    def offer(self, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
        """Leave each to whoever has a free slot."""

        def keys(shard: ShardKeys) -> list[str]:
            return [shard.open, shard.counts, shard.epoch]

        return self._claimed(scripts.OFFER, deliveries, keys, [self._lost_limit, self._ttl_ms])

    def extend(self, holds: Sequence[Hold], worker: WorkerIdentity) -> Sequence[ExtendCode]:
        """Extend leases; the fence alone says whose they are."""

        def call(batch: _Batch) -> ScriptCall:
            names = [batch.keys.open, batch.keys.counts, *batch.keys.tasks(batch.ids)]
            return ScriptCall(scripts.EXTEND, names, [self._lease_ms, *script_io.holds_out(batch.of(holds))])

        return self._answered([hold.id for hold in holds], call, script_io.extended_in)

    def finish(self, outcomes: Sequence[Outcome], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Write how runs ended."""

        def call(batch: _Batch) -> ScriptCall:
            keys, ids = batch.keys, batch.ids
            held = keys.held + worker.incarnation
            names = [keys.open, keys.counts, held, *keys.tasks(ids), *keys.messages(ids)]
            head = [worker.incarnation, self._ttl_ms]
            return ScriptCall(scripts.FINISH, names, head + script_io.outcomes_out(batch.of(outcomes)))

        return self._answered([outcome.id for outcome in outcomes], call, script_io.finished_in)

    def release(self, releases: Sequence[Release], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Give records back. The same release again is OK again: its fence is one below the record's."""

        def call(batch: _Batch) -> ScriptCall:
            names = [batch.keys.open, batch.keys.counts, batch.keys.held + worker.incarnation]
            head = [worker.incarnation, self._lost_limit, self._unknown_ms]
            arguments = head + script_io.releases_out(batch.of(releases), worker.id)
            return ScriptCall(scripts.RELEASE, names + batch.keys.tasks(batch.ids), arguments)

        return self._answered([each.id for each in releases], call, script_io.finished_in)

    def held(self, worker: WorkerIdentity) -> Sequence[Hold]:
        """Return what this incarnation holds, as far as the store knows: a hint, the fences decide."""
        names = [shard.held + worker.incarnation for shard in self._keys.shards]
        found = self._read([("HGETALL", name) for name in names])
        return [
            Hold(task_id.decode(), int(fence))
            for fields in found
            if isinstance(fields, dict)
            for task_id, fence in fields.items()
        ]

    def sweep(self, limit: int, with_messages: int) -> tuple[int, Sequence[Due]]:
        """Return what is due. A damaged record is passed over for half an hour: `get` says what is wrong with it."""
        shards = self._keys.shards
        due = evaluate(self._store, [ScriptCall(scripts.DUE, [shard.open], [limit]) for shard in shards])
        ids = [task_id.decode() for answer in due for task_id in answer[1:]]
        leave = int(len(ids) < limit)
        limits = [self._grace_ms, self._lost_limit, self._ttl_ms, LONGEST_CHECK_MS, RELEASED_CHECK_MS, leave]
        budget = with_messages

        def call(batch: _Batch) -> ScriptCall:
            nonlocal budget
            keys = batch.keys
            names = [keys.open, keys.counts, *keys.tasks(batch.ids), *keys.messages(batch.ids)]
            granted = max(0, min(budget, len(batch.ids)))
            budget -= granted
            return ScriptCall(scripts.SWEEP, names, [*limits, granted])

        found: list[Due] = []
        for batch, answer in self._asked(ids, call):
            self._forget(batch.keys, answer[0])
            found += [due for due in script_io.due_in(batch.ids, answer) if due is not None]
        return due[0][0], found

    def messages(self, ids: Sequence[str]) -> Sequence[Delivery | None]:
        """Return the kept messages."""

        def call(batch: _Batch) -> ScriptCall:
            return ScriptCall(scripts.MESSAGES, batch.keys.tasks(batch.ids) + batch.keys.messages(batch.ids), [])

        return self._answered(ids, call, script_io.messages_in)

    def buried(self, ids: Sequence[str]) -> None:
        """Drop message and `open` entry; the record expires from now on."""

        def call(batch: _Batch) -> ScriptCall:
            keys = batch.keys
            names = [keys.open, *keys.tasks(batch.ids), *keys.messages(batch.ids)]
            return ScriptCall(scripts.BURIED, names, [self._ttl_ms])

        self._asked(ids, call)

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """Return the records."""
        shards = self._keys.shards
        found = self._read([("HGETALL", shards[shard_of(each, len(shards))].task + each) for each in ids])
        return [
            damaged(task_id, server_text(fields)) if isinstance(fields, ServerError) else record_of(task_id, fields)
            for task_id, fields in zip(ids, found, strict=True)
        ]

    def resets(self, ids: Sequence[str]) -> Sequence[Reset | None]:
        """Return the greatest recent loss of each ID's shard."""
        if not ids:
            return []
        shards = self._keys.shards
        numbers = [shard_of(task_id, len(shards)) for task_id in ids]
        asked = sorted(set(numbers))
        after_ms = self.time_ms() - self._ttl_ms
        rows = self._read_whole([shards[number].epoch for number in asked])
        found = {number: reset_of(row.get(b"past", b""), after_ms) for number, row in zip(asked, rows, strict=True)}
        return [found[number] for number in numbers]

    def cancel(self, ids: Sequence[str], reason: str) -> Sequence[CancelCode]:
        """End what has not started; mark what runs. The reason becomes the record's note."""
        head = [secrets.token_hex(4), reason, self._ttl_ms]

        def call(batch: _Batch) -> ScriptCall:
            keys = batch.keys
            return ScriptCall(
                scripts.CANCEL,
                [keys.open, keys.counts, *keys.tasks(batch.ids), *keys.messages(batch.ids)],
                head,
            )

        answers = self._asked(ids, call)
        for batch, answer in answers:
            self._forget(batch.keys, answer[0])
        return _in_order(len(ids), answers, script_io.cancelled_in)

    def watch(self, ids: Sequence[str], channel: str) -> Sequence[bool]:
        """Push each ID to `channel` when it ends; the last four who ask for one record are told."""

        def call(batch: _Batch) -> ScriptCall:
            return ScriptCall(scripts.WATCH, batch.keys.tasks(batch.ids), [channel])

        return self._answered(ids, call, script_io.watched_in)

    def subscribe(self) -> RedisSubscription:
        """Open a channel of one's own for `watch`, on a connection of its own."""
        return RedisSubscription(self._store.listen(self._keys.channel + secrets.token_hex(8)))

    def counts(self) -> Counts:
        """Return how many records there are by status."""
        return counts_of(self._read_whole([shard.counts for shard in self._keys.shards]))

    def heartbeat(self, worker: WorkerIdentity, stats: WorkerStats, known: Sequence[Epoch]) -> Heartbeat:
        """Tell that the worker lives; one round trip for all shards."""
        member = f"{worker.id}:{worker.incarnation}"
        row = ScriptCall(
            scripts.HEARTBEAT,
            [self._keys.worker + member, self._keys.workers],
            [member, ROW_MS, LISTED_MS, *worker_fields(worker, stats)],
        )
        beats = [
            ScriptCall(scripts.EPOCH, [shard.epoch], [secrets.token_hex(8), *self._known(known, number)])
            for number, shard in enumerate(self._keys.shards)
        ]
        *epochs, gone = evaluate(self._store, [*beats, row])
        self._forget_workers(gone)
        return Heartbeat(epochs[0][0], tuple(epoch_of(answer) for answer in epochs))

    def workers(self) -> Sequence[WorkerRow]:
        """Return the workers seen within the last hour, by name."""
        now_ms = self.time_ms()
        members = self._store.run("ZRANGE", self._keys.workers, now_ms - LISTED_MS, "+inf", "BYSCORE")
        found = self._read_whole([self._keys.worker + member.decode() for member in members])
        rows = [worker_of(fields, now_ms, self._lease_ms) for fields in found]
        return sorted((row for row in rows if row), key=lambda row: (row.identity.id, row.identity.incarnation))

    def time_ms(self) -> int:
        """Return the store's clock."""
        seconds, microseconds = self._store.run("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def check(self) -> None:
        """Raise unless the store will do; the first call of a namespace writes its format and shards."""
        checks.require(self._store, self._keys, self._namespace)

    def findings(self) -> Iterator[Finding]:
        """Yield what there is to say of this Redis; nothing is written or scanned."""
        return checks.run_checks(self._store, self._keys, self._namespace)

    def close(self) -> None:
        """Let go of connections. Never raises."""
        self._store.close()

    def _batches(self, ids: Sequence[str]) -> list[_Batch]:
        """Return the IDs by shard, at most 200 together."""
        shards = self._keys.shards
        if len(shards) == 1:
            whole = range(len(ids))
            slices = (whole[start : start + BATCH] for start in range(0, len(ids), BATCH))
            return [_Batch(shards[0], part, ids[part.start : part.stop]) for part in slices]
        sorted_out: dict[int, list[int]] = {}
        for index, task_id in enumerate(ids):
            sorted_out.setdefault(shard_of(task_id, len(shards)), []).append(index)
        return [
            _Batch(shards[shard], part, [ids[index] for index in part])
            for shard, indexes in sorted_out.items()
            for part in (indexes[start : start + BATCH] for start in range(0, len(indexes), BATCH))
        ]

    def _asked(self, ids: Sequence[str], call: Callable[[_Batch], ScriptCall]) -> list[tuple[_Batch, list[Any]]]:
        """Send one call a batch, all together; return each batch with its answer."""
        batches = self._batches(ids)
        if not batches:
            return []
        return list(zip(batches, evaluate(self._store, [call(batch) for batch in batches]), strict=True))

    def _answered(
        self, ids: Sequence[str], call: Callable[[_Batch], ScriptCall], read: Callable[[list[Any]], list[T]]
    ) -> list[T]:
        return _in_order(len(ids), self._asked(ids, call), read)

    def _claimed(
        self,
        script: Script,
        deliveries: Sequence[Delivery],
        keys: Callable[[ShardKeys], list[str]],
        head: list[Any],
    ) -> list[Answer]:
        """Claim or offer: first without messages, then with those of the records that are missing."""

        def bare(batch: _Batch) -> ScriptCall:
            known = [delivery.message.digest for delivery in batch.of(deliveries)] if script is scripts.CLAIM else ()
            return ScriptCall(script, keys(batch.keys) + batch.keys.tasks(batch.ids), [*head, 0, *known])

        answers = self._claim_pass(deliveries, bare)
        missing = [index for index, answer in enumerate(answers) if answer is script_io.NEEDS_MESSAGE]
        if not missing:
            return answers
        for part in _carried(missing, [len(deliveries[index].body) for index in missing]):
            piece = [deliveries[index] for index in part]

            def full(batch: _Batch, piece: Sequence[Delivery] = piece) -> ScriptCall:
                names = [*keys(batch.keys), *batch.keys.tasks(batch.ids), *batch.keys.messages(batch.ids)]
                return ScriptCall(script, names, [*head, 1, *script_io.messages_out(batch.of(piece))])

            for index, answer in zip(part, self._claim_pass(piece, full), strict=True):
                answers[index] = answer
        return answers

    def _claim_pass(self, deliveries: Sequence[Delivery], call: Callable[[_Batch], ScriptCall]) -> list[Answer]:
        asked = self._asked([delivery.message.id for delivery in deliveries], call)
        for batch, answer in asked:
            self._forget(batch.keys, answer[2])
        return _in_order(len(deliveries), asked, script_io.answers_in)

    def _forget(self, shard: ShardKeys, orphans: Sequence[bytes]) -> None:
        """Remove what other workers no longer hold from their lists: a hint less for their return, so it may fail."""
        if orphans:
            pairs = zip(orphans[::2], orphans[1::2], strict=True)
            with suppress(YadtqError):
                self._store.run_many([("HDEL", shard.held + worker.decode(), task) for worker, task in pairs])

    def _forget_workers(self, members: Sequence[bytes]) -> None:
        """Remove the lists of workers that were not seen for an hour."""
        names = [(shard.held + member.decode().rpartition(":")[2]) for member in members for shard in self._keys.shards]
        if names:
            with suppress(YadtqError):
                self._store.run_many([("UNLINK", name) for name in names])

    def _known(self, known: Sequence[Epoch], shard: int) -> tuple[str, int, int]:
        """Return what a heartbeat knows of a shard's epoch: its ID, its mark, and how long two heartbeats are."""
        margin = 2 * self._lease_ms // 3
        return (known[shard].id, known[shard].mark_ms, margin) if shard < len(known) else ("", 0, margin)

    def _read(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [
            answer
            for start in range(0, len(commands), READ_AT_ONCE)
            for answer in self._store.run_many(commands[start : start + READ_AT_ONCE])
        ]

    def _read_whole(self, names: Sequence[str]) -> list[dict[bytes, bytes]]:
        answers = self._read([("HGETALL", name) for name in names])
        for answer in answers:
            if isinstance(answer, ServerError):
                raise self._store.translated(answer) from answer
        return answers


def _carried(indexes: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Yield the indexes in parts of MAX_BYTES: more than a slow network carries in time would be tried for ever."""
    part: list[int] = []
    total = 0
    for index, size in zip(indexes, sizes, strict=True):
        if part and total + size > MAX_BYTES:
            yield part
            part, total = [], 0
        part.append(index)
        total += size
    if part:
        yield part


def _in_order(length: int, asked: Sequence[tuple[_Batch, list[Any]]], read: Callable[[list[Any]], list[T]]) -> list[T]:
    """Return the answers of all batches in the order of the question."""
    if len(asked) == 1:
        return read(asked[0][1])
    found: dict[int, T] = {}
    for batch, answer in asked:
        found.update(zip(batch.indexes, read(answer), strict=True))
    return [found[index] for index in range(length)]


class RedisSubscription:
    """`interfaces.Subscription` by SUBSCRIBE."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    @property
    def channel(self) -> str:
        """The channel's name, for `watch`."""
        return self._listener.channel

    def wait(self, timeout: float) -> Sequence[str] | None:
        """Return IDs pushed since the last call; None where pushes may have been missed."""
        pushed = self._listener.wait(timeout)
        return None if pushed is None else [task_id.decode() for task_id in pushed]

    def close(self) -> None:
        """Let go; may be called by another thread than the one that waits. Never raises."""
        self._listener.close()
