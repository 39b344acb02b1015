"""Publishing: the partition of each message, and its acknowledgement or refusal."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zlib import crc32

from kafka import KafkaProducer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    InvalidRecordError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)

from yadtq_core.brokers.kafka import workarounds
from yadtq_core.brokers.kafka.admin import unreachable, within
from yadtq_core.brokers.kafka.tuning import MAX_REQUEST_BYTES, Cluster, producer_settings
from yadtq_core.errors import BrokerUnavailable, ConfigurationRefused
from yadtq_core.interfaces import Outgoing
from yadtq_core.model import shard_of

FRAME_BYTES = 128
"""The most that a message without a key needs in a request beside its body (measured: 93)."""
SPREAD = 64
"""One publication goes to about this many partitions at most. A batch costs a broker some 0.5 ms whether it holds one
message or many: 500 batches for 500 messages were not acknowledged in time."""
_SLICE = 1000
"""Messages between two counts of the unacknowledged ones."""
_FOR_GOOD = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError, AuthorizationError)
_CLOSE_SECONDS = 1.5
_IDLE_CLOSE_SECONDS = 0.5
_FIRST_SECONDS = 1.0
_LOOK_SECONDS = 0.02


class KafkaPublication:
    """Messages that were sent to Kafka (`interfaces.Publication`)."""

    __slots__ = ("_futures", "_positions", "errors")

    def __init__(self, futures: list[Any], errors: dict[int, str]) -> None:
        self._futures = futures
        self.errors = errors
        """The reasons of refused messages, by their index; `wait` adds to them."""
        self._positions: list[str | None] = [None] * len(futures)

    def wait(self, timeout: float) -> Sequence[str | None]:
        """Return each message's `partition:offset`, None if it is not acknowledged within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for index, future in enumerate(self._futures):
            if future is None:
                continue
            if not future.is_done:
                _await(future, deadline - time.monotonic())
            if future.is_done:
                self._resolve(index, future)
        return list(self._positions)

    def _resolve(self, index: int, future: Any) -> None:
        """Keep the position or the error of a message, and drop its future."""
        self._futures[index] = None
        error = future.exception
        if error is None:
            acknowledged = future.value
            self._positions[index] = f"{acknowledged.partition}:{acknowledged.offset}"
        elif isinstance(error, _FOR_GOOD):
            self.errors[index] = _refusal(error, future)


