"""Claims deliveries and gives their runs to the children: the only way in which a worker starts a run."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import Delivery, Lease, WorkerIdentity
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.requeue import Requeue
from yadtq_core.worker.rules.intake import Intake
from yadtq_core.worker.rules.keeper import Keeper
from yadtq_core.worker.shared import GuardedIntake, Lifecycle, Outages

log = logging.getLogger("yadtq.worker")


@dataclass(eq=False)
class Claimer:
    """Used by the intake thread alone.

    A claim without an answer is kept with its nonce and sent again, so that the same call gets the same leases.
    """

    backend: Backend
    identity: WorkerIdentity
    intake: GuardedIntake
    keeper: Keeper
    executor: Executor
    events: Events
    requeue: Requeue
    outages: Outages
    lifecycle: Lifecycle
    _unanswered: tuple[list[Delivery], str] | None = field(default=None, init=False)

    @property
    def unanswered(self) -> bool:
        """True when an earlier claim has no answer yet: it must be sent again before a new one."""
        return self._unanswered is not None

    def window(self, intake: Intake, free: int, now: float) -> int:
        """Return how many runs may be claimed with `free` slots empty: 0 if no child is ready or the backend is silent.

        Runs beyond the free slots are claimed only while the children have room for their bytes.
        Call it inside the block that guards `intake`.
        """
        if not self.executor.ready or not self.keeper.may_claim(now):
            return 0
        return intake.window(free, now, ahead=self.executor.room > 0)

    def claim(self, batch: Sequence[Delivery]) -> bool:
        """Claim a batch and start the granted runs. With an empty batch, repeat the claim without an answer, if any.

        Return False if the backend did not answer.
        """
        if not batch and self._unanswered is None:
            return True
        deliveries, nonce = self._unanswered or (list(batch), secrets.token_urlsafe(9))
        self._unanswered = (deliveries, nonce)
        try:
            nothing_stale = self.keeper.nothing_stale(time.monotonic())
            answers = self.backend.claim(deliveries, self.identity, nonce, nothing_stale=nothing_stale)
        except YadtqError as error:
            self.outages.failed("backend", error)
            return False
        self._unanswered = None
        with self.intake as intake:
            leases = intake.claimed(deliveries, answers, time.monotonic())
        for delivery, answer in zip(deliveries, answers, strict=True):
            if answer.error:
                log.error("task %s: %s", delivery.message.id, answer.error)
        self._start(leases)
        return True

    def _start(self, leases: list[Lease]) -> None:
        loaded = self.executor.tasks
        others = [lease for lease in leases if lease.delivery.message.task not in loaded]
        if others:
            self._leave(others)
            leases = [lease for lease in leases if lease.delivery.message.task in loaded]
        if leases and not self.lifecycle.stopping.is_set():
            self.events.started(leases)  # before the children have them: a run's end must not be reported first
            if self.executor.give(leases):
                return
        self.requeue.unstarted(leases)

    def _leave(self, leases: list[Lease]) -> None:
        """Leave to other workers what this one cannot run; the executor has logged why a task cannot be bound."""
        unbound = self.executor.unbound
        reasons = [(lease, unbound.get(lease.delivery.message.task)) for lease in leases]
        self.requeue.leave([(lease, reason) for lease, reason in reasons if reason is not None])
        unknown = [lease for lease, reason in reasons if reason is None]
        self.requeue.unknown(unknown)
