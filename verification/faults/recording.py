"""A backend, a broker and a consumer that write what they are asked and answer into the history.

They are reached by the schemes `recorded+redis://` and `recorded+kafka://`, which this plugin offers; everything else
is that of the address behind. Nothing in yadtq knows of them, so a program that is not recorded pays nothing.

Some of them die on purpose: FAULTS_FAILPOINT=created:20 kills the process after its twentieth record has been
written and before anything is sent, `published:20` after the broker has acknowledged its twentieth message and
before that is confirmed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import structs

from verification import wire_version2
from verification.faults import history as h
from verification.faults.recorded_consumer import RecordedConsumer, RecordedReplayableConsumer
from yadtq_core import hookimpl
from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import ReplayableConsumer

if TYPE_CHECKING:
    from collections.abc import Callable

    from yadtq_core.interfaces import (
        Backend,
        BackendFactory,
        Broker,
        BrokerFactory,
        Consumer,
        Outgoing,
        Publication,
        Subscription,
    )
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
    )
    from yadtq_core.settings import Settings
    from yadtq_core.tasks.task import Task

PREFIX = "recorded+"
FAILPOINT = "FAULTS_FAILPOINT"
UNBOUND = "FAULTS_UNBOUND"
"""The names of tasks, separated by commas, for which a binding hook of this process raises."""
NEWER = {"FAULTS_WIRE_VERSION": "2"}
"""The environment of a process that writes version 2 of the wire format: a worker (and its children) or a client."""
if NEWER.items() <= os.environ.items():
    wire_version2.install()

T = TypeVar("T")


@hookimpl
def yadtq_brokers() -> Mapping[str, BrokerFactory]:
    """Offer a recorded Kafka."""
    return {f"{PREFIX}kafka": _broker}


@hookimpl
def yadtq_backends() -> Mapping[str, BackendFactory]:
    """Offer a recorded Redis."""
    return {f"{PREFIX}redis": _backend}


@hookimpl
def yadtq_retry_policy(task: Task[..., Any]) -> None:
    """Raise for the tasks that this process must not be able to bind."""
    if task.name in os.environ.get(UNBOUND, "").split(","):
        raise LookupError(f"{UNBOUND} names {task.name}")


def _broker(settings: Settings) -> Broker:
    from yadtq_core.brokers import kafka  # noqa: PLC0415  (a child lists the schemes, and opens none)

    behind = structs.replace(settings, broker=settings.broker.removeprefix(PREFIX))
    return RecordedBroker(kafka.open(behind), h.writer_of_environment())


def _backend(settings: Settings) -> Backend:
    from yadtq_core.backends.redis import backend  # noqa: PLC0415

    behind = structs.replace(settings, backend=settings.backend.removeprefix(PREFIX))
    return RecordedBackend(backend.open(behind), h.writer_of_environment())


class Failpoint:
    """Kills this process once an event has happened the given number of times."""

    def __init__(self, name: str) -> None:
        wanted, _, times = os.environ.get(FAILPOINT, "").partition(":")
        self._left = int(times) if wanted == name else 0

    def passed(self, times: int) -> None:
        """Count `times` more events."""
        if self._left > 0:
            self._left -= times
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class RecordedBackend:
    """`interfaces.Backend`: the calls that decide anything are written down with their answers."""

    def __init__(self, behind: Backend, writer: h.Writer) -> None:
        self._behind = behind
        self._writer = writer
        self._who = writer.who
        self._epochs: list[str] = []
        self._failpoint = Failpoint("created")

    def create(
        self, submissions: Sequence[Submission], *, stream: Callable[[str, int], str | None] | None = None
    ) -> Sequence[Created]:
        b, answers = self._ask("create", lambda: self._behind.create(submissions, stream=stream))
        pairs = zip(submissions, answers, strict=True)
        got = [h.Create(one.message.id, one.message.digest, answer.code.value) for one, answer in pairs]
        self._writer.write(h.Created(self._who, b, h.now(), got))
        self._failpoint.passed(len(got))
        return answers

    def confirm(self, positions: Sequence[Placed]) -> None:
        self._behind.confirm(positions)

    def claim(
        self, deliveries: Sequence[Delivery], worker: WorkerIdentity, nonce: str, *, nothing_stale: bool = False
    ) -> Sequence[Answer]:
        b, answers = self._ask(
            "claim", lambda: self._behind.claim(deliveries, worker, nonce, nothing_stale=nothing_stale)
        )
        self._claimed(b, nonce, deliveries, answers)
        return answers

    def offer(self, deliveries: Sequence[Delivery]) -> Sequence[Answer]:
        b, answers = self._ask("offer", lambda: self._behind.offer(deliveries))
        self._claimed(b, "", deliveries, answers)
        return answers

    def _claimed(self, b: float, nonce: str, deliveries: Sequence[Delivery], answers: Sequence[Answer]) -> None:
        got = [
            h.Claim(
                delivery.message.id,
                one.verdict.value,
                one.fence,
                one.attempt,
                one.wait_ms,
                one.lost,
                one.started_at_ms,
            )
            for delivery, one in zip(deliveries, answers, strict=True)
        ]
        self._writer.write(h.Claimed(self._who, b, h.now(), nonce, got))

    def ended(self, ids: Sequence[str]) -> Sequence[bool]:
        b, answers = self._ask("ended", lambda: self._behind.ended(ids))
        got = [h.Claim(task_id, "done", 0, 0, 0, 0, 0) for task_id, over in zip(ids, answers, strict=True) if over]
        if got:
            self._writer.write(h.Claimed(self._who, b, h.now(), "", got))
        return answers

    def extend(self, holds: Sequence[Hold], worker: WorkerIdentity) -> Sequence[ExtendCode]:
        b, codes = self._ask("extend", lambda: self._behind.extend(holds, worker))
        got = [h.Code(hold.id, hold.fence, code.value) for hold, code in zip(holds, codes, strict=True)]
        self._writer.write(h.Extended(self._who, b, h.now(), got))
        return codes

    def finish(self, outcomes: Sequence[Outcome], worker: WorkerIdentity) -> Sequence[FinishCode]:
        self._asked((one.id, one.fence, one.status.value) for one in outcomes)
        b, codes = self._ask("finish", lambda: self._behind.finish(outcomes, worker))
        pairs = zip(outcomes, codes, strict=True)
        got = [h.Code(one.id, one.fence, code.value, one.status.value) for one, code in pairs]
        self._writer.write(h.Finished(self._who, b, h.now(), got))
        return codes

    def release(self, releases: Sequence[Release], worker: WorkerIdentity) -> Sequence[FinishCode]:
        self._asked((one.id, one.fence, one.reason.value) for one in releases)
        b, codes = self._ask("release", lambda: self._behind.release(releases, worker))
        pairs = zip(releases, codes, strict=True)
        got = [h.Code(one.id, one.fence, code.value, one.reason.value) for one, code in pairs]
        self._writer.write(h.Released(self._who, b, h.now(), got))
        return codes

    def sweep(self, limit: int, queues: Sequence[str]) -> Sweep:
        b, found = self._ask("sweep", lambda: self._behind.sweep(limit, queues))
        if found.reclaimed or found.failed:
            got = [(one.id, "queued", True) for one in found.reclaimed]
            got += [(one.id, "failed", False) for one in found.failed]
            self._writer.write(h.Swept(self._who, b, h.now(), found.now_ms, got))
        return found

    def take(self, wanted: Mapping[str, int], elsewhere: Collection[str]) -> Taken:
        return self._behind.take(wanted, elsewhere)

    def recover(self, queue: str, ranges: Sequence[tuple[int, int, int]], epochs: Sequence[Epoch]) -> int:
        return self._behind.recover(queue, ranges, epochs)

    def highest(self, queue: str, partitions: Sequence[int]) -> Mapping[int, int]:
        return self._behind.highest(queue, partitions)

    def get(self, ids: Sequence[str]) -> Sequence[Record | None]:
        b, records = self._ask("get", lambda: self._behind.get(ids))
        got = [(one.id, one.status.value, one.attempt, one.fence) for one in records if one is not None]
        self._writer.write(h.Read(self._who, b, h.now(), got))
        return records

    def cancel(self, ids: Sequence[str], reason: str) -> Sequence[CancelCode]:
        b, codes = self._ask("cancel", lambda: self._behind.cancel(ids, reason))
        got = [(task_id, code.value) for task_id, code in zip(ids, codes, strict=True)]
        self._writer.write(h.Cancelled(self._who, b, h.now(), got))
        return codes

    def heartbeat(self, worker: WorkerIdentity, stats: WorkerStats, known: Sequence[Epoch]) -> Heartbeat:
        b, beat = self._ask("heartbeat", lambda: self._behind.heartbeat(worker, stats, known))
        ids = [epoch.id for epoch in beat.epochs]
        if ids != self._epochs:
            self._epochs = ids
            self._writer.write(h.Epochs(self._who, b, h.now(), ids))
        return beat

    def held(self, worker: WorkerIdentity) -> Sequence[Hold]:
        return self._behind.held(worker)

    def resets(self, ids: Sequence[str]) -> Sequence[Reset | None]:
        return self._behind.resets(ids)

    def messages(self, ids: Sequence[str]) -> Sequence[bytes | None]:
        return self._behind.messages(ids)

    def buried(self, ids: Sequence[str]) -> None:
        self._behind.buried(ids)

    def watch(self, ids: Sequence[str], channel: str) -> Sequence[bool]:
        return self._behind.watch(ids, channel)

    def subscribe(self) -> Subscription:
        return self._behind.subscribe()

    def counts(self) -> Counts:
        return self._behind.counts()

    def workers(self, *, online: bool = False) -> Sequence[WorkerRow]:
        return self._behind.workers(online=online)

    def time_ms(self) -> int:
        return self._behind.time_ms()

    def check(self) -> None:
        self._behind.check()

    def findings(self) -> Iterable[Finding]:
        return self._behind.findings()

    def close(self) -> None:
        self._behind.close()

    def _asked(self, runs: Iterable[tuple[str, int, str]]) -> None:
        at = h.now()
        self._writer.write(h.Asked(self._who, at, at, list(runs)))

    def _ask(self, call: str, question: Callable[[], T]) -> tuple[float, T]:
        """Return the time of the question, and the answer. Write an error into the history."""
        b = h.now()
        try:
            return b, question()
        except YadtqError as error:
            self._writer.write(h.Failed(self._who, b, h.now(), call, str(error)[:300]))
            raise


class RecordedPublication:
    """`interfaces.Publication`: each acknowledgement is written into the history once."""

    def __init__(
        self, behind: Publication, ids: Sequence[str], broker: RecordedBroker, b: float, *, dead: bool
    ) -> None:
        self._behind = behind
        self._ids = ids
        self._broker = broker
        self._b = b
        self._dead = dead
        self._told: set[int] = set()

    def wait(self, timeout: float) -> Sequence[str | None]:
        positions = self._behind.wait(timeout)
        new = [number for number, one in enumerate(positions) if one is not None and number not in self._told]
        if new:
            self._told.update(new)
            got = [(self._ids[number], positions[number] or "") for number in new]
            self._broker.acknowledged(h.Published(self._broker.writer.who, self._b, h.now(), got, dead=self._dead))
        return positions

    @property
    def errors(self) -> Mapping[int, str]:
        return self._behind.errors


class RecordedBroker:
    """`interfaces.Broker`: acknowledgements and commits are written into the history."""

    def __init__(self, behind: Broker, writer: h.Writer) -> None:
        self._behind = behind
        self.writer = writer
        self.replayable = behind.replayable
        self.partitioned = behind.partitioned
        self._failpoint = Failpoint("published")

    def acknowledged(self, event: h.Published) -> None:
        """Write down what the broker has."""
        self.writer.write(event)
        self._failpoint.passed(len(event.got))

    def ensure(self, queues: Sequence[str], *, create: bool) -> None:
        self._behind.ensure(queues, create=create)

    def grow(self, queues: Sequence[str], partitions: int) -> None:
        self._behind.grow(queues, partitions)

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Publication:
        b, ids = h.now(), [message.id for message in messages]
        return RecordedPublication(self._behind.publish(messages, timestamp_ms=timestamp_ms), ids, self, b, dead=False)

    def publish_dead(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Publication:
        b, ids = h.now(), [message.id for message in messages]
        behind = self._behind.publish_dead(messages, timestamp_ms=timestamp_ms)
        return RecordedPublication(behind, ids, self, b, dead=True)

    def unacknowledged(self) -> int:
        return self._behind.unacknowledged()

    def stream(self, queue: str, shard: int) -> str | None:
        return self._behind.stream(queue, shard)

    def consumer(self, queues: Sequence[str], *, member: str) -> Consumer:
        consumer = self._behind.consumer(queues, member=member)
        if isinstance(consumer, ReplayableConsumer):
            return RecordedReplayableConsumer(consumer, self.writer)
        return RecordedConsumer(consumer, self.writer)

    def findings(self, now_ms: int) -> Iterable[Finding]:
        return self._behind.findings(now_ms)

    def close(self, timeout: float) -> None:
        self._behind.close(timeout)
