"""Lets other workers take what this one cannot run now: requeues leases, and sends requeue requests to peers."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import Lease, Release, ReleaseReason, WorkerIdentity
from yadtq_core.worker.peers import Peers
from yadtq_core.worker.rules.keeper import Keeper
from yadtq_core.worker.rules.lanes import Waiting
from yadtq_core.worker.rules.offers import FreePeers
from yadtq_core.worker.shared import GuardedIntake, Outages

log = logging.getLogger("yadtq.worker")

UNKNOWN_DELAY = 5.0
"""The first delay of a task that no worker has loaded; the backend makes it longer with the time that it waits."""
MOST_NAMES = 1000
"""Names that are remembered because the log has them: they come from outside, and must not fill the memory."""
TO_OTHERS = frozenset({ReleaseReason.UNKNOWN_TASK, ReleaseReason.BINDING_FAILED})
"""The reasons for which this worker cannot begin a run that another one can."""
MAX_NOTE = 500
"""Characters of a reason that the record keeps."""
OFFER_SECONDS = 1.2
"""The longest time between two sweeps of a worker: after it every peer has seen the last request."""


@dataclass(eq=False)
class Requeue:
    """Releases leases of this worker. Safe for use by several threads, except `offer`."""

    backend: Backend
    identity: WorkerIdentity
    intake: GuardedIntake
    keeper: Keeper
    peers: Peers
    outages: Outages
    _next_offer: float = field(default=0.0, init=False)
    _logged: set[str] = field(default_factory=set, init=False)

    def unstarted(self, leases: Sequence[Lease]) -> None:
        """Requeue leases whose runs have not begun, for any worker with a free slot."""
        self.release(leases, ReleaseReason.UNSTARTED)

    def unknown(self, leases: Sequence[Lease]) -> None:
        """Requeue leases of tasks that are not loaded in this worker, for another one; log each name once."""
        for name in sorted({lease.delivery.message.task for lease in leases} - self._logged):
            if len(self._logged) < MOST_NAMES:
                self._logged.add(name)
                log.warning("task %s is not loaded in this worker: requeued for another one", name)
        self.release(leases, ReleaseReason.UNKNOWN_TASK)

    def stopped(self, leases: Sequence[Lease]) -> None:
        """Requeue leases whose runs have begun and were ended by the stop of this worker; none counts as lost."""
        self.release(leases, ReleaseReason.HANDED_BACK, note="requeued: its worker was stopped")

    def leave(self, unable: Sequence[tuple[Lease, str]], *, wait: bool = False) -> None:
        """Leave to other workers what this one cannot begin, with the reason of each.

        wait: also if a peer has loaded the task, because it may have the same fault.
        """
        for reason in dict.fromkeys(reason for _, reason in unable):
            leases = [lease for lease, of_it in unable if of_it == reason]
            note = f"left to other workers: {reason[:MAX_NOTE]}"
            self.release(leases, ReleaseReason.BINDING_FAILED, note=note, wait=wait)

    def release(
        self,
        leases: Sequence[Lease],
        reason: ReleaseReason,
        *,
        note: str = "",
        lost: bool = False,
        wait: bool = False,
    ) -> None:
        """Requeue leases. After the call this worker does not hold them, whether or not the backend answered.

        Their deliveries wait to be claimed again, and the answer of that claim settles them: an offset that is never
        settled would block its partition. A delivery that came from a sweep has no offset; the next sweep finds its
        record. The message of a task that is left to others is settled at once, provided the backend has confirmed the
        release. wait: delay such a task, also if a peer has loaded it.
        """
        if not leases:
            return
        answered = True
        try:
            self.backend.release([self._release_of(lease, reason, note, lost, wait) for lease in leases], self.identity)
        except YadtqError as error:
            self.outages.failed("backend", error)
            answered = False
        now = time.monotonic()
        with self.intake as intake:
            intake.stopped([lease.id for lease in leases], now, ended=False)
            if reason in TO_OTHERS and answered:
                for lease in leases:
                    intake.settled(lease.delivery)
            else:
                polled = [lease.delivery for lease in leases if lease.delivery.partition is not None]
                intake.put_back(polled, requeued=True)
            self.intake.notify()

    def _release_of(self, lease: Lease, reason: ReleaseReason, note: str, lost: bool, wait: bool) -> Release:
        message = lease.delivery.message
        delay = 0.0
        if reason in TO_OTHERS and (wait or not self.peers.has_loaded(message.queue, message.task)):
            delay = UNKNOWN_DELAY
        if reason is ReleaseReason.UNKNOWN_TASK:
            note = f"unknown task {message.task!r}: no worker has loaded it yet; start one that does"
        return Release(lease.id, message.queue, lease.fence, reason, delay, lost, note)

    def offer(self, now: float) -> None:
        """Send a requeue request, if it is time: peers may take tasks that wait here for a slot.

        For the intake thread alone. Sends none after a silence of the backend.
        """
        if not self.keeper.may_offer(now) or now < self._next_offer:
            return
        self._next_offer = now + OFFER_SECONDS
        try:
            peers = FreePeers(self.peers.online())
            with self.intake as intake:
                batch = intake.to_offer(peers)
            if batch:
                self._offer(batch)
        except YadtqError as error:
            self.outages.failed("backend", error)

    def _offer(self, batch: Sequence[Waiting]) -> None:
        answers = self.backend.offer([entry.delivery for entry in batch])
        with self.intake as intake:
            intake.offered(batch, answers, time.monotonic())
        log.debug("requeue requests: %s", Counter(answer.verdict.value for answer in answers))
