"""The backend on Redis or Valkey: each method is one call of a Lua script for each shard, queue and 200 IDs.

`docs/protocol.md` gives the rules that the scripts keep, and their reasons. Keys and fields are in `keys.py`, arguments
and answers in `script_io.py`, the calls in `calls.py`, what is due and ready in `ready.py`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count

from yadtq_core.backends.redis import checks, script_io, scripts
from yadtq_core.backends.redis.calls import Calls, Part
from yadtq_core.backends.redis.claims import claimed
from yadtq_core.backends.redis.decoding import (
    counts_of,
    epoch_of,
    record_of,
    reset_of,
    worker_fields,
    worker_of,
)
from yadtq_core.backends.redis.keys import Keys
from yadtq_core.backends.redis.ready import highest, recovered, swept, taken
from yadtq_core.backends.redis.subscription import RedisSubscription
from yadtq_core.errors import YadtqError
from yadtq_core.model import (
    Answer,
    CancelCode,
    Counts,
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
    Submission,
    Sweep,
    Taken,
    WorkerIdentity,
    WorkerRow,
    WorkerStats,
    shard_of,
)
from yadtq_core.model.terms import BACK_OFF_MS, LISTED_MS, damaged, milliseconds
from yadtq_core.net.redis_client import Store, open_store
from yadtq_core.net.redis_errors import ServerError, server_text
from yadtq_core.net.redis_scripts import ScriptCall, evaluate
from yadtq_core.settings import Settings

log = logging.getLogger("yadtq.backend")

ROW_MS = 2 * LISTED_MS
"""The life of a worker's row: longer than its place in the list, so that every listed worker has a row."""


def open(settings: Settings) -> RedisBackend:  # noqa: A001  (the name of every implementation's factory)
    """Return the backend at `settings.backend`; it connects at its first use.

    Raises InvalidSetting for an address that cannot be used, ConfigurationRefused for a file that it names.
    """
    store = open_store(settings.backend, password=settings.backend_password)
    for warning in store.warnings():
        log.warning("%s", warning)
    return RedisBackend(store, settings)


