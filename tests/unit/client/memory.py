"""Backend and broker as a client sees them, in memory, with switches for what can go wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from yadtq_core import Client, hookimpl
from yadtq_core.errors import BrokerUnavailable, ConfigurationRefused
from yadtq_core.interfaces import Outgoing
from yadtq_core.model import (
    ENDED,
    CancelCode,
    Counts,
    CreateCode,
    Created,
    Error,
    Placed,
    Record,
    Reset,
    Status,
    Submission,
    WorkerRow,
)
from yadtq_core.plugin import load_plugins
from yadtq_core.settings import Settings


class Channel:
    """One subscription; `lost` makes the next wait say that pushes may have been missed."""

    def __init__(self) -> None:
        self.channel = "channel"
        self.lost = False
        self.deaf = False
        self.forgotten: list[str] = []
        self._arrived = threading.Condition()
        self._ids: list[str] = []

    def push(self, task_id: str) -> None:
        with self._arrived:
            if not self.deaf:
                self._ids.append(task_id)
            self._arrived.notify()

    def wait(self, timeout: float) -> Sequence[str] | None:
        with self._arrived:
            self._arrived.wait_for(lambda: self._ids or self.lost, timeout)
            ids, self._ids = self._ids, []
            if self.lost:
                self.lost = False
                return None
            return ids

    def reconnect(self) -> None:
        with self._arrived:
            self.lost = True
            self._arrived.notify()

    def forget(self, ids: Sequence[str]) -> None:
        self.forgotten += ids

    def close(self) -> None:
        pass


class MemoryBackend:
    """Records in a dictionary. `calls` counts, `before` is called with each method's name first and may raise."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.digests: dict[str, str] = {}
        self.bodies: dict[str, bytes] = {}
        self.positions: dict[str, str] = {}
        self.calls: list[tuple[str, int]] = []
        self.before: Callable[[str, Sequence[Any]], None] = lambda name, items: None
        self.after: Callable[[str, Sequence[Any]], None] = lambda name, items: None
        self.channel = Channel()
        self.reset: Reset | None = None
        self.watched: set[str] = set()
        self.rows: list[WorkerRow] = []
        self.looks = 0
        self.closed = False
        self._lock = threading.RLock()

    @contextmanager
    def _call(self, name: str, items: Sequence[Any]) -> Iterator[None]:
        self.before(name, items)
        with self._lock:
            self.calls.append((name, len(items)))
            yield
        self.after(name, items)

    def sizes(self, name: str) -> list[int]:
        return [size for called, size in self.calls if called == name]

    def create(
        self, submissions: Sequence[Submission], *, stream: Callable[[str, int], str | None]
    ) -> Sequence[Created]:
        with self._call("create", submissions):
            return [self._create(submission, stream(submission.message.queue, 0)) for submission in submissions]

    def _create(self, submission: Submission, stream: str | None) -> Created:
        message = submission.message
        record = self.records.get(message.id)
        if stream and not submission.delay:
            self.positions[message.id] = stream
        if record is not None:
            same = self.digests[message.id] == message.digest
            code = CreateCode.EXISTS if same else CreateCode.CONFLICT
            return Created(code, int(record.submitted_at * 1000), record.status, message.id in self.positions)
        status = Status.SCHEDULED if submission.delay else Status.QUEUED
        now = self.time_ms()
        self.records[message.id] = Record(message.id, message.task, status, message.queue, now / 1000)
        self.digests[message.id] = message.digest
        self.bodies[message.id] = submission.body
        return Created(CreateCode.NEW, now, status, message.id in self.positions)

    def confirm(self, positions: Sequence[Placed]) -> None:
        with self._call("confirm", positions):
            self.positions.update({one.id: one.position for one in positions})

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        with self._call("get", ids):
            return [self.records.get(task_id) for task_id in ids]

    def resets(self, ids: Sequence[str]) -> Sequence[Reset | None]:
        with self._call("resets", ids):
            return [self.reset for _ in ids]

    def cancel(self, ids: Sequence[str], reason: str) -> Sequence[CancelCode]:
        with self._call("cancel", ids):
            return [self._cancel(task_id, reason) for task_id in ids]

    def _cancel(self, task_id: str, reason: str) -> CancelCode:
        record = self.records.get(task_id)
        if record is None:
            return CancelCode.MISSING
        if record.status in ENDED:
            return CancelCode.ENDED
        self.end(task_id, Status.CANCELLED, error=Error("Cancelled", reason))
        return CancelCode.CANCELLED

    def end(
        self, task_id: str, status: Status = Status.SUCCESS, result: bytes = b"null", error: Error | None = None
    ) -> None:
        """End a task as a worker would."""
        with self._lock:
            old = self.records[task_id]
            self.records[task_id] = Record(
                task_id,
                old.task,
                status,
                old.queue,
                old.submitted_at,
                result=result if status is Status.SUCCESS else None,
                content_type="application/json",
                error=error,
                finished_at=time.time(),
            )
            watched = task_id in self.watched
        if watched:
            self.channel.push(task_id)

    def watch(self, ids: Sequence[str], channel: str) -> Sequence[bool]:
        with self._call("watch", ids):
            self.watched.update(ids)
            return [(record := self.records.get(task_id)) is None or record.status in ENDED for task_id in ids]

    def subscribe(self) -> Channel:
        return self.channel

    def counts(self) -> Counts:
        return Counts({}, {})

    def workers(self, *, online: bool = False) -> Sequence[WorkerRow]:
        self.looks += 1
        return self.rows

    def time_ms(self) -> int:
        return int(time.time() * 1000)

    def check(self) -> None:
        self.before("check", ())

    def close(self) -> None:
        self.closed = True


