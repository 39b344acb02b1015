"""The seams: what carries messages (Broker, Consumer), what keeps records (Backend), what turns values into bytes.

Every method takes many and returns many, in the order given. An implementation raises only errors of
`yadtq_core.errors`; nothing here blocks longer than the timeout it is given or was opened with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    Record,
    Refuse,
    Release,
    ReleaseReason,
    Reset,
    Status,
    Submission,
    Unreadable,
    Verdict,
    WorkerIdentity,
    WorkerRow,
    WorkerStats,
)


class Publication(Protocol):
    """Messages on their way to the broker."""

    def wait(self, timeout: float) -> Sequence[str | None]:
        """Return the position of each message once the broker has it, or None for one not acknowledged in time.

        Never raises for a message: one that the broker refused is None too (`errors` says why). May be called
        again; a late acknowledgement then shows.
        """
        ...

    @property
    def errors(self) -> Mapping[int, str]:
        """Why a message (by its index) was refused for good, in one line each."""
        ...


class Broker(Protocol):
    """The service that carries messages."""

    replayable: bool
    """A settled message stays readable and progress is an offset that can go back: consumers are `ReplayableConsumer`.
    Any other broker shares one store with the backend, or ends with it, and a worker settles what it has claimed."""
    partitioned: bool
    """The number of partitions of a queue is a setting, and `grow` raises it."""

    def ensure(self, queues: Sequence[str], *, create: bool) -> None:
        """Check that each queue stands with the configured number of partitions; create what is missing if told.

        Raises ConfigurationRefused with the command that mends it, or BrokerUnavailable.
        """
        ...

    def grow(self, queues: Sequence[str], partitions: int) -> None:
        """Raise the partitions of each queue to this number; create missing queues.

        Raises ConfigurationRefused when a queue has more partitions or the broker is not `partitioned`, and
        BrokerUnavailable.
        """
        ...

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Publication:
        """Send messages to partitions of their shards; returns at once.

        `timestamp_ms` is Redis's time of this publication: retention counts from it. Raises BrokerUnavailable
        where not even the sending can begin (more than 10,000 are unacknowledged and none leaves in time).
        """
        ...

    def publish_dead(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Publication:
        """Send messages to the dead letters of their queues, keyed by ID; an empty body takes a letter back."""
        ...

    def unacknowledged(self) -> int:
        """Return how many published messages the broker has not acknowledged yet."""
        ...

    def undeliverable(self, positions: Sequence[tuple[str, str]]) -> Sequence[bool]:
        """For each (queue, position): True if no consumer will ever be given that message again.

        Kafka: below the committed offset or the log's start, or at or past the log's end. Streams: not there, or given
        out and pending for no consumer. A position of another broker's is undeliverable. Raises BrokerUnavailable.
        """
        ...

    def consumer(self, queues: Sequence[str], *, member: str) -> Consumer:
        """Join the group of this namespace. `member` names the worker in the broker's own tools."""
        ...

    def findings(self, now_ms: int) -> Iterable[Finding]:
        """Yield what `yadtq doctor` should say of it; `now_ms` is the backend's time. Changes nothing.

        Raises BrokerUnavailable, ConfigurationRefused.
        """
        ...

    def close(self, timeout: float) -> None:
        """Send what was accepted, for at most `timeout` seconds, and let go. Never raises."""
        ...


