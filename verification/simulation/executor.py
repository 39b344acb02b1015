"""The children of a simulated worker: `worker.executor.Executor` as the loops see it; runs take virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from verification.simulation.history import History, short
from verification.simulation.stand_ins import Event
from verification.simulation.strands import Signal, SimulatedProcess
from yadtq_core.child.pipe import Done
from yadtq_core.model import Error, Lease, Status
from yadtq_core.worker.executor import ChildEvents, Death
from yadtq_core.worker.rules.budget import BUDGET

RESPAWN_SECONDS = 0.4


class Run(NamedTuple):
    """The course of a run: its duration, its end, and whether it stops when it is cancelled."""

    seconds: float
    status: Status
    retry_in: float | None = None
    result: bytes | None = None
    minds_cancel: bool = False
    kills: str = ""


class Given:
    """A job that a child has."""

    def __init__(self, seq: int, lease: Lease, at: float) -> None:
        self.seq, self.lease, self.at = seq, lease, at
        self.begun_at: float | None = None
        self.cancelled = False


class Child:
    """One child with its slots."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.given: dict[int, Given] = {}
        self.ready = True


class Executor:
    """P children with T slots each.

    `plan(lease)` returns the course of a run; `began` is called when a run begins, `killed` when a run kills something,
    `stopped` when the worker ends a run because it stops.
    """

    def __init__(
        self,
        process: SimulatedProcess,
        history: History,
        *,
        children: int,
        threads: int,
        tasks: Sequence[str],
        plan: Callable[[Lease], Run],
        began: Callable[[Lease], None],
        killed: Callable[[str], None],
        stopped: Callable[[Lease], None],
    ) -> None:
        self._process, self._loom, self._history = process, process.loom, history
        self._threads = threads
        self._plan, self._began, self._killed, self._stopped = plan, began, killed, stopped
        self._numbers, self._seqs = itertools.count(), itertools.count(1)
        self._children = [Child(next(self._numbers)) for _ in range(children)]
        self._news = Signal()
        self._heard = ChildEvents()
        self._draining = False
        self.slots = children * threads
        self.tasks = frozenset(tasks)
        self.unbound: dict[str, str] = {}
        self.problem = ""
        self.died = Event(self._loom)
        self.told_of_cancels: set[str] = set()

    @property
    def free(self) -> int:
        """How many more jobs would begin at once."""
        return sum(max(0, self._threads - len(child.given)) for child in self._children)

    @property
    def room(self) -> int:
        """How many more bytes of jobs it takes ahead of free slots: its jobs are small."""
        return BUDGET

    @property
    def ready(self) -> bool:
        """Whether there is a child that takes jobs."""
        return bool(self._children)

    @property
    def running(self) -> int:
        """How many jobs the children hold."""
        return sum(len(child.given) for child in self._children) + len(self._heard.ended)

    def give(self, leases: Sequence[Lease]) -> bool:
        """Hand leases to the emptiest children; False if there is none."""
        self._process.check()
        if not self._children:
            return False
        for lease in leases:
            child = min(self._children, key=lambda each: (len(each.given), each.number))
            entry = Given(next(self._seqs), lease, self._loom.now)
            child.given[entry.seq] = entry
            self._begin(child)
        return True

    def _begin(self, child: Child) -> None:
        running = sum(1 for entry in child.given.values() if entry.begun_at is not None)
        for entry in list(child.given.values()):
            if running == self._threads:
                return
            if entry.begun_at is None:
                running += 1
                entry.begun_at = self._loom.now
                run = self._plan(entry.lease)
                self._began(entry.lease)
                self._ends_in(run.seconds, child, entry, run)

    def _ends_in(self, seconds: float, child: Child, entry: Given, run: Run) -> None:
        def over() -> None:
            if self._process.dead or child not in self._children or entry.seq not in child.given:
                return
            if self._process.children_paused:
                self._ends_in(0.1, child, entry, run)
                return
            if run.kills:
                self.child_dies(child)
                self._killed(run.kills)
                return
            del child.given[entry.seq]
            self._report(entry, run)
            self._begin(child)

        self._loom.after(seconds, over)

    def _report(self, entry: Given, run: Run) -> None:
        status = Status.CANCELLED if entry.cancelled and run.minds_cancel else run.status
        error = None if status is Status.SUCCESS else Error("Trouble", f"it ends as {status}")
        result = run.result if status is Status.SUCCESS else None
        retry_in = run.retry_in if status is Status.SCHEDULED else None
        kind = "application/json" if result is not None else ""
        done = Done(entry.seq, status.value, result, kind, error, retry_in, run.seconds)
        self._heard.ended.append((entry.lease, done))
        self._news.fire(self._loom)

    def read(self, timeout: float) -> ChildEvents:
        """Return what the children told, waiting at most `timeout` seconds for the first word."""
        if not (self._heard.ended or self._heard.deaths or self._heard.ready) or timeout <= 0.0:
            self._loom.wait(timeout, self._news)
        self._process.check()
        heard, self._heard = self._heard, ChildEvents()
        return heard

    def wake(self) -> None:
        """Make a waiting `read` return."""
        self._news.fire(self._loom)

    def take_back(self, *, older_than: float = 0.0) -> list[Lease]:
        """Take back the jobs that have not begun."""
        limit = self._loom.now - older_than
        taken = []
        for child in self._children:
            for entry in list(child.given.values()):
                if entry.begun_at is None and entry.at <= limit:
                    del child.given[entry.seq]
                    taken.append(entry.lease)
        return taken

    def drop(self, lost: Collection[tuple[str, int]]) -> list[Lease]:
        """Take back the jobs of lost leases that have not begun."""
        dropped = []
        for child in self._children:
            for entry in list(child.given.values()):
                if entry.begun_at is None and (entry.lease.id, entry.lease.fence) in lost:
                    del child.given[entry.seq]
                    dropped.append(entry.lease)
        return dropped

    def cancel(self, task_id: str) -> None:
        """Tell a running task that it was cancelled."""
        for child in self._children:
            for entry in child.given.values():
                if entry.lease.id == task_id:
                    entry.cancelled = True

    def held(self, *, older_than: float = 0.0) -> list[Lease]:
        """Return the leases of all jobs held for at least `older_than` seconds."""
        limit = self._loom.now - older_than
        kept = [entry.lease for child in self._children for entry in child.given.values() if entry.at <= limit]
        return kept + ([lease for lease, _ in self._heard.ended] if older_than == 0.0 else [])

    def drain(self) -> None:
        """Start no new children."""
        self._draining = True

    def kill(self) -> None:
        """End all children at once."""
        self._draining = True
        for child in list(self._children):
            for entry in child.given.values():
                self._stopped(entry.lease)
            self.child_dies(child)

    def child_dies(self, child: Child | None = None) -> None:
        """End one child, as a signal would; the worker hears of it, and another comes in its place."""
        if not self._children:
            return
        child = child or self._children[0]
        self._children.remove(child)
        begun = [entry.lease for entry in child.given.values() if entry.begun_at is not None]
        unbegun = [entry.lease for entry in child.given.values() if entry.begun_at is None]
        self._heard.deaths.append(Death(begun, unbegun, "killed by signal 9"))
        self._history.tell(self._process.name, f"a child dies with {' '.join(short(lease.id) for lease in begun)}")
        self._news.fire(self._loom)
        if not self._draining:
            self._loom.after(RESPAWN_SECONDS, self._another)

    def _another(self) -> None:
        if not self._draining and not self._process.dead:
            self._children.append(Child(next(self._numbers)))
            self._heard.ready = True
            self._news.fire(self._loom)

    def close(self) -> None:
        """End the children."""
        self._children = []
