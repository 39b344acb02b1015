"""The children in which tasks run: P processes with T slots each, filled evenly, and replaced when they die.

Several threads use it. One lock guards the state, and no call waits for a child while it holds the lock. Only the
completion thread calls `read`. Only the main thread calls `start` and `respawn`: a child dies with the thread that
started it.
"""

from __future__ import annotations

import itertools
import logging
import os
import selectors
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from yadtq_core.child.pipe import Done, Progress, Ready, Start, Unable
from yadtq_core.errors import TaskLoadError
from yadtq_core.model import Lease
from yadtq_core.settings import Settings
from yadtq_core.worker.child_process import ChildProcess, SentJob, cause_of_death
from yadtq_core.worker.rules.budget import BUDGET

log = logging.getLogger("yadtq.worker")

START_SECONDS = 60.0
"""How long a child may take to import its tasks."""
_LINGER_SECONDS = 0.2
"""How long a child may take to exit after the end of its reports before it is killed."""
_FLUSH_SECONDS = 2.0
"""How long idle children may take to exit when the worker ends: their plugins flush."""


MAX_WARNINGS = 1000
"""How many different warnings of children are logged, each once."""
_UNLIKE = "another child of this worker has not loaded it: a module or a plugin has changed; restart the worker"


class Death(NamedTuple):
    """A child that died: its jobs that had started, those that had not, and the cause in words."""

    begun: list[Lease]
    unbegun: list[Lease]
    cause: str


@dataclass
class ChildEvents:
    """The reports of the children since the last `read`."""

    ended: list[tuple[Lease, Done]] = field(default_factory=list)
    unable: list[tuple[Lease, str]] = field(default_factory=list)
    """Jobs that a child could not begin, with the reason."""
    progress: list[tuple[str, str]] = field(default_factory=list)
    """The last progress text of runs, as (ID, text)."""
    deaths: list[Death] = field(default_factory=list)
    ready: bool = False
    """True when a child has become ready to run tasks."""


