"""yadtq in one thread, for tests of tasks and plugins: the memory tier, the worker's rules, tasks run right here.

    engine = Engine()
    handle = engine.client.submit(resize, "a.png")
    engine.run_until_idle()
    assert handle.result(timeout=0) == "a-800.png"

Records, claims, fences, retries, the pipeline of hooks, serializers and codecs are those of production; what differs
is that nothing runs until `run_until_idle` is called, that a task runs in the test's own process, and that time is
the engine's: a retry in an hour is a jump of its clock.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yadtq_core.backends.memory import MemoryStore
from yadtq_core.brokers.memory import MemoryBroker, Queues
from yadtq_core.child.pipe import job_of
from yadtq_core.child.runner import Runner
from yadtq_core.client.client import Client
from yadtq_core.errors import YadtqError
from yadtq_core.model import (
    ChildIdentity,
    Delivery,
    Due,
    Lease,
    Message,
    Outcome,
    Outgoing,
    Status,
    WorkerIdentity,
    WorkerStats,
)
from yadtq_core.plugin.hookspecs import hookimpl
from yadtq_core.plugin.loading import load_plugins
from yadtq_core.plugin.registry import AnyTask, Registry
from yadtq_core.records import StoreBackend
from yadtq_core.settings import Settings
from yadtq_core.worker.rules.completion import Completion
from yadtq_core.worker.rules.intake import Intake

START = 1_700_000_000.0
"""The engine's clock at its start, seconds since the epoch: the same in every run of a test."""
BATCH = 100
MAX_JUMPS = 1000
"""Jumps of the clock in one `run_until_idle`: a task that submits itself for later, for ever, ends there."""


class Submitted(NamedTuple):
    """One task that the engine's client submitted, in the order of its submits."""

    id: str
    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    queue: str
    headers: Mapping[str, str]


