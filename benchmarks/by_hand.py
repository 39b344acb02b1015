"""The raw limit: Kafka by kafka-python and Redis by Lua scripts in the largest sensible batches, without features.

It has no plugins, no choice of serializer, no retries, no sweep and no child processes. The rest is the cost of the
services and their client libraries.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import cycle
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.scripts import GRACE_MS, Store

CHUNK = 500
"""Records of one script call when submitting."""
WINDOW = 16
"""Chunks that wait for Kafka's acknowledgement: 8,000 messages, as in `Client.submit_many`."""
POLL = 1_000
"""Messages of one poll."""
CLAIM = 200
"""Records of one script call when executing."""
QUEUE_CHECK_MS = 60_000
TASK, ARGUMENTS = "add", (1, 2, 3)
_PATIENCE_MS = 10_000
_encode = msgspec.json.Encoder().encode


class Message(msgspec.Struct, gc=False):
    """The message on Kafka."""

    id: str
    task: str
    args: tuple[int, ...]


class Submitted(NamedTuple):
    """The number of submitted tasks; seconds until their acknowledgement, and until their confirm; CPU seconds."""

    tasks: int
    acknowledged: float
    confirmed: float
    cpu: float


class Topic(NamedTuple):
    """A topic: the broker's addresses, the topic's name and its number of partitions."""

    servers: tuple[str, ...]
    name: str
    partitions: int

    def parts(self) -> list[TopicPartition]:
        """Return the partitions."""
        return [TopicPartition(self.name, number) for number in range(self.partitions)]


def producer(topic: Topic, linger_ms: int) -> KafkaProducer:
    """Return a producer that has seen the topic: acks=all, batches of 64 KiB."""
    made = KafkaProducer(
        bootstrap_servers=list(topic.servers),
        api_version=(4, 3),
        acks="all",
        enable_idempotence=False,
        batch_size=64 * 1024,
        linger_ms=linger_ms,
        allow_auto_create_topics=False,
    )
    made.partitions_for(topic.name)
    return made


@contextmanager
def consumer(topic: Topic, group: str) -> Iterator[KafkaConsumer]:
    """Yield a consumer of all partitions, from the group's offsets; it is the only member, so there is no rebalance."""
    made = KafkaConsumer(
        bootstrap_servers=list(topic.servers),
        api_version=(4, 3),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=256 * 1024,
    )
    try:
        made.assign(topic.parts())
        for part in topic.parts():
            made.position(part)
        yield made
    finally:
        made.close(autocommit=False, timeout_ms=_PATIENCE_MS)


def message() -> tuple[str, bytes]:
    """Return a new ID and the message of one call."""
    task_id = str(uuid.uuid4())
    return task_id, _encode(Message(task_id, TASK, ARGUMENTS))


def submit(store: Store, sending: KafkaProducer, topic: Topic, count: int) -> Submitted:
    """Create, publish and confirm `count` calls. A chunk's records are written while earlier messages are sent."""
    under_way: deque[tuple[list[str], list[Any]]] = deque()
    partitions = cycle(range(topic.partitions))
    now, begun, cpu = 0, time.perf_counter(), time.process_time()

    def settle() -> None:
        ids, futures = under_way.popleft()
        done = [future.get(_PATIENCE_MS / 1000) for future in futures]
        store.confirm(ids, [f"{one.partition}:{one.offset}" for one in done], now + QUEUE_CHECK_MS)

    for start in range(0, count, CHUNK):
        if len(under_way) >= WINDOW:
            settle()
        ids, bodies = map(list, zip(*[message() for _ in range(min(CHUNK, count - start))], strict=True))
        now = store.create(TASK, ids, bodies)
        send, name = sending.send, topic.name
        futures = [send(name, body, partition=next(partitions), timestamp_ms=now) for body in bodies]
        under_way.append((ids, futures))
    sending.flush(_PATIENCE_MS / 1000)
    acknowledged = time.perf_counter() - begun
    while under_way:
        settle()
    return Submitted(count, acknowledged, time.perf_counter() - begun, time.process_time() - cpu)


