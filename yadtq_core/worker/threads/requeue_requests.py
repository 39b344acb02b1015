"""Requeue requests: a saturated worker lets its peers take the tasks that wait here for a slot."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.worker.guarded_intake import GuardedIntake
from yadtq_core.worker.outages import Outages
from yadtq_core.worker.peers import Peers
from yadtq_core.worker.rules.keeper import Keeper

log = logging.getLogger("yadtq.worker")

OFFER_SECONDS = 1.2
"""The longest time between two sweeps of a worker: after it every peer has seen the last request."""


@dataclass(kw_only=True, eq=False)
class RequeueRequests:
    """Sends requeue requests (`offer`); used by the intake thread alone."""

    backend: Backend
    peers: Peers
    intake: GuardedIntake
    keeper: Keeper
    outages: Outages
    _next: float = field(default=0.0, init=False)

    def send(self, now: float) -> None:
        """Send one if it is time, and if the backend has not been silent lately."""
        if not self.keeper.may_offer(now) or now < self._next:
            return
        self._next = now + OFFER_SECONDS
        try:
            self._offer()
        except YadtqError as error:
            self.outages.backend_failed(error)

    def _offer(self) -> None:
        free = self.peers.free_slots()
        with self.intake as intake:
            batch = intake.to_offer(free)
        if batch:
            answers = self.backend.offer(batch)
            with self.intake as intake:
                intake.offered(batch, answers, time.monotonic())
            log.debug("requeue requests for %d free slots: %s", free, Counter(a.verdict.value for a in answers))
