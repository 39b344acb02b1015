"""The worker of an `Engine`: one step claims everything that is there now and runs it, in the caller's thread."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from yadtq_core.brokers.memory import MemoryBroker, Queues
from yadtq_core.child.pipe import Done, Unable, job_of
from yadtq_core.child.runner import Runner
from yadtq_core.errors import PluginError
from yadtq_core.interfaces import Backend
from yadtq_core.model import (
    ChildIdentity,
    Lease,
    Outcome,
    WorkerIdentity,
    WorkerStats,
)
from yadtq_core.worker.dead_letters import DeadLetters
from yadtq_core.worker.rules.completion import Completion
from yadtq_core.worker.rules.intake import Intake

BATCH = 100


class Announce(Protocol):
    """Calls an event hook of the plugins."""

    def __call__(self, hook: str, **arguments: Any) -> object: ...


class EngineWorker:
    """A worker on the rules of production: intake, claim, completion. Its child is the caller's own process."""

    def __init__(
        self,
        name: str,
        *,
        backend: Backend,
        broker: MemoryBroker,
        queues: Queues,
        runner: Runner,
        announce: Announce,
        clock: Callable[[], float],
    ) -> None:
        self._identity = WorkerIdentity(name, "engine", "localhost", 0, 0.0)
        self._child = ChildIdentity(name, 0)
        self._backend = backend
        self._broker = broker
        self._queues = queues
        self._runner = runner
        self._bound: set[str] = set()
        self._announce = announce
        self._clock = clock
        self._intake = Intake(margin=0.0, replayable=False)
        self._completion = Completion(self._identity)
        self._dead_letters = DeadLetters(broker, backend)

    def start(self) -> None:
        """Tell the plugins that worker and child have started."""
        self._announce("yadtq_worker_started", worker=self._identity)
        self._announce("yadtq_child_started", child=self._child)

    def stop(self, queues: tuple[str, ...]) -> None:
        """Tell the plugins that worker and child stop."""
        stats = WorkerStats("offline", self._completion.executed, 0, 1, 0, queues, ())
        self._announce("yadtq_worker_stopping", worker=self._identity)
        self._announce("yadtq_child_stopping", child=self._child)
        self._announce("yadtq_worker_stopped", worker=self._identity, stats=stats)

    def step(self) -> list[Outcome]:
        """Claim what is polled or ready now, and run it; return how each run ended."""
        now = self._clock()
        queues = list(self._queues.waiting)
        consumer = self._broker.consumer(queues, member="engine")
        self._intake.polled(consumer.poll(BATCH, 0.0), now)
        self._intake.lanes.note_ready(self._swept(queues))
        share = self._intake.share(BATCH, now)
        taken = self._backend.take(share.ready, ())
        self._intake.lanes.note_ready(taken.ready)
        batch = self._intake.next_batch(BATCH, now, share.polled, taken.deliveries)
        if not batch:
            return []
        answers = self._backend.claim(batch, self._identity, secrets.token_hex(8))
        leases = self._intake.claimed(batch, answers, now)
        consumer.settle(self._intake.spent())
        return self._run(leases) if leases else []

    def _swept(self, queues: Sequence[str]) -> Mapping[str, int]:
        """Look at what is due and dead-letter the failed tasks; return how many records of each queue are ready."""
        found = self._backend.sweep(BATCH, queues)
        if found.reclaimed:
            self._announce("yadtq_tasks_reclaimed", worker=self._identity, records=tuple(found.reclaimed))
        self._dead_letters.publish(found.failed, found.now_ms)
        return found.ready

    def _ran(self, number: int, lease: Lease) -> Done:
        """Run a lease. Raises PluginError for a task that a worker would leave to others."""
        task = lease.delivery.message.task
        if task not in self._bound:
            for reason in self._runner.bind([task]).values():
                raise PluginError(f"a worker would leave task {task} to others: {reason}")
            self._bound.add(task)
        done = self._runner.run(job_of(number, lease))
        if isinstance(done, Unable):
            raise PluginError(f"a worker would leave task {task} to others: {done.reason}")
        return done

    def _run(self, leases: list[Lease]) -> list[Outcome]:
        self._announce("yadtq_tasks_started", worker=self._identity, leases=tuple(leases))
        outcomes: list[Outcome] = []
        for number, lease in enumerate(leases):
            self._completion.ended([(lease, self._ran(number, lease))])
            batch = self._completion.next_batch(self._clock())
            codes = self._backend.finish([outcome for _, outcome in batch], self._identity)
            outcomes += self._completion.answered(batch, codes).accepted
        self._intake.stopped([lease.id for lease in leases], self._clock())
        self._announce("yadtq_tasks_finished", worker=self._identity, outcomes=tuple(outcomes))
        return outcomes