class Executor:
    """The children of one worker: `settings.processes` of them with `settings.threads` slots each.

    imports: modules of tasks. lenient: start without the plugins and tasks that cannot be loaded.
    """

    def __init__(self, settings: Settings, imports: Sequence[str], *, lenient: bool = False) -> None:
        self._start = Start(settings.worker_id, settings.threads, list(imports), settings, lenient)
        self._processes = settings.processes
        self._lock = threading.Lock()
        self._children: dict[int, ChildProcess] = {}
        self._numbers = itertools.count()
        self._seqs = itertools.count(1)
        self._where: dict[str, tuple[ChildProcess, int]] = {}
        self._selector = selectors.DefaultSelector()
        self._awake, self._wake = os.pipe()
        os.set_blocking(self._awake, False)
        os.set_blocking(self._wake, False)
        self._selector.register(self._awake, selectors.EVENT_READ, None)
        self._draining = False
        self._warned: set[str] = set()
        self.slots = settings.processes * settings.threads
        self.tasks: frozenset[str] = frozenset()
        """Names of the tasks that every ready child can run."""
        self.unbound: dict[str, str] = {}
        """{task: reason} of the tasks that this worker has loaded and leaves to others, by a fault of its own."""
        self.problem = ""
        """Why the newest child could not load its tasks; empty if it has loaded them."""
        self.died = threading.Event()
        """Set when a child is missing: the main thread must call `respawn`."""

    def start(self, stop: threading.Event | None = None) -> None:
        """Start the children; return when each is ready or `stop` is set.

        Raises TaskLoadError if one cannot load its tasks.
        """
        self.respawn()
        until = time.monotonic() + START_SECONDS
        while any(not child.ready for child in self._children.values()) and not (stop and stop.is_set()):
            if time.monotonic() > until:
                raise TaskLoadError(
                    f"a child is not ready after {START_SECONDS:g} s: does a module of tasks hang when it is imported?"
                )
            events = self.read(0.2)
            if self.problem:
                raise TaskLoadError(self.problem)
            if events.deaths:
                raise TaskLoadError(f"a child ended while it loaded its tasks: {events.deaths[0].cause}")

    def respawn(self) -> None:
        """Start as many children as are missing."""
        self.died.clear()
        while len(self._children) < self._processes and not self._draining:
            child = ChildProcess(next(self._numbers), self._start)
            with self._lock:
                self._children[child.number] = child
                self._selector.register(child.reports, selectors.EVENT_READ, child)
            self.wake()

    def wake(self) -> None:
        """Make a waiting `read` return now."""
        try:
            os.write(self._wake, b".")
        except BlockingIOError:
            pass  # it is awake

    @property
    def free(self) -> int:
        """How many more jobs would start at once."""
        with self._lock:
            return sum(child.free for child in self._children.values())

    @property
    def room(self) -> int:
        """How many more bytes of jobs the children may be given ahead of free slots; 0 when BUDGET is used up."""
        with self._lock:
            return max(0, BUDGET - sum(child.bytes for child in self._children.values()))

    @property
    def ready(self) -> bool:
        """True when at least one child takes jobs."""
        with self._lock:
            return any(child.ready and not child.ended for child in self._children.values())

    @property
    def running(self) -> int:
        """How many jobs the children hold, started or not."""
        return len(self._where)

    def give(self, leases: Sequence[Lease]) -> bool:
        """Send leases to the children, the least loaded first; return False if there is no child now."""
        with self._lock:
            if not self._children:
                return False
            for child, share in self._shares(leases):
                self._send(child, share)
        self._wake_if_backlogged()
        return True

    def _send(self, child: ChildProcess, leases: Sequence[Lease]) -> None:
        at = time.monotonic()
        jobs = [SentJob(next(self._seqs), lease, at) for lease in leases]
        for entry in jobs:
            self._where[entry.lease.id] = (child, entry.seq)
        child.give(jobs)

    def _shares(self, leases: Sequence[Lease]) -> list[tuple[ChildProcess, Sequence[Lease]]]:
        """Return the leases of each child: free slots are filled first, then all children evenly."""
        ready = [child for child in self._children.values() if child.ready and not child.ended]
        ready = ready or list(self._children.values())
        loads = {child.number: len(child.jobs) for child in ready}
        total = len(leases) + sum(loads.values())
        level = -(-total // len(ready))
        shares, at = [], 0
        for child in sorted(ready, key=lambda child: loads[child.number]):
            take = min(len(leases) - at, max(0, level - loads[child.number]))
            if take:
                shares.append((child, leases[at : at + take]))
                at += take
        if at < len(leases):
            shares.append((ready[0], leases[at:]))
        return shares

    def _wake_if_backlogged(self) -> None:
        """Wake `read` if a pipe is full, so that it waits for room in that pipe too."""
        if any(child.backlogged for child in list(self._children.values())):
            self.wake()

    def read(self, timeout: float) -> ChildEvents:
        """Return what the children have reported, waiting `timeout` seconds at most for the first report."""
        events = ChildEvents()
        self._watch_backlogs()
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                _empty(self._awake)
            elif key.fd == key.data.reports:
                self._heard(key.data, events)
            else:
                with self._lock:
                    key.data.flush()
        if events.ended or events.unable or events.deaths or events.ready:
            self._balance()
        return events

    def _watch_backlogs(self) -> None:
        with self._lock:
            for child in self._children.values():
                watched = child.work in self._selector.get_map()
                if child.backlogged and not watched:
                    self._selector.register(child.work, selectors.EVENT_WRITE, child)
                elif watched and not child.backlogged:
                    self._selector.unregister(child.work)

    def _heard(self, child: ChildProcess, events: ChildEvents) -> None:
        reports = child.read()
        if reports is None:
            events.deaths.append(self._remove_dead(child))
            return
        with self._lock:
            for report in reports:
                if isinstance(report, Done | Unable):
                    if entry := child.jobs.pop(report.seq, None):
                        self._where.pop(entry.lease.delivery.message.id, None)
                        if isinstance(report, Done):
                            events.ended.append((entry.lease, report))
                        else:
                            events.unable.append((entry.lease, report.reason))
                            self._warn(_left(entry.lease.delivery.message.task, report.reason))
                elif isinstance(report, Progress):
                    if entry := child.jobs.get(report.seq):
                        events.progress.append((entry.lease.id, report.text))
                elif isinstance(report, Ready):
                    events.ready = True
                    self._became_ready(child, report)

    def _became_ready(self, child: ChildProcess, report: Ready) -> None:
        if report.problem:
            self.problem = report.problem
            log.error("a child cannot load its tasks: %s", report.problem)
            return
        for warning in report.warnings:
            self._warn(warning)
        child.ready = True
        child.tasks = frozenset(report.tasks)
        self.problem = ""
        self._agree(report.unbound)

    def _warn(self, warning: str) -> None:
        if warning not in self._warned and len(self._warned) < MAX_WARNINGS:
            self._warned.add(warning)
            log.warning("%s", warning)

    def _agree(self, unbound: dict[str, str]) -> None:
        """Take the tasks that every ready child can run: a job may go to any child, and back from it to another."""
        ready = [child.tasks for child in self._children.values() if child.ready] or [self.tasks]
        tasks, some = frozenset.intersection(*ready), frozenset.union(*ready)
        known = self.unbound | dict.fromkeys(some - self.unbound.keys(), _UNLIKE) | unbound
        self.unbound = {name: reason for name, reason in known.items() if name not in tasks}
        self.tasks = tasks
        for name, reason in self.unbound.items():
            self._warn(_left(name, reason))

    def _remove_dead(self, child: ChildProcess) -> Death:
        with self._lock:
            for fd in (child.reports, child.work):
                if fd in self._selector.get_map():
                    self._selector.unregister(fd)
            del self._children[child.number]
            self._agree({})
            unbegun = [entry.lease for entry in child.take_back(len(child.jobs))]
            begun = [entry.lease for entry in child.jobs.values()]
            for lease in (*unbegun, *begun):
                self._where.pop(lease.id, None)
            cause = cause_of_death(child.reap(_LINGER_SECONDS))
        if not child.ready and not self.problem:
            self.problem = f"a child ended while it loaded its tasks: {cause}"
        if not self._draining:
            log.error("%s; it ran %d task(s): %s", cause, len(begun), ", ".join(lease.id for lease in begun[:5]))
            self.died.set()
        return Death(begun, unbegun, cause)

    def _balance(self) -> None:
        """Move jobs that wait behind a long one to children with a free slot."""
        with self._lock:
            idle = [child for child in self._children.values() if child.free]
            if not idle or self._draining:
                return
            for child in self._children.values():
                waiting = len(child.jobs) - child.threads
                if child in idle or waiting <= 0:
                    continue
                taken = child.take_back(-(-waiting // (len(idle) + 1)))
                for index, other in enumerate(idle):
                    if share := taken[index :: len(idle)]:
                        self._send(other, [entry.lease for entry in share])
        self._wake_if_backlogged()

    def take_back(self, *, older_than: float = 0.0) -> list[Lease]:
        """Take back jobs that were sent `older_than` or more seconds ago and have not started; they never will."""
        limit = time.monotonic() - older_than
        leases = []
        with self._lock:
            for child in self._children.values():
                waiting = list(child.jobs.values())[child.threads :]
                old = sum(1 for entry in waiting if entry.at <= limit)
                if older_than == 0.0:
                    old = len(child.jobs)
                leases += [entry.lease for entry in child.take_back(old)] if old else []
            for lease in leases:
                self._where.pop(lease.id, None)
        return leases

    def drop(self, lost: Collection[tuple[str, int]]) -> list[Lease]:
        """Take back the jobs of lost leases, each an (ID, fence), that have not started; return their leases."""
        dropped: list[Lease] = []
        with self._lock:
            for child in self._children.values():
                if any((entry.lease.id, entry.lease.fence) in lost for entry in child.jobs.values()):
                    kept: list[Lease] = []
                    for entry in child.take_back(len(child.jobs)):
                        (dropped if (entry.lease.id, entry.lease.fence) in lost else kept).append(entry.lease)
                    if kept:
                        self._send(child, kept)
            for lease in dropped:
                self._where.pop(lease.id, None)
        self._wake_if_backlogged()
        return dropped

    def cancel(self, task_id: str) -> None:
        """Deliver a request to cancel to a running task."""
        with self._lock:
            if place := self._where.get(task_id):
                place[0].cancel(place[1])

    def held(self, *, older_than: float = 0.0) -> list[Lease]:
        """Return the leases of all jobs that the children have held for `older_than` seconds or more."""
        limit = time.monotonic() - older_than
        with self._lock:
            entries = [entry for child in self._children.values() for entry in child.jobs.values()]
        return [entry.lease for entry in entries if entry.at <= limit]

    def drain(self) -> None:
        """Start no new children and move no jobs among them; jobs that are not taken back still run."""
        with self._lock:
            self._draining = True

    def kill(self) -> None:
        """Kill all children; `read` then returns their deaths."""
        with self._lock:
            self._draining = True
            for child in self._children.values():
                child.kill()

    def kill_overdue(self) -> None:
        """Kill children that are not ready in time, or a hanging import would leave the worker with fewer children."""
        with self._lock:
            for child in self._children.values():
                if not child.ready and time.monotonic() - child.started_at > START_SECONDS:
                    self.problem = f"a child was not ready after {START_SECONDS:g} s"
                    child.kill()

    def close(self) -> None:
        """Let idle children exit, kill the others, and close the pipes."""
        with self._lock:
            self._draining = True
            for child in self._children.values():
                if child.jobs or not child.ready:
                    child.kill()
                else:
                    child.let_go()
            until = time.monotonic() + _FLUSH_SECONDS
            for child in self._children.values():
                child.reap(max(_LINGER_SECONDS, until - time.monotonic()))
            self._children.clear()
        self._selector.close()
        os.close(self._awake)
        os.close(self._wake)


def _left(task: str, reason: str) -> str:
    return f"task {task} is left to other workers: {reason}"


def _empty(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        pass
