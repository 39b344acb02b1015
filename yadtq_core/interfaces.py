"""The seams: Broker and Consumer carry messages, Backend keeps records, Serializer and Codec turn values into bytes.

Every method takes many and returns many, in the given order. An implementation raises only errors of
`yadtq_core.errors`; no call blocks longer than its timeout, or the one with which the service was opened.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from yadtq_core.model import (
    Answer,
    Attempt,
    CancelCode,
    ChildIdentity,
    Counts,
    CreateCode,
    Created,
    Delivery,
    Due,
    Epoch,
    Error,
    ExtendCode,
    Finding,
    FinishCode,
    Heartbeat,
    Hold,
    Lease,
    Level,
    Message,
    Outcome,
    Outgoing,
    Partition,
    Past,
    Place,
    Placed,
    Record,
    Refuse,
    Release,
    ReleaseReason,
    Reset,
    Status,
    Submission,
    Sweep,
    Taken,
    Unreadable,
    Verdict,
    WorkerIdentity,
    WorkerRow,
    WorkerStats,
)


class Publication(Protocol):
    """Messages that were sent to the broker."""

    def wait(self, timeout: float) -> Sequence[str | None]:
        """Return the position of each message, None for one that is not acknowledged within `timeout` seconds.

        Never raises for a message: a refused one is None too, and `errors` has the reason. A later call returns late
        acknowledgements too.
        """

    @property
    def errors(self) -> Mapping[int, str]:
        """The reason, in one line, why the broker refused a message, by the message's index."""