class RedisBackend:
    """`interfaces.Backend` on one Redis or Valkey."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._namespace = settings.namespace
        self._keys = Keys(settings.namespace, settings.shards)
        self._calls = Calls(store, self._keys.shards)
        self._lease_ms = milliseconds(settings.claim_stale_seconds)
        self._grace_ms = milliseconds(settings.publish_grace)
        self._lost_limit = settings.lost_limit
        self._ttl_ms = milliseconds(settings.result_ttl)
        self._unknown_ms = milliseconds(settings.unknown_task_ttl)
        self._turns = count()

    def create(
        self, submissions: Sequence[Submission], *, stream: Callable[[str, int], str | None] | None = None
    ) -> Sequence[Created]:
        """Write the record of each. A damaged record answers CONFLICT with status `failed`."""

        def call(part: Part) -> ScriptCall:
            key = stream(part.queue, part.shard.number) if stream else None
            heads = [*part.heads, part.shard.epoch, *([key] if key else ())]
            arguments = [self._grace_ms, int(bool(key)), *script_io.submissions_out(part.of(submissions))]
            return part.call(scripts.CREATE, heads, arguments, messages=True)

        ids = [each.message.id for each in submissions]
        return self._calls.answers(ids, [each.message.queue for each in submissions], call, script_io.created_in)

    def confirm(self, positions: Sequence[Placed]) -> None:
        """Store positions of messages: a record of a partition of its shard then waits in the log."""
        shards = len(self._keys.shards)

        def call(part: Part) -> ScriptCall:
            scores = script_io.positions_out(part.of(positions), part.shard.number, shards)
            return part.call(scripts.CONFIRM, part.heads, [part.queue, *scores])

        self._calls.ask([each.id for each in positions], [each.queue for each in positions], call)

    def claim(
        self, deliveries: Sequence[Delivery], worker: WorkerIdentity, nonce: str, *, nothing_stale: bool = False
    ) -> Sequence[Answer]:
        """Ask for the right to run each. Messages are sent only for those whose record is missing."""
        limits = [self._lease_ms, self._lost_limit, self._ttl_ms, int(nothing_stale)]

        def heads(part: Part) -> list[str]:
            return [*part.heads, part.shard.held + worker.incarnation, part.shard.epoch]

        return claimed(self._calls, scripts.CLAIM, deliveries, heads, [nonce, worker.id, worker.incarnation, *limits])

    def offer(self, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
        """Leave each to any worker with a free slot."""

        def heads(part: Part) -> list[str]:
            return [*part.heads, part.shard.epoch]

        return claimed(self._calls, scripts.OFFER, deliveries, heads, [self._lost_limit, self._ttl_ms])

    def ended(self, ids: Sequence[str]) -> Sequence[bool]:
        """Return True for each ID whose record has ended."""
        return self._calls.answers(ids, (), lambda part: part.call(scripts.ENDED, [], []), script_io.ended_in)

    def extend(self, holds: Sequence[Hold], worker: WorkerIdentity) -> Sequence[ExtendCode]:
        """Extend leases; the fence alone proves who holds them."""

        def call(part: Part) -> ScriptCall:
            return part.call(scripts.EXTEND, part.heads, [self._lease_ms, *script_io.holds_out(part.of(holds))])

        queues = [hold.queue for hold in holds]
        return self._calls.answers([hold.id for hold in holds], queues, call, script_io.extended_in)

    def finish(self, outcomes: Sequence[Outcome], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Write the outcomes of runs."""

        def call(part: Part) -> ScriptCall:
            heads = [*part.heads, part.shard.held + worker.incarnation]
            arguments = [worker.incarnation, self._ttl_ms, *script_io.outcomes_out(part.of(outcomes))]
            return part.call(scripts.FINISH, heads, arguments, messages=True)

        queues = [outcome.queue for outcome in outcomes]
        return self._calls.answers([outcome.id for outcome in outcomes], queues, call, script_io.finished_in)

    def release(self, releases: Sequence[Release], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Requeue records. A repeated release answers OK again: its fence is one below the record's."""
        limits = [worker.incarnation, self._lost_limit, self._unknown_ms, *BACK_OFF_MS]

        def call(part: Part) -> ScriptCall:
            heads = [*part.heads, part.shard.held + worker.incarnation]
            return part.call(scripts.RELEASE, heads, [*limits, *script_io.releases_out(part.of(releases), worker.id)])

        queues = [each.queue for each in releases]
        return self._calls.answers([each.id for each in releases], queues, call, script_io.finished_in)

    def held(self, worker: WorkerIdentity) -> Sequence[Hold]:
        """Return the records that this incarnation holds, as far as the store knows: a hint, and fences decide."""
        found = self._calls.hashes([shard.held + worker.incarnation for shard in self._keys.shards])
        fences = {
            task_id.decode(): int(fence) for row in found if isinstance(row, dict) for task_id, fence in row.items()
        }
        return [
            Hold(task_id, queue, fence)
            for (task_id, fence), queue in zip(fences.items(), self._calls.queues(list(fences)), strict=True)
        ]

    def sweep(self, limit: int, queues: Sequence[str]) -> Sweep:
        """Look at the records that are due. A damaged one is left for half an hour: `get` gives the reason."""
        return swept(self._store, self._calls, limit, queues, [self._grace_ms, self._lost_limit, self._ttl_ms])

    def take(self, wanted: Mapping[str, int], elsewhere: Collection[str]) -> Taken:
        """Take ready records; each call begins with another shard."""
        shards = self._keys.shards
        first = next(self._turns) % len(shards)
        return taken(self._store, (*shards[first:], *shards[:first]), wanted, elsewhere)

    def recover(self, queue: str, ranges: Sequence[tuple[int, int, int]], epochs: Sequence[Epoch]) -> int:
        """Make ready what waits in these parts of the log, at most 200 records of a shard."""
        return recovered(self._store, self._keys.shards, queue, ranges, epochs)

    def highest(self, queue: str, partitions: Sequence[int]) -> Mapping[int, int]:
        """Return the highest offset at which a record waits in each partition."""
        return highest(self._store, self._keys.shards, queue, partitions)

    def messages(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Return the bodies of the kept messages."""
        return self._calls.answers(
            ids, (), lambda part: part.call(scripts.MESSAGES, [], [], messages=True), script_io.messages_in
        )

    def buried(self, ids: Sequence[str]) -> None:
        """Drop message and `open` entry; the record expires after the result TTL from now."""

        def call(part: Part) -> ScriptCall:
            return part.call(scripts.BURIED, [part.shard.open], [self._ttl_ms], messages=True)

        self._calls.ask(ids, (), call)

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """Return the records."""
        shards = self._keys.shards
        found = self._calls.hashes([shards[shard_of(each, len(shards))].task + each for each in ids])
        return [
            damaged(task_id, server_text(fields)) if isinstance(fields, ServerError) else record_of(task_id, fields)
            for task_id, fields in zip(ids, found, strict=True)
        ]

    def resets(self, ids: Sequence[str]) -> Sequence[Reset | None]:
        """Return the largest recent loss of each ID's shard."""
        if not ids:
            return []
        shards = self._keys.shards
        numbers = [shard_of(task_id, len(shards)) for task_id in ids]
        asked = sorted(set(numbers))
        after_ms = self.time_ms() - self._ttl_ms
        rows = self._calls.sound_hashes([shards[number].epoch for number in asked])
        found = {number: reset_of(row.get(b"past", b""), after_ms) for number, row in zip(asked, rows, strict=True)}
        return [found[number] for number in numbers]

    def cancel(self, ids: Sequence[str], reason: str) -> Sequence[CancelCode]:
        """End each record that has not started; mark each that runs. The reason becomes the record's note."""
        arguments = [secrets.token_hex(4), reason, self._ttl_ms]

        def call(part: Part) -> ScriptCall:
            return part.call(scripts.CANCEL, part.heads, arguments, messages=True)

        queues = self._calls.queues(ids)
        return self._calls.answers_and_orphans(ids, queues, call, script_io.cancelled_in, at=0)

    def watch(self, ids: Sequence[str], channel: str) -> Sequence[bool]:
        """Push each ID to `channel` when it ends; a record keeps the last four channels."""
        return self._calls.answers(ids, (), lambda part: part.call(scripts.WATCH, [], [channel]), script_io.watched_in)

    def subscribe(self) -> RedisSubscription:
        """Open a new channel for `watch`, on its own connection."""
        return RedisSubscription(self._store.listen(self._keys.channel + secrets.token_hex(8)))

    def counts(self) -> Counts:
        """Return the number of records by status."""
        return counts_of(self._calls.sound_hashes([shard.counts for shard in self._keys.shards]))

    def heartbeat(self, worker: WorkerIdentity, stats: WorkerStats, known: Sequence[Epoch]) -> Heartbeat:
        """Write the worker's row, and adopt or begin the epoch of each shard; one round trip for all shards."""
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
        self._remove_held(gone)
        return Heartbeat(epochs[0][0], tuple(epoch_of(answer) for answer in epochs))

    def workers(self, *, online: bool = False) -> Sequence[WorkerRow]:
        """Return the workers seen within the last hour, by name. `online`: read and return only those online now."""
        now_ms = self.time_ms()
        since = now_ms - (self._lease_ms if online else LISTED_MS)
        members = self._store.run("ZRANGE", self._keys.workers, since, "+inf", "BYSCORE")
        found = self._calls.sound_hashes([self._keys.worker + member.decode() for member in members])
        rows = [worker_of(fields, now_ms, self._lease_ms) for fields in found]
        shown = (row for row in rows if row and (row.online or not online))
        return sorted(shown, key=lambda row: (row.identity.id, row.identity.incarnation))

    def time_ms(self) -> int:
        """Return the store's clock."""
        seconds, microseconds = self._store.run("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def check(self) -> None:
        """Raise unless the store is usable; the first call in a namespace writes its format and shards."""
        checks.require(self._store, self._keys, self._namespace)

    def findings(self) -> Iterator[Finding]:
        """Yield the findings of `yadtq doctor` about this Redis; writes and scans nothing."""
        return checks.run_checks(self._store, self._keys, self._namespace)

    def close(self) -> None:
        """Close the connections. Never raises."""
        self._store.close()

    def _remove_held(self, members: Sequence[bytes]) -> None:
        """Remove the lists `held` of workers that were not seen for an hour."""
        names = [(shard.held + member.decode().rpartition(":")[2]) for member in members for shard in self._keys.shards]
        if names:
            with suppress(YadtqError):
                self._store.run_many([("UNLINK", name) for name in names])

    def _known(self, known: Sequence[Epoch], shard: int) -> tuple[str, int, int]:
        """Return a shard's epoch as the worker knows it: its ID, its mark, and the length of two heartbeats."""
        margin = 2 * self._lease_ms // 3
        return (known[shard].id, known[shard].mark_ms, margin) if shard < len(known) else ("", 0, margin)