class Publisher:
    """The producer, created at its first use. Safe for use by several threads."""

    def __init__(self, cluster: Cluster, shards: int) -> None:
        self._cluster = cluster
        self._url = cluster.url
        self._names = cluster.names
        self._tuning = cluster.tuning
        self._shards = shards
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._reached = False
        self._outstanding = Outstanding(cluster.tuning.outstanding)
        self._targets: dict[str, Targets] = {}

    def counts(self, topics: Sequence[str]) -> dict[str, int]:
        """Return the number of partitions of each topic; topics that do not exist are left out."""
        reach = self._tuning.reach
        # A client that never reached the broker probes for the reason after a second: the address may be wrong.
        waits = [reach] if self._reached else [min(_FIRST_SECONDS, reach), max(0.0, reach - _FIRST_SECONDS)]
        while True:
            try:
                found = workarounds.partition_counts(self._opened(), topics, waits.pop(0))
            except AuthorizationError as error:
                named = ", ".join(map(str, error.args))
                raise ConfigurationRefused(
                    f"Kafka at {self._url}: its user may not DESCRIBE {named}: grant it with kafka-acls"
                ) from None
            except KafkaError as error:
                failed = unreachable(self._cluster, error, find_reason=not self._reached)
                if isinstance(failed, ConfigurationRefused) or not any(waits):
                    raise failed from None
            else:
                self._reached = True
                return found

    def publish(self, messages: Sequence[Outgoing], timestamp_ms: int, patience: float) -> KafkaPublication:
        """Send each message, or each few of a large publication, to the next partition of its queue and shard.

        Waits up to `patience` seconds in all while too many are unacknowledged. Raises BrokerUnavailable if no message
        could be sent by then; the positions of messages that were not sent later stay None.
        """
        producer = self._opened()
        each = max(1, len(messages) // SPREAD)
        targets = {
            queue: self._targets_of(producer, queue).in_runs(each) for queue in {message.queue for message in messages}
        }
        append = workarounds.appender(producer)
        shards = self._shards

        def send(message: Outgoing) -> Any:
            shard = shard_of(message.id, shards) if shards > 1 else 0
            return append(next(targets[message.queue][shard]), timestamp_ms, message.body)

        return self._send_all(producer, messages, send, patience)

    def publish_keyed(self, messages: Sequence[Outgoing], timestamp_ms: int, patience: float) -> KafkaPublication:
        """Send each message to the dead letters of its queue, keyed by ID; an empty body removes the letter."""
        producer = self._opened()
        counts = {queue: self._count(producer, self._names.dead(queue)) for queue in {m.queue for m in messages}}

        def send(message: Outgoing) -> Any:
            key = message.id.encode()
            partition = crc32(key) % counts[message.queue]
            topic = self._names.dead(message.queue)
            return producer.send(topic, message.body or None, key, partition=partition, timestamp_ms=timestamp_ms)

        return self._send_all(producer, messages, send, patience)

    def unacknowledged(self) -> int:
        """Return the number of sent messages that are neither acknowledged nor failed."""
        return self._outstanding.count()

    def close(self, timeout: float) -> None:
        """Send accepted messages for at most `timeout` seconds, then disconnect. Never raises."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            if not self._outstanding.count():  # no answer of a hanging broker is needed
                timeout = min(timeout, _IDLE_CLOSE_SECONDS)
            deadline = time.monotonic() + timeout
            self._outstanding.wait_for_room(self._tuning.outstanding, deadline)
            left = max(0.1, deadline - time.monotonic())
            within(left + _CLOSE_SECONDS, lambda: workarounds.end_producer(producer, left))

    def _send_all(
        self,
        producer: KafkaProducer,
        messages: Sequence[Outgoing],
        send: Callable[[Outgoing], Any],
        patience: float,
    ) -> KafkaPublication:
        deadline = time.monotonic() + patience
        futures: list[Any] = []
        errors: dict[int, str] = {}
        for start in range(0, len(messages), _SLICE):
            part = messages[start : start + _SLICE]
            if not self._outstanding.wait_for_room(len(part), deadline):
                if not futures:
                    raise BrokerUnavailable(
                        f"{self._outstanding.count()} messages wait for the acknowledgement of Kafka at {self._url}, "
                        f"and none came within {patience:g} s: is the broker running?"
                    )
                break
            sent = self._send_slice(part, send, errors, start)
            workarounds.wake(producer)
            self._outstanding.add(sent)
            futures += sent
        futures += [None] * (len(messages) - len(futures))
        return KafkaPublication(futures, errors)

    def _send_slice(
        self, messages: Sequence[Outgoing], send: Callable[[Outgoing], Any], errors: dict[int, str], start: int
    ) -> list[Any]:
        futures: list[Any] = []
        for message in messages:
            size = len(message.body) + FRAME_BYTES
            if size > MAX_REQUEST_BYTES:
                errors[start + len(futures)] = (
                    f"the message is {size:,} bytes with its frame, and the limit is {MAX_REQUEST_BYTES:,}"
                )
                futures.append(None)
            else:
                try:
                    futures.append(send(message))
                except KafkaError:  # not sent: the position stays None
                    futures.append(None)
        return futures

    def _opened(self) -> KafkaProducer:
        with self._lock:
            if self._producer is None:
                try:
                    self._producer = KafkaProducer(**producer_settings(self._cluster))
                except KafkaError as error:
                    raise unreachable(self._cluster, error) from None
                workarounds.never_create_topics(self._producer)
            return self._producer

    def _targets_of(self, producer: KafkaProducer, queue: str) -> Targets:
        """Return the partitions for a queue's messages; read again when its topic has more."""
        topic = self._names.topic(queue)
        count = self._count(producer, topic)
        targets = self._targets.get(topic)
        if targets is None or targets.count != count:
            targets = self._targets[topic] = Targets(topic, count, self._shards)
        return targets

    def _count(self, producer: KafkaProducer, topic: str) -> int:
        try:
            return len(producer.partitions_for(topic))
        except KafkaError as error:
            raise unreachable(self._cluster, f"it sent no metadata of topic {topic}: {error}") from None


class Targets:
    """The partitions of one topic, used in turn within each shard: p belongs to shard p modulo shards."""

    __slots__ = ("count", "of_shard")

    def __init__(self, topic: str, count: int, shards: int) -> None:
        self.count = count
        numbers = range(count)
        self.of_shard: list[Iterator[TopicPartition]] = [
            _in_turn([TopicPartition(topic, number) for number in numbers if number % shards == shard])
            for shard in range(min(shards, count))
        ]

    def in_runs(self, each: int) -> Sequence[Iterator[TopicPartition]]:
        """Return the partitions of each shard; with more than SPREAD of them, each one `each` times in a row."""
        if each == 1 or self.count <= SPREAD:
            return self.of_shard
        return [(partition for partition in turn for _ in range(each)) for turn in self.of_shard]


class Outstanding:
    """Messages that are neither acknowledged nor failed: counted only when the limit may be near.

    A callback on each message would cost more than the count, which is spread over many messages.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._futures: deque[list[Any]] = deque()
        self._at_most = 0

    def add(self, futures: Sequence[Any]) -> None:
        """Add these messages."""
        pending = [future for future in futures if future is not None]
        with self._lock:
            self._futures.append(pending)
            self._at_most += len(pending)

    def count(self) -> int:
        """Return the number of messages now."""
        with self._lock:
            kept = [[future for future in part if not future.is_done] for part in self._futures]
            self._futures = deque(part for part in kept if part)
            self._at_most = sum(map(len, self._futures))
            return self._at_most

    def wait_for_room(self, wanted: int, deadline: float) -> bool:
        """Return True as soon as `wanted` more are within the limit, False if they are not by `deadline`."""
        if self._at_most + wanted <= self._limit:
            return True
        while self.count() + wanted > self._limit:
            with self._lock:
                oldest = self._futures[0][-1] if self._futures else None
            left = deadline - time.monotonic()
            if oldest is None or left <= 0:
                return oldest is None
            _await(oldest, min(left, _LOOK_SECONDS))
        return True


def _in_turn(partitions: list[TopicPartition]) -> Iterator[TopicPartition]:
    """Repeat the partitions without end from a random one: one-off clients must not all begin with the first."""
    start = random.randrange(len(partitions))
    return itertools.cycle(partitions[start:] + partitions[:start])


def _await(future: Any, timeout: float) -> None:
    """Wait until a message is acknowledged or has failed."""
    try:
        future.get(max(0.0, timeout))
    except KafkaError:
        return


def _refusal(error: KafkaError, future: Any) -> str:
    if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
        return f"the message is {future.args[4]:,} bytes, more than max.message.bytes of its topic allows"
    return " ".join(str(error).split())[:300] or type(error).__name__