class Broker(Protocol):
    """The service that carries messages."""

    replayable: bool
    """A settled message stays readable and progress is an offset that can go back: consumers are `ReplayableConsumer`.
    Any other broker shares one store with the backend, or ends with it, and a worker settles each claimed message."""
    partitioned: bool
    """The number of partitions of a queue is a setting, and `grow` raises it."""

    def ensure(self, queues: Sequence[str], *, create: bool) -> None:
        """Check that each queue exists with the configured number of partitions; with `create` make missing ones.

        Raises ConfigurationRefused with the command that corrects it, and BrokerUnavailable.
        """

    def grow(self, queues: Sequence[str], partitions: int) -> None:
        """Raise the partitions of each queue to this number; create missing queues.

        Raises ConfigurationRefused when a queue has more partitions or the broker is not `partitioned`, and
        BrokerUnavailable.
        """

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Publication:
        """Send messages to partitions of their shards; return at once.

        `timestamp_ms` is Redis's time of this publication: retention counts from it. Raises BrokerUnavailable when
        sending cannot begin (more than 10,000 messages are unacknowledged and none is acknowledged in time).
        """

    def publish_dead(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Publication:
        """Send messages to the dead letters of their queues, keyed by ID; an empty body removes a letter."""

    def unacknowledged(self) -> int:
        """Return how many published messages the broker has not acknowledged yet."""

    def stream(self, queue: str, shard: int) -> str | None:
        """Return the key, in the backend's own store, of the stream that carries this queue.

        `create` then appends the message itself, in one step with the record. None if messages are published apart.
        """

    def consumer(self, queues: Sequence[str], *, member: str) -> Consumer:
        """Join the group of this namespace. `member` names the worker in the broker's own tools."""

    def findings(self, now_ms: int) -> Iterable[Finding]:
        """Yield the findings of `yadtq doctor` about this broker; `now_ms` is the backend's time. Changes nothing.

        Raises BrokerUnavailable, ConfigurationRefused.
        """

    def close(self, timeout: float) -> None:
        """Send accepted messages for at most `timeout` seconds, then disconnect. Never raises."""


class Consumer(Protocol):
    """One worker's membership in the group. Used by one thread only."""

    def poll(self, max_messages: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        """Return up to `max_messages` messages, waiting at most `timeout` seconds for the first.

        With 0 messages it only keeps the membership. Call it at least every 30 s, even when every partition is paused:
        a member that does not poll blocks the group. During an outage of the broker it returns nothing, and recovers
        without help.
        """

    def changes(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        """Return the partitions (gained, lost) since the last call. Lost ones come first in time.

        A gained partition is paused until `resume` names it, so that its committed offset can be read before its
        first message. A broker that is not replayable has no offsets, so no partition is gained or lost.
        """

    def settle(self, places: Sequence[Place]) -> None:
        """Acknowledge messages: from the next poll at the latest, the broker need not keep them for this member.

        Does nothing if progress is an offset. Any other broker delivers unsettled messages to another member: after a
        lease if this one dies, soon after it has closed.
        """

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop delivery from these partitions. Partitions of other members are ignored."""

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Continue delivery from these partitions. Partitions of other members are ignored."""

    def close(self, timeout: float) -> None:
        """Commit the last given offsets, leave the group and disconnect within `timeout` seconds. Never raises."""


@runtime_checkable
class ReplayableConsumer(Consumer, Protocol):
    """A consumer of a `replayable` broker: progress is one committed offset a partition, and reading can go back."""

    def committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, tuple[int, str]]:
        """Return committed (offset, metadata) of the partitions that have one. Raises BrokerUnavailable."""

    def commit(self, offsets: Mapping[Partition, tuple[int, str]]) -> None:
        """Begin to commit (offset, metadata); at most one commit is in progress, and the newest waits behind it.

        Of metadata that is too long for the broker its beginning is kept, at least 200 characters.

        Partitions that this member has lost are left out. When partitions are lost and at `close`, the last given
        offsets of partitions still held are committed once more.
        """

    def position(self, partition: Partition) -> int | None:
        """Return the offset of the next message; None if it is not known yet or another member has the partition."""

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Return the offset after the last message of each log. Raises BrokerUnavailable."""

    def offset_at(self, partition: Partition, time_ms: int) -> int | None:
        """Return the first offset whose message is not older than `time_ms`; None if there is none."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Read this partition from this offset on."""


class Subscription(Protocol):
    """A client's channel, on which the backend pushes the IDs of ended tasks."""

    @property
    def channel(self) -> str:
        """The channel's name, for `watch`."""

    def wait(self, timeout: float) -> Sequence[str] | None:
        """Return IDs pushed since the last call, waiting at most `timeout` seconds.

        None means that the connection was lost and made again: pushes may have been missed, so query the records.
        """

    def forget(self, ids: Sequence[str]) -> None:
        """Stop watching these IDs, because no caller waits for them; a push may come all the same. Never raises."""

    def close(self) -> None:
        """Disconnect. Never raises."""


class Backend(Protocol):
    """The store of records. Several threads may use it at once.

    Every method that changes something is idempotent under a lost reply: the same call again gets the same answer.
    All raise BackendUnavailable when the store cannot be reached or does not answer in time, ConfigurationRefused
    when it answers but cannot be used (full, read-only, a missing permission).
    """

    def create(
        self, submissions: Sequence[Submission], *, stream: Callable[[str, int], str | None] | None = None
    ) -> Sequence[Created]:
        """Write the record of each: `queued`, or `scheduled` if it has a delay.

        stream: `Broker.stream`. Where it names a stream, the message of each new `queued` record is appended to it in
        the same step, so that a `queued` record always has its message; the answer says that it is published.
        """

    def confirm(self, positions: Sequence[Placed]) -> None:
        """Store the positions of acknowledged messages.

        A record that waits for its first run then waits in the log, and costs nothing until it is claimed or missed
        there (`recover`). Any other record ignores its position.
        """

    def claim(
        self, deliveries: Sequence[Delivery], worker: WorkerIdentity, nonce: str, *, nothing_stale: bool = False
    ) -> Sequence[Answer]:
        """Ask for the right to run each; rebuild a missing record from its delivery.

        A delivery with another digest than its record's is BUSY, with an error that says so. `nonce` (random, one a
        call) gives a repeated call the same leases again. IDs must be distinct. `nothing_stale`: the store has just
        returned from an outage, so an expired lease is answered BUSY for one lease more, and does not count as lost.
        """

    def offer(self, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
        """Make each ready for any worker with a free slot (a requeue request). Never answers RUN."""

    def ended(self, ids: Sequence[str]) -> Sequence[bool]:
        """Return True for each ID whose record has ended. Changes nothing.

        False for a record that does not exist or is damaged: only a claim decides about it. IDs may be repeated. A
        worker asks about up to 500 messages at once that it reads again, so that it need not claim them.
        """

    def extend(self, holds: Sequence[Hold], worker: WorkerIdentity) -> Sequence[ExtendCode]:
        """Extend leases by their full length from now; store progress if a hold has some."""

    def finish(self, outcomes: Sequence[Outcome], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Write the outcomes of runs, each only under its record's current fence."""

    def release(self, releases: Sequence[Release], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Requeue records, each only under its current fence. Answers OK, FENCED, MISSING or ERROR."""

    def held(self, worker: WorkerIdentity) -> Sequence[Hold]:
        """Return the records that this incarnation holds, for restart recovery; a hint, and fences decide."""

    def sweep(self, limit: int, queues: Sequence[str]) -> Sweep:
        """Look at the records that are due, at most `limit` a shard; count what is ready in these queues.

        Ended leases, unconfirmed records whose publish grace is over, and records that were taken and not claimed come
        before due delays and retries. Each of them becomes ready, ends as cancelled if that was requested, or fails
        beyond `lost_limit`. A failed record without its dead letter is returned, and again after the publish grace.
        """

    def take(self, wanted: Mapping[str, int], elsewhere: Collection[str]) -> Taken:
        """Take ready records for an immediate claim: the first of each queue, up to its number in `wanted`.

        elsewhere: names of tasks that the caller lacks and a peer has loaded; their records are left to that peer. The
        bodies of one answer have at most `TAKE_BYTES` (model.terms), unless the first alone has more. A record that is
        taken and not claimed is ready again after a few seconds; so is one whose message the caller cannot read.
        """

    def recover(self, queue: str, ranges: Sequence[tuple[int, int, int]], epochs: Sequence[Epoch]) -> int:
        """Make those records ready that wait in these parts of the log; return how many there were.

        ranges: (partition, first offset, offset after the last), of which the caller knows that no consumer will
        receive these messages, or that it has passed them. epochs: as of the last heartbeat; a shard in another epoch
        answers nothing.
        """

    def highest(self, queue: str, partitions: Sequence[int]) -> Mapping[int, int]:
        """Return the highest offset at which a record waits in each partition; without those where none does."""

    def messages(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        """Return the bodies of the kept messages, with their times, to publish them again; None if there is none.

        The store does not decode a body: it may be of a newer format version than this process reads.
        """

    def buried(self, ids: Sequence[str]) -> None:
        """The dead letters of these failed tasks are acknowledged: drop message and `open` entry."""

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """Return the records. A damaged one is a record of status `failed` whose error has the reason."""

    def resets(self, ids: Sequence[str]) -> Sequence[Reset | None]:
        """Return the event that may have lost the record of each ID, whether or not a record exists now.

        Of the events within the last result TTL it is the one with the largest loss, of equal ones the latest; None
        if there was none.
        """

    def cancel(self, ids: Sequence[str], reason: str) -> Sequence[CancelCode]:
        """End each record that has not started as `cancelled`; mark each that runs."""

    def watch(self, ids: Sequence[str], channel: str) -> Sequence[bool]:
        """Push each ID to `channel` when it ends; True for one that has ended already or does not exist."""

    def subscribe(self) -> Subscription:
        """Open a new channel for `watch`."""

    def counts(self) -> Counts:
        """Return the number of records by status, from counters, never by scanning."""

    def heartbeat(self, worker: WorkerIdentity, stats: WorkerStats, known: Sequence[Epoch]) -> Heartbeat:
        """Record that the worker lives; adopt or begin each shard's epoch. `known` is empty at start."""

    def workers(self, *, online: bool = False) -> Sequence[WorkerRow]:
        """Return the workers seen within the last hour, by name. `online`: read and return only those online now."""

    def time_ms(self) -> int:
        """Return the store's clock."""

    def check(self) -> None:
        """Raise unless the store can be reached and used: version, eviction policy, format, shards."""

    def findings(self) -> Iterable[Finding]:
        """Yield the findings of `yadtq doctor` about this backend. Changes nothing.

        Raises BackendUnavailable, ConfigurationRefused.
        """

    def close(self) -> None:
        """Close the connections. Never raises."""


@runtime_checkable
class Serializer(Protocol):
    """Turns values into bytes and back.

    `name` selects it in tasks and settings; `content_type` is kept beside the bytes that it wrote. Both are unique.
    """

    name: str
    content_type: str

    def dumps(self, value: Any) -> bytes:
        """Return the value as bytes; raises SerializationError that names the place of a value it cannot encode."""

    def loads(self, data: bytes) -> Any:
        """Return the value; raises SerializationError."""


@runtime_checkable
class Codec(Protocol):
    """Compresses or encrypts serialised arguments and results before they leave the process, and reverses it.

    `name` (lower-case letters, digits, `_` and `-`) is kept beside the bytes that it wrote; it is unique.
    """

    name: str

    def encode(self, data: bytes, task_id: str) -> bytes:
        """Return the bytes that leave the process; raises SerializationError, and then nothing leaves."""

    def decode(self, data: bytes, task_id: str) -> bytes:
        """Return the bytes that `encode` took; raises SerializationError with the missing or broken part."""


BrokerFactory = Callable[..., Broker]
"""`factory(settings) -> Broker`, for the scheme of `settings.broker`."""
BackendFactory = Callable[..., Backend]
"""`factory(settings) -> Backend`, for the scheme of `settings.backend`."""

__all__ = [
    "Answer",
    "Attempt",
    "Backend",
    "BackendFactory",
    "Broker",
    "BrokerFactory",
    "CancelCode",
    "ChildIdentity",
    "Codec",
    "Consumer",
    "Counts",
    "CreateCode",
    "Created",
    "Delivery",
    "Due",
    "Epoch",
    "Error",
    "ExtendCode",
    "Finding",
    "FinishCode",
    "Heartbeat",
    "Hold",
    "Lease",
    "Level",
    "Message",
    "Outcome",
    "Outgoing",
    "Partition",
    "Past",
    "Place",
    "Placed",
    "Publication",
    "Record",
    "Refuse",
    "Release",
    "ReleaseReason",
    "ReplayableConsumer",
    "Serializer",
    "Status",
    "Submission",
    "Subscription",
    "Sweep",
    "Taken",
    "Unreadable",
    "Verdict",
    "WorkerIdentity",
    "WorkerRow",
    "WorkerStats",
]
