"""A namespace of a real Redis, looked at from both sides: through backends, and behind their back."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.waiting import wait_until
from yadtq_core import envelope
from yadtq_core.backends.redis import RedisBackend
from yadtq_core.connect import open_store
from yadtq_core.model import (
    Answer,
    Delivery,
    Error,
    Hold,
    Outcome,
    Partition,
    Record,
    Release,
    ReleaseReason,
    Status,
    Submission,
    Verdict,
    WorkerIdentity,
    WorkerStats,
    new_id,
    shard_of,
)

STATS = WorkerStats(
    state="online", tasks_executed=0, running=0, slots=2, free=2, queues=("default",), tasks=("add",), version="1"
)
SHORT = 0.002
"""A lease that is over before the next call looks at it, in seconds; `Bed.pass_time` makes sure."""
LEFT_TO_STAND = {"counts", "epoch", "workers", "meta"}


def worker(name: str = "w") -> WorkerIdentity:
    """Return a new worker."""
    return WorkerIdentity(id=name, incarnation=secrets.token_hex(4), host="host", pid=1, process_started=1.5)


def submission(task: str = "add", *, arguments: bytes = b"[[1,2],{}]", delay: float = 0.0, **given: Any) -> Submission:
    """Return what a client creates."""
    message = envelope.build(task, arguments, id=given.pop("id", None) or new_id(), **given)
    return Submission(message, envelope.encode(message), delay)


def delivery(given: Submission, submitted_at_ms: int, partition: int = 0, offset: int = 7) -> Delivery:
    """Return a submission as a consumer gives it to a worker."""
    body = envelope.stamp(given.body, submitted_at_ms)
    return Delivery(envelope.decode(body), body, Partition(given.message.queue, partition), offset)


def outcome(task_id: str, answer: Answer | int, status: Status = Status.SUCCESS, **given: Any) -> Outcome:
    """Return how a run ended, under the fence of its claim."""
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
        queue="default",
        headers={},
        submitted_at=0.0,
        started_at=0.0,
        duration=0.0,
        **(values | given),
    )


def given_back(task_id: str, answer: Answer, reason: ReleaseReason = ReleaseReason.UNSTARTED, **given: Any) -> Release:
    """Return a release under the fence of a claim."""
    return Release(task_id, answer.fence, reason, **given)


class Bed:
    """One namespace; its backends share a store and differ in their settings."""

    def __init__(self, url: str, namespace: str, shards: int = 1) -> None:
        self.url, self.namespace, self.shards = url, namespace, shards
        self.store = open_store(url)
        self.backend = self.open()
        self.worker = worker()

    def open(self, **settings: Any) -> RedisBackend:
        """Return another backend of this namespace."""
        return RedisBackend(self.store, namespace=self.namespace, **({"shards": self.shards} | settings))

    def submit(self, count: int = 1, task: str = "add", **given: Any) -> list[Delivery]:
        """Create records; return their deliveries."""
        new = [submission(task, **given) for _ in range(count)]
        made = self.backend.create(new)
        return [delivery(one, what.submitted_at_ms) for one, what in zip(new, made, strict=True)]

    def claim(self, deliveries: Sequence[Delivery], **given: Any) -> list[Answer]:
        """Claim with a nonce of its own."""
        backend, by = given.get("backend", self.backend), given.get("worker", self.worker)
        return list(backend.claim(deliveries, by, given.get("nonce") or secrets.token_hex(8)))

    def run(self, one: Delivery, **given: Any) -> Answer:
        """Claim one that must be free."""
        answer = self.claim([one], **given)[0]
        assert answer.verdict is Verdict.RUN
        return answer

    def lost(self, one: Delivery, **given: Any) -> Answer:
        """Claim one with a lease that is over when this returns: its worker is dead."""
        answer = self.run(one, backend=self.open(lease=SHORT), **given)
        self.pass_time()
        return answer

    def finish(self, *outcomes: Outcome, worker: WorkerIdentity | None = None) -> list[str]:
        """Return the codes of finishing these."""
        return list(self.backend.finish(outcomes, worker or self.worker))

    def fail(self, one: Delivery) -> Answer:
        """Run one and let it fail for good."""
        answer = self.run(one)
        assert self.finish(outcome(one.message.id, answer, Status.FAILED)) == ["ok"]
        return answer

    def record(self, one: Delivery | str) -> Record:
        """Return a record that must be there."""
        task_id = one if isinstance(one, str) else one.message.id
        found = self.backend.get([task_id])[0]
        assert found is not None
        return found

    def hold(self, one: Delivery, answer: Answer, progress: str = "") -> Hold:
        """Return one line of what a worker extends."""
        return Hold(one.message.id, answer.fence, progress)

    def pass_time(self, milliseconds: int = 4) -> None:
        """Return when Redis's clock has gone on by so much."""
        until = self.backend.time_ms() + milliseconds
        wait_until(lambda: self.backend.time_ms() > until, "Redis's clock goes on")

    def key(self, kind: str, one: Delivery | str) -> str:
        """Return the key of a record (`task`) or message (`message`)."""
        task_id = one if isinstance(one, str) else one.message.id
        return f"yadtq:{{{self.namespace}:{shard_of(task_id, self.shards)}}}:{kind}:{task_id}"

    def shard_key(self, kind: str, shard: int = 0) -> str:
        """Return one of a shard's own keys."""
        return f"yadtq:{{{self.namespace}:{shard}}}:{kind}"

    def score(self, one: Delivery | str) -> int | None:
        """Return when somebody must look at it (ms), None where it is not in `open`."""
        task_id = one if isinstance(one, str) else one.message.id
        found = self.store.run("ZSCORE", self.shard_key("open", shard_of(task_id, self.shards)), task_id)
        return None if found is None else int(found)

    def fields(self, one: Delivery | str) -> dict[str, str]:
        """Return a record's hash."""
        return {
            name.decode(): value.decode() for name, value in self.store.run("HGETALL", self.key("task", one)).items()
        }

    def names(self) -> list[str]:
        """Return every key of the namespace."""
        found: list[str] = []
        cursor = 0
        while True:
            cursor, some = self.store.run("SCAN", cursor, "MATCH", f"yadtq:{{{self.namespace}*", "COUNT", 1000)
            found += [name.decode() for name in some]
            if int(cursor) == 0:
                return sorted(set(found))

    def lose_everything(self) -> None:
        """What FLUSHALL does, to this namespace only."""
        for name in self.names():
            self.store.run("DEL", name)

    def scan(self) -> dict[str, dict[str, int]]:
        """Return unfinished records by queue and status, counted one by one."""
        found: dict[str, Counter[str]] = {}
        for name in self.names():
            if ":task:" in name:
                status, queue = (part and part.decode() for part in self.store.run("HMGET", name, "st", "qu"))
                if status in ("queued", "scheduled", "processing"):
                    found.setdefault(queue or "default", Counter())[status] += 1
        return {queue: dict(by) for queue, by in found.items()}
