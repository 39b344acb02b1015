"""Observations of the harness without yadtq: the store, the topic, the group, the workers' memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from verification.faults import history as h
from yadtq_core.brokers.kafka.names import Names
from yadtq_core.errors import EnvelopeError
from yadtq_core.wire import envelope

QUEUE = "default"
_EVERY_SECONDS = 0.5
_PAGE = 4096

# All in one script, so that nothing can change between two reads.
_FREEZE = """
local clock = redis.call('TIME')
local records = {}
for _, key in ipairs(redis.call('KEYS', KEYS[1] .. 'task:*')) do
  records[#records + 1] = key:sub(-36)
  records[#records + 1] = redis.call('HMGET', key, 'st', 'fe', 'at', 'lo', 'tk', 'ha', 're', 'er')
end
local listed = {}
for _, pattern in ipairs({'open', 'scheduled', 'ready:*', 'waiting:*'}) do
  for _, key in ipairs(redis.call('KEYS', KEYS[1] .. pattern)) do
    for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      listed[#listed + 1] = id
      listed[#listed + 1] = key:sub(#KEYS[1] + 1)
    end
  end
end
return {clock, records, listed, redis.call('HGETALL', KEYS[1] .. 'counts')}
"""


class Lookout:
    """Looks at one namespace, and writes what it sees into the history; twice a second by itself, once begun."""

    def __init__(self, broker: str, backend: str, namespace: str, writer: h.Writer) -> None:
        self._broker = broker
        self._names = Names(namespace)
        self._root = f"yadtq:{{{namespace}:0}}:"
        self._writer = writer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)
        self._admin: KafkaAdminClient | None = None
        self._backend = backend
        self.store = self._connected()
        self.workers: Callable[[], Mapping[str, int]] = dict
        """Process IDs of the workers by name."""

    def use(self, backend: str) -> None:
        """Look at another store from now on."""
        self._backend = backend
        self.store.close()
        self.store = self._connected()

    def begin(self) -> None:
        """Look twice a second from now on."""
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join(30)
        self._drop_admin()
        self.store.close()

    def clock(self) -> None:
        """Write what Redis's clock says."""
        b = h.now()
        seconds, microseconds = self.store.time()
        self._writer.write(h.Clock("harness", b, h.now(), seconds * 1000 + microseconds / 1000))

    def freeze(self, *, final: bool = False) -> h.Freeze:
        """Write and return the whole store."""
        b = h.now()
        clock, records, listed, counts = self.store.eval(_FREEZE, 1, self._root)
        rows = {task_id.decode(): _row(fields) for task_id, fields in zip(records[::2], records[1::2], strict=True)}
        indexes: dict[str, list[str]] = {}
        for task_id, index in zip(listed[::2], listed[1::2], strict=True):
            indexes.setdefault(task_id.decode(), []).append(index.decode())
        event = h.Freeze(
            "harness",
            b,
            h.now(),
            int(clock[0]) * 1000 + int(clock[1]) / 1000,
            rows,
            indexes,
            {name.decode(): int(one) for name, one in zip(counts[::2], counts[1::2], strict=True)},
            final,
        )
        self._writer.write(event)
        return event

    def group(self) -> h.Group:
        """Write and return what the broker says is committed; raises KafkaError."""
        b, admin = h.now(), self._opened()
        found: Mapping[TopicPartition, Any] = admin.list_group_offsets({self._names.group: None})[self._names.group]
        offsets = [
            h.Offset(self._names.queue(part.topic), part.partition, one.offset)
            for part, one in found.items()
            if one.offset >= 0
        ]
        event = h.Group("broker", b, h.now(), offsets)
        self._writer.write(event)
        return event

    def topic(self) -> h.Topic:
        """Write and return all messages of the topic and the dead letters; raises KafkaError."""
        b = h.now()
        messages, ends = self._messages(self._names.topic(QUEUE))
        dead, _ = self._messages(self._names.dead(QUEUE))
        stored = [h.Stored(QUEUE, one.partition, one.offset, _id_of(one.value)) for one in messages]
        offsets = [h.Offset(QUEUE, part.partition, end) for part, end in ends.items()]
        letters = [(one.key or b"").decode(errors="replace") for one in dead]
        event = h.Topic("harness", b, h.now(), stored, letters, offsets)
        self._writer.write(event)
        return event

    def bodies(self) -> list[bytes]:
        """Return the bodies of the topic's messages; raises KafkaError."""
        return [one.value for one in self._messages(self._names.topic(QUEUE))[0] if one.value is not None]

    def ends(self) -> dict[int, int]:
        """Return where each partition ends; raises KafkaError."""
        consumer = self._consumer()
        try:
            return {part.partition: end for part, end in self._ends(consumer, self._names.topic(QUEUE)).items()}
        finally:
            consumer.close()

    def _messages(self, topic: str) -> tuple[list[Any], dict[TopicPartition, int]]:
        consumer = self._consumer()
        try:
            ends = self._ends(consumer, topic)
            consumer.assign(list(ends))
            consumer.seek_to_beginning()
            found: list[Any] = []
            until = time.monotonic() + 60
            while any(consumer.position(part) < end for part, end in ends.items()) and time.monotonic() < until:
                for records in consumer.poll(timeout_ms=500).values():
                    found += records
            return found, ends
        finally:
            consumer.close()

    def _ends(self, consumer: KafkaConsumer, topic: str) -> dict[TopicPartition, int]:
        parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        return dict(consumer.end_offsets(parts)) if parts else {}

    def _consumer(self) -> KafkaConsumer:
        return KafkaConsumer(bootstrap_servers=self._broker, request_timeout_ms=10_000, auto_offset_reset="earliest")

    def _connected(self) -> redis.Redis:
        return redis.Redis.from_url(self._backend, socket_timeout=5, socket_connect_timeout=2)

    def _opened(self) -> KafkaAdminClient:
        if self._admin is None:
            self._admin = KafkaAdminClient(
                bootstrap_servers=self._broker, bootstrap_timeout_ms=3000, request_timeout_ms=3000
            )
        return self._admin

    def _drop_admin(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            with suppress(Exception):
                admin.close()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_SECONDS):
            self._remember_memory()
            with suppress(redis.RedisError, OSError):
                self.freeze()
            try:
                self.group()
            except (KafkaError, RuntimeError, OSError):
                self._drop_admin()

    def _remember_memory(self) -> None:
        for name, pid in self.workers().items():
            with suppress(OSError, ValueError):
                at, pages = h.now(), int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                self._writer.write(h.Memory("harness", at, at, name, pages * _PAGE))


def _row(fields: list[bytes | None]) -> h.RecordRow:
    status, fence, attempt, lost, task, digest, result, error = [(one or b"").decode() for one in fields]
    return h.RecordRow(status, int(fence or 0), int(attempt or 0), int(lost or 0), task, digest, result, error)


def _id_of(body: bytes | None) -> str:
    try:
        return envelope.decode(body or b"").id
    except EnvelopeError as error:
        return error.task_id or ""  # a message of a newer format has its ID