def execute(store: Store, polled: KafkaConsumer, count: int) -> float:
    """Poll, claim, sum, finish and commit until `count` have ended; return the seconds."""
    decode = msgspec.json.Decoder(Message).decode
    ended, commit, begun = 0, None, time.perf_counter()
    while ended < count:
        records = [one for part in polled.poll(_PATIENCE_MS, max_records=POLL).values() for one in part]
        if not records:
            raise TimeoutError(f"only {ended} of {count} messages came")
        messages = [decode(one.value) for one in records]
        for start in range(0, len(messages), CLAIM):
            ended += _run(store, messages[start : start + CLAIM])
        if commit is None or commit.is_done:
            commit = polled.commit_async()
    polled.commit()
    return time.perf_counter() - begun


def _run(store: Store, messages: Sequence[Message]) -> int:
    ids = [one.id for one in messages]
    fences = store.claim(ids)
    results = [_encode(sum(one.args)) for one in messages]
    return store.finish(ids, fences, results)


def submit_one(store: Store, sending: KafkaProducer, topic: Topic, partition: int) -> None:
    """One script call and one acknowledged publish."""
    task_id, body = message()
    now = store.create(TASK, [task_id], [body])
    sending.send(topic.name, body, partition=partition, timestamp_ms=now).get(_PATIENCE_MS / 1000)


def record_one(store: Store, sending: KafkaProducer, topic: Topic, partition: int) -> None:
    """One script call and one publish, without waiting for the acknowledgement."""
    task_id, body = message()
    now = store.create(TASK, [task_id], [body])
    sending.send(topic.name, body, partition=partition, timestamp_ms=now)


def one_by_one(count: int, threads: int, action: Callable[[int], object]) -> float:
    """Call `action(number)` `count` times, spread over threads (1: the caller's); return the seconds."""
    if threads == 1:
        begun = time.perf_counter()
        for number in range(count):
            action(number)
        return time.perf_counter() - begun
    gate = threading.Barrier(threads + 1)

    def work(first: int) -> None:
        gate.wait()
        for number in range(first, count, threads):
            action(number)

    crowd = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    for one in crowd:
        one.start()
    gate.wait()
    begun = time.perf_counter()
    for one in crowd:
        one.join()
    return time.perf_counter() - begun


def serve(topic: Topic, redis_url: str, prefix: str, channel: str) -> None:
    """Answer each message by one script call that pushes its ID. Never returns, so it runs in a separate process."""
    decode = msgspec.json.Decoder(Message).decode
    with closing(Store(redis_url, prefix)) as store, consumer(topic, f"{topic.name}.serve") as polled:
        store.client.publish(channel, "ready")
        while True:
            for part in polled.poll(_PATIENCE_MS).values():
                for one in part:
                    called = decode(one.value)
                    store.answer(called.id, channel, _encode(sum(called.args)))


class RoundTrip:
    """The submitting side of `serve`: publishes one message, and waits until its ID is pushed."""

    def __init__(self, store: Store, sending: KafkaProducer, topic: Topic, channel: str) -> None:
        self._sending = sending
        self._topic = topic
        self._pushed: Any = store.subscription(channel)
        self._partitions = cycle(range(topic.partitions))

    def wait_ready(self, seconds: float) -> None:
        """Return when `serve` is ready."""
        self._wait(b"ready", seconds)

    def once(self) -> float:
        """Return the seconds of one round trip."""
        task_id, body = message()
        begun = time.perf_counter()
        self._sending.send(self._topic.name, body, partition=next(self._partitions))
        self._wait(task_id.encode(), _PATIENCE_MS / 1000)
        return time.perf_counter() - begun

    def close(self) -> None:
        """Close the subscription."""
        self._pushed.close()

    def _wait(self, awaited: bytes, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pushed = self._pushed.get_message(timeout=1.0)
            if pushed is not None and pushed["data"] == awaited:
                return
        raise TimeoutError(f"{awaited!r} was not pushed within {seconds:g} s")


__all__ = [
    "GRACE_MS",
    "RoundTrip",
    "Submitted",
    "Topic",
    "consumer",
    "execute",
    "one_by_one",
    "producer",
    "record_one",
    "serve",
    "submit",
    "submit_one",
]
