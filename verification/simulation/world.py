"""Everything of one history: its services, its processes, and what they have seen."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from verification.simulation.executor import Run
from verification.simulation.history import History, short
from verification.simulation.kafka import Broker
from verification.simulation.line import Line
from verification.simulation.log import Kafka, name_of
from verification.simulation.plan import Plan, TaskPlan
from verification.simulation.server import START_US, Server
from verification.simulation.strands import Loom, SimulatedProcess
from verification.simulation.truth import NONE, Truth
from verification.simulation.weather import Weather
from yadtq_core.backends.redis.backend import RedisBackend
from yadtq_core.model import ExtendCode, Hold, Lease, Message, Partition, Status, WorkerIdentity
from yadtq_core.settings import Settings
from yadtq_core.wire import envelope
from yadtq_core.worker.rules.metadata import parsed

NAMESPACE = "sim"


class SubmittedTask(NamedTuple):
    """A message that was submitted, and what it is to give."""

    plan: TaskPlan
    message: Message
    result: bytes


class World:
    """One history's world. All random choices during the run come from `rng`."""

    def __init__(self, plan: Plan, server: Server) -> None:
        self.plan = plan
        self.server = server
        self.rng = random.Random(f"yadtq world {plan.seed}")
        self.loom = Loom(random.Random(f"yadtq order {plan.seed}"))
        self.history = History(self.loom)
        self.weather = Weather(self.rng)
        self.truth = Truth(self.history, plan.lost_limit, plan.lease)
        self.kafka = Kafka(self.loom, self.history, list(plan.partitions), plan.session, plan.metadata)
        self.kafka.committing = self._committing
        self.submitted: dict[tuple[str, str], SubmittedTask] = {}
        """By ID and digest."""
        self.asked: Counter[tuple[str, str]] = Counter()
        """How often each was submitted; a client that died has had no answer."""
        self.answers: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        """The answers to each submit: ok, refused, unknown."""
        self.cancelled: set[str] = set()
        self.begun: set[tuple[str, int]] = set()
        self._numbers = 0
        self._processes: dict[int, SimulatedProcess] = {}

    @property
    def now_ms(self) -> int:
        """The store's clock."""
        return (START_US + int(self.loom.now * 1e6)) // 1000

    # The parts of processes

    def process(self, name: str) -> tuple[SimulatedProcess, int]:
        """Make a process; return it with its process ID."""
        self._numbers += 1
        process = SimulatedProcess(self.loom, name, self.rng.uniform(1.0, 1e5))
        number = 10_000_000 + self._numbers  # above what Linux gives
        self._processes[number] = process
        return process, number

    def process_started(self, number: int) -> float | None:
        """Return when a process started, None if it has ended; as `restart.process_started`."""
        process = self._processes.get(number)
        return None if process is None or process.dead else float(number)

    def backend(self, process: SimulatedProcess) -> _Backend:
        """Return a process's backend."""
        line = Line(process, self.server, self.weather, self.truth, self.rng)
        backend = _Backend(line, self.settings(process.name, ("default",)))  # type: ignore[arg-type]  # it does what the backend asks of a Store
        backend.told_lost = self.truth.told_lost
        return backend

    def broker(self, process: SimulatedProcess) -> Broker:
        """Return a process's broker."""
        return Broker(self.kafka, self.weather, process, self.rng, self.plan.shards)

    def settings(self, name: str, queues: tuple[str, ...]) -> Settings:
        """Return a worker's settings."""
        plan = self.plan
        return Settings(
            namespace=NAMESPACE,
            worker_id=name,
            queues=queues,
            claim_stale_seconds=plan.lease,
            shards=plan.shards,
            partitions=len(plan.partitions),
            publish_grace=plan.publish_grace,
            lost_limit=plan.lost_limit,
            result_ttl=plan.result_ttl,
            unknown_task_ttl=plan.unknown_task_ttl,
            shutdown_grace=1.0,
            processes=1,
        )

    def accepted(self) -> set[str]:
        """Return the IDs of which a submit returned."""
        return {key[0] for key, answers in self.answers.items() if "ok" in answers}

    def in_the_broker(self, task_id: str) -> bool:
        """Return whether the broker has a message of this task; or had to have none, as it ended or waits for later."""
        if self.truth.ends[task_id] or task_id in self.truth.scheduled:
            return True
        return any(entry.id == task_id for log in self.kafka.logs.values() for entry in log)

    # What tasks do

    def message(self, plan: TaskPlan, *, other: bool) -> Message:
        """Return the message of a submit; `other`: the same ID with other arguments."""
        numbers = [*plan.numbers, 1] if other else list(plan.numbers)
        arguments = msgspec.json.encode([numbers, {}])
        message = envelope.build(plan.task, arguments, id=plan.id, queue=plan.queue, retries=plan.retries)
        result = msgspec.json.encode(sum(numbers))
        self.submitted[message.id, message.digest] = SubmittedTask(plan, message, result)
        return message

    def run_of(self, lease: Lease) -> Run:
        """Return what this run will do."""
        message = lease.delivery.message
        plan, _, result = self.submitted[message.id, message.digest]
        seconds = plan.seconds * self.rng.uniform(0.8, 1.2)
        attempt = lease.attempt - lease.lost
        status, retry_in = Status.SUCCESS, None
        if attempt <= plan.fails:
            status = Status.SCHEDULED if attempt <= plan.retries else Status.FAILED
            retry_in = self.rng.uniform(0.0, 1.5) if status is Status.SCHEDULED else None
        return Run(seconds, status, retry_in, result, plan.minds_cancel, plan.kills)

    def began(self, process: SimulatedProcess, incarnation: str, lease: Lease) -> None:
        """A child begins a run."""
        self.history.tell(process.name, f"begins {short(lease.id)} f…{lease.fence % 10_000_000:07d}")
        if (lease.id, lease.fence, incarnation) not in self.truth.granted:
            raise self.history.violated("I2", f"{short(lease.id)} is begun without a lease of this worker's")
        if (lease.id, lease.fence) in self.truth.told_lost:
            raise self.history.violated("I2", f"{short(lease.id)} is begun under a lease that its worker knows is lost")
        if (lease.id, lease.fence) in self.begun:
            raise self.history.violated("I8", f"{short(lease.id)} is begun twice under one lease")
        self.begun.add((lease.id, lease.fence))
        self.truth.begun[lease.id] += 1

    def _committing(self, partition: Partition, old: int, new: int, metadata: str) -> None:
        """Check a commit: no message that it covers, or tells as done, may still be needed.

        What it tells as done had ended by its mark: only then every copy of the store that knows the mark has the end.
        """
        for offset in range(max(old, self.kafka.starts[partition]), new):
            entry = self.kafka.logs[partition][offset]
            if self._needed(entry.id, self.loom.now):
                raise self.history.violated(
                    "I3", f"{new} of {name_of(partition)} covers {short(entry.id)}, which has not ended"
                )
        found = parsed(metadata)
        if found is None or found.epoch is None:
            return
        told, mark = found.told, (found.epoch.mark_ms + 1) / 1000 - START_US / 1e6
        for offset, entry in enumerate(self.kafka.logs[partition][new : told.end], new):
            if told.done(offset) and self._needed(entry.id, mark):
                raise self.history.violated(
                    "I3",
                    f"{offset} of {name_of(partition)} is told as done, but {short(entry.id)} had not ended",
                )

    def _needed(self, task_id: str, by: float) -> bool:
        """True when the message of this task may still be needed: it had not ended by then."""
        marked = self.truth.states.get(task_id, NONE).ca  # to be cancelled: a sweep only ends it
        if not task_id or marked or task_id in self.truth.scheduled:
            return False
        return not any(end.at <= by for end in self.truth.ends[task_id])


class _Backend(RedisBackend):
    """The backend of one process; it notes the leases that the process has learned to be lost."""

    told_lost: set[tuple[str, int]]

    def extend(self, holds: Sequence[Hold], worker: WorkerIdentity) -> Sequence[ExtendCode]:
        """Extend, and note the lost ones."""
        codes = super().extend(holds, worker)
        pairs = zip(holds, codes, strict=True)
        self.told_lost.update((hold.id, hold.fence) for hold, code in pairs if code is ExtendCode.LOST)
        return codes