class Engine:
    """A client, a worker and services of their own in this process.

    plugins: objects with hooks, beside those installed. imports: modules whose tasks can be submitted by name.
    settings: any of `Settings`, by keyword.

    `client` submits to it; close it with `close`, or use `with`.
    """

    def __init__(self, *plugins: object, imports: Sequence[str] = (), **settings: Any) -> None:
        self._now = START
        self.store = MemoryStore(clock=lambda: self._now)
        self._queues = Queues(clock=lambda: self._now)
        self.submitted: list[Submitted] = []
        self._registry = _Tasks(imports)
        given = Settings(**{"worker_id": "engine", "broker": "engine://here", "backend": "engine://here", **settings})
        self.plugins = load_plugins(_Services(self), *plugins)
        self.client = Client(given, registry=self._registry, plugins=self.plugins)
        self._settings = self.client.settings
        self._payloads = self.client.payloads
        self._backend = self.open_backend(self._settings)
        self._broker = self.open_broker(self._settings)
        self._broker.ensure(self._settings.queues, create=True)
        self._worker = WorkerIdentity(self._settings.worker_id, "engine", "localhost", 0, 0.0)
        self._child = ChildIdentity(self._settings.worker_id, 0)
        self._intake = Intake(margin=0.0, replayable=False)
        self._completion = Completion(self._worker)
        self._runner = Runner(self._registry.get, self.plugins, self._payloads, "engine", lambda *_: None)
        self._executed = 0
        self._closed = False
        self._tell("yadtq_worker_started", worker=self._worker)
        self._tell("yadtq_child_started", child=self._child)

    def open_backend(self, settings: Settings) -> StoreBackend:
        """Return the engine's backend."""
        lease = settings.claim_stale_seconds
        return StoreBackend(self.store, lease=lease, lost_limit=settings.lost_limit, result_ttl=settings.result_ttl)

    def open_broker(self, settings: Settings) -> MemoryBroker:
        """Return the engine's broker."""
        return _Broker(self._queues, lease=settings.claim_stale_seconds)

    @property
    def now(self) -> float:
        """The engine's time, seconds since the epoch."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock; nothing runs by it."""
        self._now += seconds

    def run_until_idle(self, *, jump: bool = True) -> list[Outcome]:
        """Run everything that was submitted, and what that submits; return how each run ended, in order.

        jump: move the clock to what is due later (retries, delays), until nothing is left. Without it only what is
        due now is run. Raises AssertionError where there is no end to it.
        """
        ended: list[Outcome] = []
        jumps = 0
        while True:
            outcomes = self._round()
            ended += outcomes
            if outcomes:
                continue
            due_at = self.store.due_at
            later = min(due_at.values(), default=None)
            if later is None or not (jump or later <= self._now * 1000):
                return ended
            jumps += 1
            if jumps > MAX_JUMPS:
                raise AssertionError(f"not idle after {MAX_JUMPS} jumps of the clock; open: {sorted(due_at)}")
            self._now = max(self._now, later / 1000)

    def assert_submitted(self, task: AnyTask | str, *args: Any, **kwargs: Any) -> Submitted:
        """Return the first submit of this task with just these arguments; AssertionError with all submits if none."""
        name = task if isinstance(task, str) else self._registry.name_of(task)
        for one in self.submitted:
            if one.task == name and one.args == args and one.kwargs == kwargs:
                return one
        told = "\n".join(f"  {one.task}{_call(one.args, one.kwargs)}" for one in self.submitted) or "  nothing"
        raise AssertionError(f"{name}{_call(args, kwargs)} was not submitted; submitted was\n{told}")

    def _round(self) -> list[Outcome]:
        """Claim what is there now and run it."""
        consumer = self._broker.consumer(list(self._queues.waiting), member="engine")
        messages = [one for one in consumer.poll(BATCH, 0.0) if isinstance(one, Delivery)]
        self._intake.polled(messages, self._now)
        batch = self._intake.next_batch(BATCH, self._now)
        taken = {delivery.message.id for delivery in batch}
        _, dues = self._backend.sweep(BATCH, BATCH)
        if reclaimed := [due for due in dues if due.reclaimed]:
            self._tell("yadtq_tasks_reclaimed", worker=self._worker, records=tuple(reclaimed))
        self._bury([due for due in dues if due.status is Status.FAILED])
        waiting = [due.delivery for due in dues if due.status is Status.QUEUED and due.delivery is not None]
        batch += [delivery for delivery in waiting if delivery.message.id not in taken]
        if not batch:
            return []
        answers = self._backend.claim(batch, self._worker, secrets.token_hex(8))
        leases = self._intake.claimed(batch, answers, self._now)
        consumer.settle(self._intake.spent())
        return self._run(leases) if leases else []

    def _run(self, leases: list[Lease]) -> list[Outcome]:
        self._tell("yadtq_tasks_started", worker=self._worker, leases=tuple(leases))
        outcomes: list[Outcome] = []
        for number, lease in enumerate(leases):
            self._completion.ended([(lease, self._runner.run(job_of(number, lease)))])
            batch = self._completion.next_batch(self._now)
            codes = self._backend.finish([outcome for _, outcome in batch], self._worker)
            outcomes += self._completion.answered(batch, codes).accepted
        self._intake.stopped([lease.id for lease in leases], self._now)
        self._executed += len(outcomes)
        self._tell("yadtq_tasks_finished", worker=self._worker, outcomes=tuple(outcomes))
        return outcomes

    def _bury(self, dues: Sequence[Due]) -> None:
        ids = [due.id for due in dues]
        letters = [
            Outgoing(d.message.id, d.message.queue, d.body) for d in self._backend.messages(ids) if d is not None
        ]
        self._broker.publish_dead(letters, timestamp_ms=int(self._now * 1000))
        self._backend.buried(ids)

    def took(self, messages: Sequence[Message]) -> None:
        """Note what was submitted."""
        for message in messages:
            args, kwargs = self._payloads.arguments(bytes(message.arguments), message.codecs, message.id)
            one = Submitted(message.id, message.task, tuple(args), kwargs, message.queue, dict(message.headers))
            self.submitted.append(one)

    def _tell(self, hook: str, **arguments: Any) -> None:
        self.plugins.manager.tell(hook, **arguments)

    @property
    def hook_failures(self) -> Mapping[tuple[str, str], int]:
        """How often event hooks raised, by (plugin, hook); the log has the tracebacks."""
        return self.plugins.manager.failures

    def close(self) -> None:
        """Tell the plugins that worker and child stop; let go. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        stats = WorkerStats("offline", self._executed, 0, 1, 0, self._settings.queues, ())
        self._tell("yadtq_worker_stopping", worker=self._worker)
        self._tell("yadtq_child_stopping", child=self._child)
        self._tell("yadtq_worker_stopped", worker=self._worker, stats=stats)
        self.client.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Broker(MemoryBroker):
    """The memory broker, in which every queue is made when it is first submitted to."""

    def ensure(self, queues: Sequence[str], *, create: bool) -> None:
        """Create what is missing."""
        super().ensure(queues, create=True)


class _Services:
    """The plugin that gives an engine's client the engine's own services, and notes what it submits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @hookimpl
    def yadtq_brokers(self) -> Mapping[str, Any]:
        return {"engine": self._engine.open_broker}

    @hookimpl
    def yadtq_backends(self) -> Mapping[str, Any]:
        return {"engine": self._engine.open_backend}

    @hookimpl
    def yadtq_tasks_submitted(self, messages: Sequence[Message]) -> None:
        self._engine.took(messages)


class _Tasks(Registry):
    """The registered tasks, and every task object that was submitted: a test may define its own anywhere."""

    def __init__(self, imports: Sequence[str]) -> None:
        super().__init__(imports)
        self._given: dict[str, AnyTask] = {}

    def name_of(self, task: AnyTask) -> str:
        """Return the name it is registered by; one that no worker could import has its own."""
        try:
            name = super().name_of(task)
        except YadtqError:
            name = task.declared_name or task.function.__name__
        self._given[name] = task
        return name

    def get(self, name: str) -> AnyTask:
        """Return the task."""
        return self._given.get(name) or super().get(name)


def _call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    shown = [repr(one) for one in args] + [f"{name}={value!r}" for name, value in kwargs.items()]
    return f"({', '.join(shown):.500})"
