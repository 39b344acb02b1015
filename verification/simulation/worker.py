"""A worker's process: the production loops with their own start and stop, and the ways in which it ends."""

from __future__ import annotations

from verification.simulation.executor import Executor
from verification.simulation.plan import WorkerPlan
from verification.simulation.strands import Killed, SimulatedProcess
from verification.simulation.world import World
from yadtq_core.model import WorkerIdentity
from yadtq_core.plugin.loading import Plugins
from yadtq_core.plugin.manager import Hooks
from yadtq_core.worker import restart, supervisor
from yadtq_core.worker.assembly import Assembly
from yadtq_core.worker.events import Events
from yadtq_core.worker.worker import Worker

LOOK_SECONDS = 0.5
_NO_PLUGINS = Plugins(Hooks(), (), ())


class SimulatedWorker:
    """One worker of the plan through its lives."""

    def __init__(self, world: World, plan: WorkerPlan) -> None:
        self._world = world
        self.plan = plan
        self.process: SimulatedProcess | None = None
        self.executor: Executor | None = None
        self._signals: supervisor.Signals | None = None

    @property
    def alive(self) -> bool:
        """Whether it has a process, be it paused."""
        return self.process is not None and not self.process.dead

    def start(self) -> None:
        """Begin a life, unless one goes on."""
        if self.alive:
            return
        process, number = self._world.process(self.plan.name)
        self.process = process
        self.executor = self._signals = None
        self._world.history.tell(self.plan.name, "starts")
        self._world.loom.spawn(process, "main", lambda: self._main(process, number))

    def stop(self) -> None:
        """SIGTERM."""
        if self._signals is not None and self.alive:
            self._world.history.tell(self.plan.name, "is told to stop")
            self._signals.count += 1
            self._signals.changed.set()
        elif self.process is not None:
            self.process.kill()

    def _task_killed(self, what: str) -> None:
        """A task has killed its child, or its whole worker, which is started again."""
        if what == "worker" and self.process is not None:
            self._world.history.tell(self.plan.name, "is killed by a task")
            self.process.kill()
            self._world.loom.after(self._world.rng.uniform(0.1, 2 * self._world.plan.lease), self.start)

    def _main(self, process: SimulatedProcess, number: int) -> None:
        world, plan = self._world, self.plan
        incarnation = f"{plan.name}-{number % 1000}"
        identity = WorkerIdentity(plan.name, incarnation, "host", number, float(number))
        broker, backend = world.broker(process), world.backend(process)
        restart.recover(backend, identity)
        self.executor = Executor(
            process,
            world.history,
            children=plan.children,
            threads=plan.threads,
            tasks=plan.tasks,
            plan=world.run_of,
            began=lambda lease: world.began(process, incarnation, lease),
            killed=self._task_killed,
            stopped=lambda lease: world.truth.stopped.add((lease.id, lease.fence)),
        )
        settings = world.settings(plan.name, plan.queues)
        events = Events(_NO_PLUGINS, identity)
        parts = Assembly(settings, identity, broker, backend, executor=self.executor, events=events)  # type: ignore[arg-type]
        worker = Worker(parts)
        worker.start()
        self._signals = signals = supervisor.Signals()
        while not signals.count and worker.crashed is None:
            signals.changed.wait(LOOK_SECONDS)
        supervisor._stop(worker, settings, signals)
        if worker.crashed is not None and not isinstance(worker.crashed, Killed):
            world.loom.fail(worker.crashed)
        world.history.tell(plan.name, "has stopped")
        process.kill()
