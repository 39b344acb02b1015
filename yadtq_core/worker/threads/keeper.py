"""The keeper thread: sends heartbeats and extends leases.

It never calls the broker: leases must be extended during an outage of the broker.
"""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yadtq_core import __version__
from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import Epoch, ExtendCode, Hold, Lease, WorkerIdentity, WorkerStats
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.requeue import Requeue
from yadtq_core.worker.rules.completion import Completion
from yadtq_core.worker.rules.keeper import Keeper
from yadtq_core.worker.shared import GuardedIntake, Lifecycle, Outages, ThreadLoop

log = logging.getLogger("yadtq.worker")

MAX_WAIT_SECONDS = 0.5
LOOK_SECONDS = 1.0
"""How often long runs hear of cancels and publish their progress."""


@dataclass(eq=False)
class KeeperThread(ThreadLoop):
    """The loop of the keeper; `run` returns when the worker has finished."""

    backend: Backend
    identity: WorkerIdentity
    queues: Sequence[str]
    keeper: Keeper
    executor: Executor
    completion: Completion
    intake: GuardedIntake
    requeue: Requeue
    events: Events
    outages: Outages
    lifecycle: Lifecycle
    _epochs: tuple[Epoch, ...] = field(default=(), init=False)
    _lost: set[tuple[str, int]] = field(default_factory=set, init=False)
    """(ID, fence) of leases that this worker no longer holds: they are not extended any more."""
    _next_look: float = field(default=0.0, init=False)
    _reported: tuple[int, int] = field(default=(0, 0), init=False)
    """Tasks executed and jobs held, as in the last heartbeat."""

    def run(self) -> None:
        """Send heartbeats and extend leases until the worker has finished."""
        while not self.lifecycle.finished.is_set():
            now = self.looped_at = time.monotonic()
            due = self.keeper.due(now)
            was_silent = due.beat and self.beat(self._state())
            if due.extend or was_silent:
                self._extend(self._holds(self.executor.held()))
            elif now >= self._next_look:
                self._look()
            self.lifecycle.finished.wait(min(self.keeper.wait(time.monotonic()), MAX_WAIT_SECONDS))
        self.beat("offline")

    def _look(self) -> None:
        """Each second, extend the leases of longer runs, which brings cancels and sends progress; report new counts.

        Such a heartbeat is for people who watch the workers; its answer changes no epoch and no watermark.
        """
        self._next_look = time.monotonic() + LOOK_SECONDS
        holds = self._holds(self.executor.held(older_than=LOOK_SECONDS))
        if holds:
            self._extend(holds)
        counts = (self.completion.executed, self.executor.running)
        if counts != self._reported and self.keeper.may_claim(time.monotonic()):
            try:
                self.backend.heartbeat(self.identity, self.stats(self._state()), self._epochs)
            except YadtqError as error:
                self.outages.failed("backend", error)

    def _state(self) -> str:
        return "stopping" if self.lifecycle.stopping.is_set() else "online"

    def beat(self, state: str) -> bool:
        """Send a heartbeat and learn the epochs; return True if the backend had been silent for long before."""
        sent_at = time.monotonic()
        stats = self.stats(state)
        try:
            answer = self.backend.heartbeat(self.identity, stats, self._epochs)
        except YadtqError as error:
            self.outages.failed("backend", error)
            self.keeper.beat_failed(time.monotonic())
            return False
        self.outages.answered("backend")
        self.events.heartbeat(stats)
        was_silent = self.keeper.beat_answered(sent_at, time.monotonic())
        self._epochs = answer.epochs
        with self.intake as intake:
            intake.beat(answer.epochs)
        return was_silent

    def stats(self, state: str) -> WorkerStats:
        """Return the worker's state and counts for a heartbeat."""
        executed, running = self._reported = (self.completion.executed, self.executor.running)
        return WorkerStats(
            state=state,
            tasks_executed=executed,
            running=min(running, self.executor.slots),
            slots=self.executor.slots,
            free=self.executor.free if state == "online" else 0,
            queues=tuple(self.queues),
            tasks=tuple(sorted(self.executor.tasks)),
            memory=_memory(),
            version=__version__,
            events_dropped=self.events.dropped,
        )

    def _holds(self, running: Sequence[Lease]) -> list[Hold]:
        leases: list[Lease] = [*running, *self.completion.held()]
        return [
            Hold(lease.id, lease.delivery.message.queue, lease.fence, self.completion.progress.pop(lease.id, ""))
            for lease in {lease.id: lease for lease in leases}.values()
            if (lease.id, lease.fence) not in self._lost
        ]

    def _extend(self, holds: Sequence[Hold]) -> None:
        if not holds:
            self._lost.clear()
            return
        try:
            codes = self.backend.extend(holds, self.identity)
        except YadtqError as error:
            self.outages.failed("backend", error)
            return
        lost = {(hold.id, hold.fence) for hold, code in zip(holds, codes, strict=True) if code is ExtendCode.LOST}
        for hold, code in zip(holds, codes, strict=True):
            if code is ExtendCode.CANCEL:
                self.executor.cancel(hold.id)
        if lost:
            self._lost |= lost
            unbegun = self.executor.drop(lost)
            log.debug("leases lost: %d; of their jobs %d had not begun and never will", len(lost), len(unbegun))
            self.requeue.unstarted(unbegun)  # the backend refuses that; their messages are claimed again


def _memory() -> int:
    """Return this process's resident bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
