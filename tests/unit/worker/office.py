"""A worker's parts on a backend, a broker and an executor that record what they were asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from msgspec import Raw

from yadtq_core.errors import BackendUnavailable
from yadtq_core.interfaces import Backend, Broker
from yadtq_core.model import (
    Answer,
    Delivery,
    FinishCode,
    Lease,
    Message,
    Partition,
    Release,
    Verdict,
    WorkerIdentity,
    WorkerRow,
    WorkerStats,
)
from yadtq_core.plugin import load_plugins
from yadtq_core.settings import Settings
from yadtq_core.worker.assembly import Assembly
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import ChildEvents, Executor
from yadtq_core.worker.rules.budget import BUDGET
from yadtq_core.worker.rules.intake import Intake

P0 = Partition("default", 0)
RUN = Answer(Verdict.RUN, 7, 1)


class Store:
    """A backend that grants every claim and records releases; with `away` set it does not answer."""

    def __init__(self) -> None:
        self.away = False
        self.released: list[Release] = []
        self.claims: list[tuple[list[str], str]] = []
        self.rows: list[WorkerRow] = []

    def claim(
        self, deliveries: Sequence[Delivery], worker: WorkerIdentity, nonce: str, *, nothing_stale: bool = False
    ) -> Sequence[Answer]:
        self.claims.append(([delivery.message.id for delivery in deliveries], nonce))
        if self.away:
            raise BackendUnavailable("away")
        return [RUN for _ in deliveries]

    def workers(self, *, online: bool = False) -> Sequence[WorkerRow]:
        return self.rows

    def release(self, releases: Sequence[Release], worker: WorkerIdentity) -> Sequence[FinishCode]:
        if self.away:
            raise BackendUnavailable("away")
        self.released += releases
        return [FinishCode.OK for _ in releases]


class Children:
    """An executor that has loaded `add` and takes every lease while it has children."""

    def __init__(self) -> None:
        self.tasks = frozenset({"add"})
        self.unbound: dict[str, str] = {}
        self.given: list[Lease] = []
        self.ready = True
        self.room = BUDGET
        self.free = 0
        self.heard: list[ChildEvents] = []

    def give(self, leases: Sequence[Lease]) -> bool:
        self.given += leases if self.ready else []
        return self.ready

    def read(self, timeout: float) -> ChildEvents:
        return self.heard.pop()


class Post:
    """A broker, replayable or not; these tests call nothing of it."""

    def __init__(self, *, replayable: bool) -> None:
        self.replayable = replayable


class Office:
    """A worker that has polled three messages of partition 0: two of `add`, one of a task that is not loaded."""

    def __init__(
        self, *, replayable: bool = True, store: Store | None = None, children: Children | None = None
    ) -> None:
        self.store, self.children = store or Store(), children or Children()
        identity = WorkerIdentity("w1", "i1", "host", 1, 0.0)
        self.parts = Assembly(
            Settings(),
            identity,
            cast(Broker, Post(replayable=replayable)),
            cast(Backend, self.store),
            executor=cast(Executor, self.children),
            events=Events(load_plugins(), identity),
        )
        self.intake: Intake = self.parts.intake._intake
        self.intake.gained(P0, 0)
        self.intake.polled([message(0), message(1), message(2, "strange")], 0.0)
        self.claimer = self.parts.intake_thread.claimer
        self.requeue = self.parts.requeue

    def claim(self, most: int = 9) -> bool:
        return self.claimer.claim(self.intake.next_batch(most, 1e9, {}))

    @property
    def low(self) -> int:
        return self.intake._partitions[P0].watermark.low


def peer(*tasks: str) -> WorkerRow:
    """Return the heartbeat of another worker with a free slot that has loaded these tasks."""
    stats = WorkerStats("online", 0, 0, 1, 1, ("default",), tasks)
    return WorkerRow(WorkerIdentity("w2", "i2", "host", 2, 0.0), stats, 0.0, online=True)


def message(offset: int, task: str = "add", partition: Partition | None = P0) -> Delivery:
    return Delivery(Message(v=1, id=f"id{offset}", task=task, arguments=Raw(b"[[],{}]")), b"", partition, offset)