class Consumer(Protocol):
    """One worker's membership in the group. Used by one thread only."""

    def poll(self, max_messages: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        """Return up to `max_messages` messages, waiting at most `timeout` seconds for the first.

        With 0 messages (where not `replayable`) it does only what keeps the membership. Must be called at least
        every 30 s, with everything paused if need be: a member that does not poll blocks the group. A broker that is
        away makes it return nothing; it recovers by itself.
        """
        ...

    def changes(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        """Return the partitions (gained, lost) since the last call. Lost ones come first in time.

        A gained partition is paused until `resume` names it, so that its committed offset can be looked at before
        its first message. Where the broker is not replayable there is nothing to look at: nothing is gained or lost.
        """
        ...

    def settle(self, places: Sequence[Place]) -> None:
        """Tell the broker that it need not keep these for us, at the latest with the next poll.

        Nothing to do where progress is an offset. Elsewhere what a consumer was given and never settles is given to
        others: after a lease if it dies, soon after it has closed.
        """
        ...

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Let no more messages of these come. Partitions that are not ours are passed over."""
        ...

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Let messages of these come again. Partitions that are not ours are passed over."""
        ...

    def close(self, timeout: float) -> None:
        """Commit what was given last, leave the group and disconnect within `timeout` seconds. Never raises."""
        ...


@runtime_checkable
class ReplayableConsumer(Consumer, Protocol):
    """A consumer of a `replayable` broker: progress is one committed offset a partition, and reading can go back."""

    def committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, tuple[int, str]]:
        """Return committed (offset, metadata) of those that have one. Raises BrokerUnavailable."""
        ...

    def commit(self, offsets: Mapping[Partition, tuple[int, str]]) -> None:
        """Begin to commit (offset, metadata); at most one commit is under way, the newest waits behind it.

        Partitions that are not ours any more are left out. What was given last is committed once more, as far
        as it is ours, when partitions are taken from us and at `close`.
        """
        ...

    def position(self, partition: Partition) -> int | None:
        """Return the offset of the next message to come, None where it is not known yet or not ours."""
        ...

    def offset_at(self, partition: Partition, time_ms: int) -> int | None:
        """Return the first offset whose message is not older than `time_ms`; None where there is none."""
        ...

    def seek(self, partition: Partition, offset: int) -> None:
        """Read this partition from this offset on."""
        ...


class Subscription(Protocol):
    """A client's own channel, on which the backend pushes the IDs of ended tasks."""

    @property
    def channel(self) -> str:
        """The channel's name, for `watch`."""
        ...

    def wait(self, timeout: float) -> Sequence[str] | None:
        """Return IDs pushed since the last call, waiting at most `timeout` seconds.

        None means that the connection was lost and made anew: pushes may have been missed, ask again.
        """
        ...

    def close(self) -> None:
        """Let go. Never raises."""
        ...


class Backend(Protocol):
    """What keeps records. Safe for use by several threads.

    Every method that changes something is idempotent under a lost reply: the same call again gets the same answer.
    All raise BackendUnavailable when the store cannot be reached or does not answer in time, ConfigurationRefused
    when it can be reached but will not do (full, read-only, a missing permission).
    """

    def create(self, submissions: Sequence[Submission]) -> Sequence[Created]:
        """Write the record of each: `queued`, or `scheduled` where it has a delay. Sets no position."""
        ...

    def confirm(self, positions: Sequence[tuple[str, str]]) -> None:
        """Store (id, position) of acknowledged messages; moves the time at which a queued one is looked at."""
        ...

    def claim(
        self, deliveries: Sequence[Delivery], worker: WorkerIdentity, nonce: str, *, nothing_stale: bool = False
    ) -> Sequence[Answer]:
        """Ask for the right to run each; rebuilds a record that is missing from the delivery.

        A delivery with another digest than its record's is BUSY, with an error that says so: the record was made for
        another. `nonce` (random, one a call) makes a repeated call get the same leases again. IDs must be distinct.
        `nothing_stale`: the store was away for everybody until just now, so a lease that has ended is answered BUSY
        for a lease more, and counts as lost for nobody.
        """
        ...

    def offer(self, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
        """Leave each to whoever has a free slot: looked at by the next sweep. Never answers RUN."""
        ...

    def extend(self, holds: Sequence[Hold], worker: WorkerIdentity) -> Sequence[ExtendCode]:
        """Extend leases by their full length from now; stores progress where given."""
        ...

    def finish(self, outcomes: Sequence[Outcome], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Write how runs ended, each only under its record's current fence."""
        ...

    def release(self, releases: Sequence[Release], worker: WorkerIdentity) -> Sequence[FinishCode]:
        """Give records back, each only under its current fence. OK, FENCED, MISSING or ERROR."""
        ...

    def held(self, worker: WorkerIdentity) -> Sequence[Hold]:
        """Return what this incarnation holds, for the worker that comes back in its place; a hint, fences decide."""
        ...

    def sweep(self, limit: int, with_messages: int) -> tuple[int, Sequence[Due]]:
        """Return (now_ms, what somebody must look at), at most `limit` a shard, and push their times.

        A stale `processing` or due `scheduled` record is `queued` again by then. The messages of the first
        `with_messages` come along, and of every one that has no position. Released records beyond those are left
        due for whoever has room for them, unless as many as `limit` are due.
        """
        ...

    def messages(self, ids: Sequence[str]) -> Sequence[Delivery | None]:
        """Return the kept messages, to publish them again; None where there is none."""
        ...

    def buried(self, ids: Sequence[str]) -> None:
        """The dead letters of these failed tasks are acknowledged: drop message and `open` entry."""
        ...

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        """Return the records. A damaged one is a record of status `failed` whose error says what is wrong."""
        ...

    def resets(self, ids: Sequence[str]) -> Sequence[Reset | None]:
        """Return what may have lost the record of each, whether or not one stands.

        Of the times within the last result TTL it is the one with the largest loss, of equal ones the latest; None
        where there was none.
        """
        ...

    def cancel(self, ids: Sequence[str], reason: str) -> Sequence[CancelCode]:
        """End what has not started as `cancelled`; mark what runs."""
        ...

    def watch(self, ids: Sequence[str], channel: str) -> Sequence[bool]:
        """Push each ID to `channel` when it ends; True for one that has ended (or does not exist) already."""
        ...

    def subscribe(self) -> Subscription:
        """Open a channel of one's own for `watch`."""
        ...

    def counts(self) -> Counts:
        """Return how many records there are by status, from counters, never by scanning."""
        ...

    def heartbeat(self, worker: WorkerIdentity, stats: WorkerStats, known: Sequence[Epoch]) -> Heartbeat:
        """Tell that the worker lives; adopt or make each shard's epoch. `known` is empty at start."""
        ...

    def workers(self) -> Sequence[WorkerRow]:
        """Return the workers seen within the last hour, by name."""
        ...

    def time_ms(self) -> int:
        """Return the store's clock."""
        ...

    def check(self) -> None:
        """Raise unless the store can be reached and will do: version, eviction policy, format, shards."""
        ...

    def findings(self) -> Iterable[Finding]:
        """Yield what `yadtq doctor` should say of it. Changes nothing.

        Raises BackendUnavailable, ConfigurationRefused.
        """
        ...

    def close(self) -> None:
        """Let go of connections. Never raises."""
        ...


@runtime_checkable
class Serializer(Protocol):
    """Turns values into bytes and back.

    `name` is how tasks and settings choose it, `content_type` is kept beside what it wrote; both are unique.
    """

    name: str
    content_type: str

    def dumps(self, value: Any) -> bytes:
        """Return the value as bytes; raises SerializationError naming the place of what cannot be carried."""
        ...

    def loads(self, data: bytes) -> Any:
        """Return the value; raises SerializationError."""
        ...


@runtime_checkable
class Codec(Protocol):
    """Changes serialised arguments and results on their way out of the process and back: compresses, encrypts.

    `name` (lower-case letters, digits, `_` and `-`) is kept beside what it wrote; it is unique.
    """

    name: str

    def encode(self, data: bytes, task_id: str) -> bytes:
        """Return what leaves the process; raises SerializationError, with which nothing leaves."""
        ...

    def decode(self, data: bytes, task_id: str) -> bytes:
        """Return what `encode` was given; raises SerializationError saying what is missing or broken."""
        ...


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
    "Unreadable",
    "Verdict",
    "WorkerIdentity",
    "WorkerRow",
    "WorkerStats",
]
