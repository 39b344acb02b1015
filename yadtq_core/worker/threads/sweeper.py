"""The sweeper thread: moves due records on, and publishes dead letters.

It is a thread of its own because it waits for the broker, and leases must be extended during an outage of the broker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yadtq_core.errors import BrokerUnavailable, YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import Due, Sweep
from yadtq_core.worker.dead_letters import DeadLetters
from yadtq_core.worker.events import Events
from yadtq_core.worker.shared import GuardedIntake, Lifecycle, Outages, SweepTimer, ThreadLoop
from yadtq_core.worker.unreadable import UnreadableMessages

log = logging.getLogger("yadtq.worker")

SWEEP_LIMIT = 200
MAX_WAIT_SECONDS = 0.5


@dataclass(eq=False)
class SweeperThread(ThreadLoop):
    """The loop of the sweeps; `run` returns when the worker stops."""

    backend: Backend
    queues: Sequence[str]
    intake: GuardedIntake
    sweeps: SweepTimer
    dead_letters: DeadLetters
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
        """Sweep once, tell intake what is ready, and publish dead letters. Raises what broker and backend raise."""
        found = self.backend.sweep(SWEEP_LIMIT, self.queues)
        with self.intake as intake:
            intake.lanes.note_ready(found.ready)
            self.intake.notify()
        if found.more:
            self.sweeps.request()  # more records are due behind these
        self._report(found)
        self.dead_letters.publish(found.failed, found.now_ms)

    def _report(self, found: Sweep) -> None:
        reclaimed: Sequence[Due] = found.reclaimed
        if reclaimed:
            log.warning("reclaimed from lost workers: %s", ", ".join(due.id for due in reclaimed[:10]))
            self.events.reclaimed(reclaimed)
        if found.failed or any(found.ready.values()):
            log.debug("sweep: %d failed, ready: %s", len(found.failed), dict(found.ready))
