"""Values for the tests of a backend, and a namespace that is read and written by the seam alone."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from yadtq_core.interfaces import Backend
from yadtq_core.model import (
    Answer,
    Delivery,
    Error,
    Hold,
    Outcome,
    Partition,
    Placed,
    Record,
    Release,
    ReleaseReason,
    Status,
    Submission,
    Sweep,
    Verdict,
    WorkerIdentity,
    WorkerStats,
    new_id,
)
from yadtq_core.wire import envelope

STATS = WorkerStats(
    state="online", tasks_executed=0, running=0, slots=2, free=2, queues=("default",), tasks=("add",), version="1"
)
SHORT = 0.002
"""Seconds; a duration that has passed when `BackendBed.pass_time` returns."""


def worker(name: str = "w") -> WorkerIdentity:
    """Return a new worker."""
    return WorkerIdentity(id=name, incarnation=secrets.token_hex(4), host="host", pid=1, process_started=1.5)


def submission(task: str = "add", *, arguments: bytes = b"[[1,2],{}]", delay: float = 0.0, **given: Any) -> Submission:
    """Return a submission as a client makes it."""
    message = envelope.build(task, arguments, id=given.pop("id", None) or new_id(), **given)
    return Submission(message, envelope.encode(message), delay)


def delivery(given: Submission, submitted_at_ms: int, partition: int = 0, offset: int = 7) -> Delivery:
    """Return a submission as a consumer gives it to a worker."""
    body = envelope.stamp(given.body, submitted_at_ms)
    return Delivery(envelope.decode(body), body, Partition(given.message.queue, partition), offset)


def outcome(task_id: str, answer: Answer | int, status: Status = Status.SUCCESS, **given: Any) -> Outcome:
    """Return the outcome of a run, under the fence of its claim."""
    fence = answer if isinstance(answer, int) else answer.fence
    values: dict[str, Any] = {"result": b"3", "content_type": "application/json"} if status is Status.SUCCESS else {}
    if status in (Status.FAILED, Status.SCHEDULED):
        values = {"error": Error("ValueError", "no"), "retry_in": 60.0 if status is Status.SCHEDULED else None}
    return Outcome(
        id=task_id,
        task="add",
        status=status,
        attempt=1,
        fence=fence,
        worker_id="w",
        queue=given.pop("queue", "default"),
        headers={},
        submitted_at=0.0,
        started_at=0.0,
        duration=0.0,
        **(values | given),
    )


def given_back(task_id: str, answer: Answer, reason: ReleaseReason = ReleaseReason.UNSTARTED, **given: Any) -> Release:
    """Return the release of a run, under the fence of its claim."""
    return Release(task_id, given.pop("queue", "default"), answer.fence, reason, **given)


def position_of(task_id: str, offset: int) -> str:
    """Return a position in the log: a partition of the task's shard, for any number of shards."""
    return f"{partition_of(task_id)}:{offset}"


def partition_of(task_id: str) -> int:
    """Return the number of a partition of the task's shard, for any number of shards."""
    return int(task_id[-2:], 16)


class BackendBed:
    """A namespace; its backends share a store and differ in their settings.

    opener: opens a backend; takes settings by keyword.
    """

    def __init__(self, opener: Callable[..., Backend]) -> None:
        self._opener = opener
        self._opened: list[Backend] = []
        self.worker = worker()
        self.backend = self.open()

    def open(self, *, lease: float | None = None, **settings: Any) -> Backend:
        """Return another backend of this namespace; durations may be shorter than `load` allows."""
        if lease is not None:
            settings["claim_stale_seconds"] = lease
        made = self._opener(**settings)
        self._opened.append(made)
        return made

    def close(self) -> None:
        """Close all backends."""
        for made in self._opened:
            made.close()

    def submit(self, count: int = 1, task: str = "add", **given: Any) -> list[Delivery]:
        """Create records; return the deliveries of their messages."""
        new = [submission(task, **given) for _ in range(count)]
        made = self.backend.create(new)
        return [delivery(one, what.submitted_at_ms) for one, what in zip(new, made, strict=True)]

    def claim(self, deliveries: Sequence[Delivery], **given: Any) -> list[Answer]:
        """Claim, with a new nonce unless one is given."""
        backend, by = given.get("backend", self.backend), given.get("worker", self.worker)
        return list(backend.claim(deliveries, by, given.get("nonce") or secrets.token_hex(8)))

    def run(self, one: Delivery, **given: Any) -> Answer:
        """Claim a record that must be free."""
        answer = self.claim([one], **given)[0]
        assert answer.verdict is Verdict.RUN
        return answer

    def lost(self, one: Delivery, **given: Any) -> Answer:
        """Claim a record with a lease that has ended when this returns: its worker is dead."""
        answer = self.run(one, backend=self.open(lease=SHORT), **given)
        self.pass_time()
        return answer

    def finish(self, *outcomes: Outcome, worker: WorkerIdentity | None = None) -> list[str]:
        """Finish these; return the codes."""
        return list(self.backend.finish(outcomes, worker or self.worker))

    def fail(self, one: Delivery) -> Answer:
        """Run a record, and let it fail without a retry."""
        answer = self.run(one)
        assert self.finish(outcome(one.message.id, answer, Status.FAILED)) == ["ok"]
        return answer

    def record(self, one: Delivery | str) -> Record:
        """Return a record that must exist."""
        task_id = one if isinstance(one, str) else one.message.id
        found = self.backend.get([task_id])[0]
        assert found is not None
        return found

    def hold(self, one: Delivery, answer: Answer, progress: str = "") -> Hold:
        """Return a hold for `extend`."""
        return Hold(one.message.id, one.message.queue, answer.fence, progress)

    def confirm(self, *ones: Delivery, offset: int = 7) -> None:
        """Store positions in the log, from this offset on."""
        numbered = enumerate((one.message for one in ones), offset)
        self.backend.confirm([Placed(each.id, each.queue, position_of(each.id, number)) for number, each in numbered])

    def sweep(self, *queues: str) -> Sweep:
        """Sweep once, and count what is ready in these queues (`default` if none is named)."""
        return self.backend.sweep(200, queues or ("default",))

    def failed(self) -> list[str]:
        """Sweep; return the IDs of those that need a dead letter."""
        return [due.id for due in self.sweep().failed]

    def take(self, wanted: int = 200, *elsewhere: str, queue: str = "default") -> list[str]:
        """Take ready records of one queue; return their IDs in order."""
        return [one.message.id for one in self.backend.take({queue: wanted}, elsewhere).deliveries]

    def ready(self, queue: str = "default") -> int:
        """Return how many records of a queue wait for a free slot."""
        return self.sweep(queue).ready[queue]

    def pass_time(self, milliseconds: int = 4) -> None:
        """Wait until the store's clock has advanced by more than `milliseconds`."""
        until = self.backend.time_ms() + milliseconds
        while self.backend.time_ms() <= until:
            time.sleep(0.0005)
