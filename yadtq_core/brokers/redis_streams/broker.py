"""The broker on Redis streams: publishing, streams, and consumers of the group (`interfaces.Broker`).

It shares one Redis with the backend. A settled message can be removed, because the record holds the rest; and it is as
durable as that Redis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from yadtq_core.brokers.published import Published
from yadtq_core.brokers.redis_streams.consumer import StreamsConsumer, make_group
from yadtq_core.brokers.redis_streams.streams import PUBLISH, Streams
from yadtq_core.errors import BrokerUnavailable, ConfigurationRefused
from yadtq_core.interfaces import Outgoing
from yadtq_core.model import Finding, Partition, ok, warning
from yadtq_core.net.redis_client import Store, open_store
from yadtq_core.net.redis_errors import ServerError
from yadtq_core.net.redis_scripts import BATCH, ScriptCall, evaluate
from yadtq_core.net.redis_url import SCHEMES
from yadtq_core.settings import Settings, masked_url

SUFFIX = "+streams"
"""The end of a scheme that turns the address of a Redis into that of its streams."""


def open(settings: Settings) -> RedisStreamsBroker:  # noqa: A001  called as `redis_streams.open`
    """Return the broker of `settings.broker`; it connects at its first use.

    Raises InvalidSetting for an address that cannot be used, ConfigurationRefused for a backend that is no Redis.
    """
    return RedisStreamsBroker(settings)


class RedisStreamsBroker:
    """Carries messages by one stream for each queue and shard. Safe for use by several threads."""

    replayable = False
    partitioned = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._streams = Streams(settings.namespace, settings.shards)
        if settings.backend.partition("://")[0] not in SCHEMES:
            raise self._refused()
        self._store = open_store(
            _address(settings.broker),
            password=settings.broker_password or settings.backend_password,
            unavailable=BrokerUnavailable,
            name="yadtq-broker",
        )
        self._is_the_backends = False

    def ensure(self, queues: Sequence[str], *, create: bool) -> None:
        """Check that each queue has its streams; with `create` make missing streams and groups.

        Raises ConfigurationRefused with the command that corrects it, also if the backend is another Redis or another
        database, and BrokerUnavailable.
        """
        self._check_backend()
        for queue in queues:
            for partition in self._streams.of(queue):
                key = self._streams.key(partition)
                if create:
                    make_group(self._store, key)
                elif not self._store.run("EXISTS", key):
                    raise ConfigurationRefused(f"queue {queue} does not exist: run `yadtq provision -Q {queue}`")

    def grow(self, queues: Sequence[str], partitions: int) -> None:
        """Raise ConfigurationRefused: a queue has one stream a shard."""
        raise ConfigurationRefused(f"{masked_url(self._settings.broker)} has no partitions to set")

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Published:
        """Add messages to the streams of their shards; return when the server has added them.

        If the answer is lost, messages may or may not be in their stream, and have no position. `timestamp_ms` is
        ignored: a stream keeps waiting messages without an age limit.
        """
        positions: list[str | None] = [None] * len(messages)
        errors: dict[int, str] = {}
        for partition, indexes in self._sorted(messages).items():
            key = self._streams.key(partition)
            parts = [indexes[start : start + BATCH] for start in range(0, len(indexes), BATCH)]
            calls = [ScriptCall(PUBLISH, [key], [messages[index].body for index in part]) for part in parts]
            try:
                answers = evaluate(self._store, calls)
            except BrokerUnavailable:
                continue
            except ConfigurationRefused as error:
                errors |= dict.fromkeys(indexes, str(error))
                continue
            for part, entries in zip(parts, answers, strict=True):
                for index, position in zip(part, self._streams.positions(partition.number, entries), strict=True):
                    positions[index] = position
        return Published(positions, errors)

    def publish_dead(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Published:
        """Keep messages among the dead letters of their queues, by ID; an empty body removes a letter."""
        if not messages:
            return Published([])
        commands = [self._letter(message, timestamp_ms) for message in messages]
        try:
            answers = self._store.run_many(commands)
        except BrokerUnavailable:
            return Published([None] * len(messages))
        refused = {i: str(self._store.translated(a)) for i, a in enumerate(answers) if isinstance(a, ServerError)}
        return Published([None if i in refused else f"dead:{m.id}" for i, m in enumerate(messages)], refused)

    def unacknowledged(self) -> int:
        """Return 0: each publish was answered, or its answer is lost and will not come."""
        return 0

    def stream(self, queue: str, shard: int) -> str:
        """Return the key of the stream, which is in the backend's Redis: `create` adds the message there itself."""
        return self._streams.key(Partition(queue, shard))

    def consumer(self, queues: Sequence[str], *, member: str) -> StreamsConsumer:
        """Join the group of this namespace's streams, under the member's name and a random suffix.

        Raises BrokerUnavailable if the Redis cannot be reached.
        """
        partitions = [partition for queue in queues for partition in self._streams.of(queue)]
        return StreamsConsumer(self._store, self._streams, partitions, member, self._settings.claim_stale_seconds)

    def findings(self, now_ms: int) -> Iterator[Finding]:
        """Yield the findings of `yadtq doctor` about these streams; those about their Redis come from the backend."""
        self._check_backend()
        return map(self._finding, self._settings.queues)

    def close(self, timeout: float) -> None:
        """Disconnect; every accepted message was sent. Never raises."""
        self._store.close()

    def _sorted(self, messages: Sequence[Outgoing]) -> dict[Partition, list[int]]:
        """Return the indexes of messages by their stream."""
        found: dict[tuple[str, int], list[int]] = {}
        shard = self._streams.shard
        for index, message in enumerate(messages):
            found.setdefault((message.queue, shard(message.id)), []).append(index)
        return {Partition(*place): indexes for place, indexes in found.items()}

    def _letter(self, message: Outgoing, timestamp_ms: int) -> tuple[Any, ...]:
        key = self._streams.dead(message.queue, message.id)
        return (
            ("HSET", key, message.id, b"%d %b" % (timestamp_ms, message.body))
            if message.body
            else ("HDEL", key, message.id)
        )

    def _finding(self, queue: str) -> Finding:
        keys = [self._streams.key(partition) for partition in self._streams.of(queue)]
        if 0 in self._store.run_many([("EXISTS", key) for key in keys]):
            found = f"queue {queue} does not exist yet: the first worker or client creates it"
            return warning("queue", found, "start a worker, or run `yadtq provision`")
        waiting = sum(self._store.run("XLEN", key) for key in keys)
        return ok("lag", f"queue {queue}: {waiting} messages are waiting")

    def _check_backend(self) -> None:
        """Raise ConfigurationRefused unless the backend is the same Redis and the same database."""
        if self._is_the_backends:
            return
        backend = open_store(self._settings.backend, password=self._settings.backend_password)
        try:
            # A restart between the two questions changes the answer, so ask once more.
            self._is_the_backends = _same(self._store, backend) or _same(self._store, backend)
        finally:
            backend.close()
        if not self._is_the_backends:
            raise self._refused()

    def _refused(self) -> ConfigurationRefused:
        broker, backend = masked_url(self._settings.broker), masked_url(self._settings.backend)
        return ConfigurationRefused(
            f"broker {broker} and backend {backend} are not the same Redis and database: streams carry tasks safely "
            f"only beside their records; set YADTQ_BACKEND to {masked_url(_address(self._settings.broker))}"
        )


def _address(url: str) -> str:
    """Return the address of the Redis that has the streams."""
    scheme, separator, rest = url.partition("://")
    return scheme.removesuffix(SUFFIX) + separator + rest


def _same(one: Store, other: Store) -> bool:
    return one.identity() == other.identity()
