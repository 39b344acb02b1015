"""The sweeper thread: runs due tasks here, publishes them again, or dead-letters them.

It is a thread of its own because it waits for the broker, and leases must be extended during an outage of the broker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yadtq_core.errors import BrokerUnavailable, YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import Delivery, Due, Status
from yadtq_core.worker.claimer import Claimer
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.shared import GuardedIntake, Lifecycle, Outages, SweepTimer, ThreadLoop
from yadtq_core.worker.threads.republisher import Republisher
from yadtq_core.worker.unreadable import UnreadableMessages

log = logging.getLogger("yadtq.worker")

SWEEP_LIMIT = 200
MAX_WAIT_SECONDS = 0.5


@dataclass(eq=False)
class SweeperThread(ThreadLoop):
    """The loop of the sweeps; `run` returns when the worker stops."""

    backend: Backend
    queues: Sequence[str]
    executor: Executor
    intake: GuardedIntake
    claimer: Claimer
    sweeps: SweepTimer
    republisher: Republisher
    unreadable: UnreadableMessages
    events: Events
    outages: Outages
    lifecycle: Lifecycle

    def run(self) -> None:
        """Sweep until the worker stops."""
        while not self.lifecycle.stopping.is_set():
            self.looped_at = time.monotonic()
            self._pass()
            self.sweeps.wait(MAX_WAIT_SECONDS)
        self.claimer.claim(())  # repeats a claim without an answer: its leases are then requeued

    def _pass(self) -> None:
        """Sweep if it is time, and send the unreadable messages, also after a sweep that failed."""
        if self.sweeps.due(time.monotonic()):
            self._attempt(self._sweep)
        self._attempt(self.unreadable.send)

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except YadtqError as error:
            self.outages.failed("broker" if isinstance(error, BrokerUnavailable) else "backend", error)

    def _sweep(self) -> None:
        """Sweep once. A claim without an answer comes first: the next one needs its reply.

        Raises what broker and backend raise.
        """
        if self.claimer.unanswered and not self.claimer.claim(()):
            return
        free = self.executor.free
        with self.intake as intake:
            room = self.claimer.window(intake, free, time.monotonic()) if free else 0
        now_ms, dues = self.backend.sweep(SWEEP_LIMIT, room)
        rest = self._take_over(dues, room)
        handled = len(dues) - len(rest)
        handled += self.republisher.publish([due for due in rest if due.status is not Status.FAILED], now_ms)
        handled += self.republisher.dead_letter([due for due in rest if due.status is Status.FAILED], now_ms)
        if handled >= SWEEP_LIMIT // 2:
            self.sweeps.request()  # more records are due behind these

    def _take_over(self, dues: Sequence[Due], room: int) -> list[Due]:
        """Claim the due tasks that this worker can run now; return the others."""
        taken: list[Delivery] = []
        rest: list[Due] = []
        with self.intake as intake:
            for due in dues:
                if intake.runs(due.id):
                    continue
                if due.delivery is not None and len(taken) < room and self._can_run(due):
                    taken.append(due.delivery)
                else:
                    rest.append(due)
        reclaimed = [due for due in dues if due.reclaimed]
        if reclaimed:
            log.warning("reclaimed from lost workers: %s", ", ".join(due.id for due in reclaimed[:10]))
            self.events.reclaimed(reclaimed)
        self.sweeps.found_work = bool(taken)
        if dues:
            log.debug("sweep with room for %d: %d due, %d taken over", room, len(dues), len(taken))
        if taken:
            self.claimer.claim(taken)
        return rest

    def _can_run(self, due: Due) -> bool:
        return due.status is Status.QUEUED and due.queue in self.queues and due.task in self.executor.tasks
