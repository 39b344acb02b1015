"""Drives the keeper: beats and extends. It talks to the backend alone, so that no slow broker costs a lease."""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from yadtq_core.errors import YadtqError
from yadtq_core.model import Epoch, ExtendCode, Hold, Lease, WorkerStats
from yadtq_core.worker.desk import Desk

log = logging.getLogger("yadtq.worker")

MAX_WAIT_SECONDS = 0.5
LOOK_SECONDS = 1.0
"""So late at most a running task hears that it was cancelled, and others how far it is."""


class KeeperThread:
    """The loop of the keeper; `run` returns when the worker has finished."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._epochs: tuple[Epoch, ...] = ()
        self._lost: set[tuple[str, int]] = set()
        self._next_look = 0.0
        self._told = (0, 0)
        """What the last heartbeat said: tasks executed, jobs held."""

    def run(self) -> None:
        """Keep the worker's place until it has finished."""
        desk = self._desk
        while not desk.finished.is_set():
            now = desk.alive["keeper"] = time.monotonic()
            due = desk.keeper.due(now)
            was_silent = due.beat and self.beat(self._state())
            if due.extend or was_silent:
                self._extend(self._holds(desk.executor.held()))
            elif now >= self._next_look:
                self._look()
            desk.finished.wait(min(desk.keeper.wait(time.monotonic()), MAX_WAIT_SECONDS))
        self.beat("offline")

    def _look(self) -> None:
        """Each second: hear of cancels and tell of progress where something runs for longer; tell what was done.

        A heartbeat of this kind is for whoever looks at the workers; it leaves epochs and watermarks alone.
        """
        desk = self._desk
        self._next_look = time.monotonic() + LOOK_SECONDS
        holds = self._holds(desk.executor.held(older_than=LOOK_SECONDS))
        if holds:
            self._extend(holds)
        told = (desk.executed, desk.executor.running)
        if told != self._told and desk.keeper.may_claim(time.monotonic()):
            try:
                desk.backend.heartbeat(desk.identity, self.stats(self._state()), self._epochs)
            except YadtqError as error:
                desk.health.backend_failed(error)

    def _state(self) -> str:
        return "stopping" if self._desk.stopping.is_set() else "online"

    # Heartbeat and leases

    def beat(self, state: str) -> bool:
        """Tell the backend that this worker lives, and learn the epochs; True if it had been silent for long."""
        desk = self._desk
        sent_at = time.monotonic()
        stats = self.stats(state)
        try:
            answer = desk.backend.heartbeat(desk.identity, stats, self._epochs)
        except YadtqError as error:
            desk.health.backend_failed(error)
            desk.keeper.beat_failed(time.monotonic())
            return False
        desk.health.backend_answered()
        desk.events.heartbeat(stats)
        was_silent = desk.keeper.beat_answered(sent_at, time.monotonic())
        self._epochs = answer.epochs
        with desk.lock:
            desk.intake.beat(answer.epochs)
        return was_silent

    def stats(self, state: str) -> WorkerStats:
        """Return what this worker says of itself now."""
        desk = self._desk
        running = desk.executor.running
        self._told = (desk.executed, running)
        return WorkerStats(
            state=state,
            tasks_executed=desk.executed,
            running=min(running, desk.executor.slots),
            slots=desk.executor.slots,
            free=desk.executor.free if state == "online" else 0,
            queues=tuple(desk.settings.queues),
            tasks=tuple(sorted(desk.executor.tasks)),
            memory=_memory(),
            version=_version(),
        )

    def _holds(self, running: Sequence[Lease]) -> list[Hold]:
        desk = self._desk
        leases: list[Lease] = [*running, *desk.completion.held()]
        return [
            Hold(lease.id, lease.fence, desk.progress.pop(lease.id, ""))
            for lease in {lease.id: lease for lease in leases}.values()
            if (lease.id, lease.fence) not in self._lost
        ]

    def _extend(self, holds: Sequence[Hold]) -> None:
        desk = self._desk
        if not holds:
            self._lost.clear()
            return
        try:
            codes = desk.backend.extend(holds, desk.identity)
        except YadtqError as error:
            desk.health.backend_failed(error)
            return
        for hold, code in zip(holds, codes, strict=True):
            if code is ExtendCode.CANCEL:
                desk.executor.cancel(hold.id)
            elif code is ExtendCode.LOST:
                self._lost.add((hold.id, hold.fence))
                log.debug("task %s is another's now; its outcome here will be refused", hold.id)


def _memory() -> int:
    """Return this process's resident bytes."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@cache
def _version() -> str:
    try:
        return version("yadtq")
    except PackageNotFoundError:
        return "?"
