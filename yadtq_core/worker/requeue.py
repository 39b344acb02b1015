"""Requeues leases: gives claimed tasks back to the backend, so that this or another worker can claim them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import Lease, Release, ReleaseReason, WorkerIdentity
from yadtq_core.worker.guarded_intake import GuardedIntake
from yadtq_core.worker.outages import Outages
from yadtq_core.worker.peers import Peers

UNKNOWN_FIRST = 5.0
UNKNOWN_MOST = 300.0
"""Seconds for which a task that is not loaded here waits: a quarter of its age, within these limits.

It does not wait when a peer that has loaded it has a free slot.
"""


class Requeue:
    """Releases leases of this worker. Safe for use by several threads."""

    def __init__(
        self, backend: Backend, identity: WorkerIdentity, *, intake: GuardedIntake, peers: Peers, outages: Outages
    ) -> None:
        self._backend = backend
        self._identity = identity
        self._intake = intake
        self._peers = peers
        self._outages = outages

    def unstarted(self, leases: Sequence[Lease]) -> None:
        """Requeue leases whose runs have not begun, for any worker with a free slot."""
        self.release(leases, ReleaseReason.UNSTARTED)

    def release(self, leases: Sequence[Lease], reason: ReleaseReason, *, note: str = "", lost: bool = False) -> None:
        """Requeue leases. After the call this worker does not hold them, whether or not the backend answered.

        Their deliveries wait to be claimed again, and the answer of that claim settles them: an offset that is never
        settled would block its partition. A delivery that came from a sweep has no offset; the next sweep finds its
        record. The message of an unknown task is settled at once, provided the backend has confirmed the release.
        """
        if not leases:
            return
        answered = True
        try:
            self._backend.release([self._release_of(lease, reason, note, lost) for lease in leases], self._identity)
        except YadtqError as error:
            self._outages.backend_failed(error)
            answered = False
        now = time.monotonic()
        with self._intake as intake:
            intake.stopped([lease.id for lease in leases], now, ended=False)
            if reason is ReleaseReason.UNKNOWN_TASK and answered:
                for lease in leases:
                    intake.settled(lease.delivery)
            else:
                polled = [lease.delivery for lease in leases if lease.delivery.partition is not None]
                intake.put_back(polled, now, offered=True)
            self._intake.notify()

    def _release_of(self, lease: Lease, reason: ReleaseReason, note: str, lost: bool) -> Release:
        delay = 0.0
        if reason is ReleaseReason.UNKNOWN_TASK:
            message = lease.delivery.message
            if not self._peers.can_run(message.queue, message.task):
                age = (lease.started_at_ms - message.submitted_at_ms) / 1000
                delay = min(max(age / 4, UNKNOWN_FIRST), UNKNOWN_MOST)
            note = f"unknown task {message.task!r}: no worker has loaded it yet; start one that does"
        return Release(lease.id, lease.fence, reason, delay, lost, note)
