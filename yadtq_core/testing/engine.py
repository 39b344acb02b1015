"""yadtq in one thread, for tests of tasks and plugins: the memory tier, the worker's rules, and a clock of its own.

    engine = Engine()
    handle = engine.client.submit(resize, "a.png")
    engine.run_until_idle()
    assert handle.result(timeout=0) == "a-800.png"

Records, claims, fences, retries, the pipeline of hooks, serializers and codecs are those of production. Three things
differ: tasks run only in `run_until_idle`, they run in the test's own process, and the engine's clock moves only when
the test or `run_until_idle` moves it, so that a retry in an hour takes no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yadtq_core.backends.memory import MemoryStore
from yadtq_core.brokers.memory import MemoryBroker, Queues
from yadtq_core.child.runner import Runner
from yadtq_core.client.client import Client
from yadtq_core.errors import YadtqError
from yadtq_core.model import Message, Outcome
from yadtq_core.plugin.hookspecs import hookimpl
from yadtq_core.plugin.loading import load_plugins
from yadtq_core.plugin.registry import AnyTask, Registry
from yadtq_core.records import StoreBackend
from yadtq_core.settings import Settings
from yadtq_core.testing.engine_worker import EngineWorker

START = 1_700_000_000.0
"""The engine's clock at its start, seconds since the epoch: the same in every run of a test."""
MAX_JUMPS = 1000
"""Jumps of the clock in one `run_until_idle`: the limit for a task that submits itself again without end."""


class Submitted(NamedTuple):
    """One task that the engine's client submitted."""

    id: str
    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    queue: str
    headers: Mapping[str, str]


class Engine:
    """A client, a worker and their services in this process.

    plugins: objects with hooks, in addition to the installed plugins. imports: modules whose tasks can be submitted by
    name. settings: any of `Settings`, by keyword.

    `client` submits, and `submitted` lists what it has submitted, in order. Close it with `close`, or use `with`.
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
        self._worker = self._opened_worker()
        self._closed = False
        self._worker.start()

    def _opened_worker(self) -> EngineWorker:
        broker = self.open_broker(self._settings)
        broker.ensure(self._settings.queues, create=True)
        return EngineWorker(
            self._settings.worker_id,
            backend=self.open_backend(self._settings),
            broker=broker,
            queues=self._queues,
            runner=Runner(self._registry.get, self.plugins, self._payloads, "engine", lambda *_: None),
            announce=self.plugins.manager.notify,
            clock=lambda: self._now,
        )

    def open_backend(self, settings: Settings) -> StoreBackend:
        """Return a backend on the engine's store."""
        return StoreBackend(self.store, settings)

    def open_broker(self, settings: Settings) -> MemoryBroker:
        """Return a broker on the engine's queues."""
        return _Broker(self._queues, lease=settings.claim_stale_seconds)

    @property
    def now(self) -> float:
        """The engine's time, seconds since the epoch."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock; no task runs."""
        self._now += seconds

    def run_until_idle(self, *, jump: bool = True) -> list[Outcome]:
        """Run all submitted tasks, and those that they submit; return how each run ended, in order.

        jump: move the clock to what is due later (retries, delays), until nothing is left. Without it only the tasks
        that are due now run. Raises AssertionError after MAX_JUMPS jumps.
        """
        ended: list[Outcome] = []
        jumps = 0
        while True:
            outcomes = self._worker.step()
            ended += outcomes
            if outcomes:
                continue
            later = self.store.next_due()
            if later is None or not (jump or later <= self._now * 1000):
                return ended
            jumps += 1
            if jumps > MAX_JUMPS:
                raise AssertionError(f"not idle after {MAX_JUMPS} jumps of the clock")
            self._now = max(self._now, later / 1000)

    def assert_submitted(self, task: AnyTask | str, *args: Any, **kwargs: Any) -> Submitted:
        """Return the first submit of this task with exactly these arguments.

        Raises AssertionError with all submits if there is none.
        """
        name = task if isinstance(task, str) else self._registry.name_of(task)
        for one in self.submitted:
            if one.task == name and one.args == args and one.kwargs == kwargs:
                return one
        others = "\n".join(f"  {one.task}{_call(one.args, one.kwargs)}" for one in self.submitted) or "  nothing"
        raise AssertionError(f"{name}{_call(args, kwargs)} was not submitted; submitted was\n{others}")

    def note_submitted(self, messages: Sequence[Message]) -> None:
        """Add these messages to `submitted`."""
        for message in messages:
            args, kwargs = self._payloads.arguments(bytes(message.arguments), message.codecs, message.id)
            one = Submitted(message.id, message.task, tuple(args), kwargs, message.queue, dict(message.headers))
            self.submitted.append(one)

    @property
    def hook_failures(self) -> Mapping[tuple[str, str], int]:
        """How often event hooks raised, by (plugin, hook); the log has the tracebacks."""
        return self.plugins.manager.failures

    def close(self) -> None:
        """Tell the plugins that worker and child stop, and close the client. May be called twice."""
        if not self._closed:
            self._closed = True
            self._worker.stop(self._settings.queues)
            self.client.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Broker(MemoryBroker):
    """A memory broker that creates every queue at its first submit."""

    def ensure(self, queues: Sequence[str], *, create: bool) -> None:
        """Create what is missing."""
        super().ensure(queues, create=True)


class _Services:
    """The plugin that gives the engine's client the engine's services, and notes what it submits."""

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
        self._engine.note_submitted(messages)


class _Tasks(Registry):
    """The registered tasks, and every task object that was submitted: a test may define one anywhere."""

    def __init__(self, imports: Sequence[str]) -> None:
        super().__init__(imports)
        self._given: dict[str, AnyTask] = {}

    def name_of(self, task: AnyTask) -> str:
        """Return the task's registered name; its own if no worker can import the task."""
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