class MemoryPublication:
    def __init__(self, broker: MemoryBroker, ids: list[str]) -> None:
        self._broker = broker
        self._ids = ids
        self.errors: Mapping[int, str] = {}

    def wait(self, timeout: float) -> Sequence[str | None]:
        deadline = time.monotonic() + timeout
        with self._broker.changed:
            while not all(task_id in self._broker.positions for task_id in self._ids):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._broker.changed.wait(left)
            return [self._broker.positions.get(task_id) for task_id in self._ids]


class MemoryBroker:
    """Messages in a list; acknowledges at once, or when `silent` is set False again by `speak`."""

    replayable = False

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []
        self.batches: list[int] = []
        self.timestamps: list[int] = []
        self.positions: dict[str, str] = {}
        self.queues: set[str] | None = None
        self.created: list[str] = []
        self.may_create = True
        self.ensured: list[str] = []
        self.changed = threading.Condition()
        self.silent = False
        self.unreachable = False
        self.closed = False
        self.streams = False

    def stream(self, queue: str, shard: int) -> str | None:
        return f"stream:{queue}" if self.streams else None

    def ensure(self, queues: Sequence[str], *, create: bool) -> None:
        if self.unreachable:
            raise BrokerUnavailable("the memory broker is away")
        self.ensured += queues
        if create and not self.may_create:
            raise ConfigurationRefused("the memory broker refuses: not authorized")
        if create:
            self.created += queues
        elif self.queues is not None and not set(queues) <= self.queues:
            raise ConfigurationRefused(f"topic of {queues[0]} does not exist: run `yadtq provision`")

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> MemoryPublication:
        with self.changed:
            self.messages += messages
            self.batches.append(len(messages))
            self.timestamps.append(timestamp_ms)
        if not self.silent:
            self.speak()
        return MemoryPublication(self, [message.id for message in messages])

    def speak(self, most: int | None = None) -> None:
        """Acknowledge everything that was sent, and all later messages; or the `most` oldest alone."""
        with self.changed:
            self.silent = most is not None
            waiting = [(n, message.id) for n, message in enumerate(self.messages) if message.id not in self.positions]
            self.positions.update((task_id, f"0:{number}") for number, task_id in waiting[:most])
            self.changed.notify_all()

    def unacknowledged(self) -> int:
        with self.changed:
            return len({message.id for message in self.messages} - self.positions.keys())

    def close(self, timeout: float) -> None:
        self.closed = True


class Installation:
    """A backend and a broker, and clients of them."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.broker = MemoryBroker()
        self.opened = 0
        self.clients: list[Client] = []

    @hookimpl
    def yadtq_brokers(self) -> Mapping[str, Any]:
        return {"mem": lambda settings: self.broker}

    @hookimpl
    def yadtq_backends(self) -> Mapping[str, Any]:
        def opened(settings: Settings) -> MemoryBackend:
            self.opened += 1
            return self.backend

        return {"mem": opened}

    def client(self, submit_timeout: float = 5.0, **options: Any) -> Client:
        settings = Settings(broker="mem://here", backend="mem://here", submit_timeout=submit_timeout)
        client = Client(settings, plugins=load_plugins(self), **options)
        self.clients.append(client)
        return client


__all__ = ["Channel", "Installation", "MemoryBackend", "MemoryBroker"]
