"""What the parts of one worker share: the services, the books, and the one way in which anything is begun.

The rules (`Intake`) are plain objects; `lock` is held around every call of them, never around I/O.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Sequence

from yadtq_core.errors import Unavailable, YadtqError
from yadtq_core.interfaces import Backend, Broker
from yadtq_core.model import Delivery, Lease, Release, ReleaseReason, Unreadable, WorkerIdentity
from yadtq_core.settings import Settings
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.peers import Others
from yadtq_core.worker.rules.completion import Completion
from yadtq_core.worker.rules.intake import Intake
from yadtq_core.worker.rules.keeper import Keeper

log = logging.getLogger("yadtq.worker")

UNKNOWN_FIRST = 5.0
UNKNOWN_MOST = 300.0
"""Seconds that a task unknown here waits before somebody looks at it again: a quarter of its age, within these.

Where a worker that has it is free it does not wait."""
UNREADABLE_BYTES = 16 * 1024 * 1024
"""Of what cannot be read and is no dead letter yet: where the broker is away that must not fill the memory."""


class Desk:
    """The shared state of one worker's threads."""

    def __init__(
        self,
        settings: Settings,
        identity: WorkerIdentity,
        broker: Broker,
        backend: Backend,
        *,
        executor: Executor,
        events: Events,
    ) -> None:
        self.settings = settings
        self.identity = identity
        self.broker = broker
        self.backend = backend
        self.executor = executor
        self.events = events
        self.lock = threading.Lock()
        self.intake = Intake(margin=2 * settings.claim_stale_seconds / 3, replayable=broker.replayable)
        self.completion = Completion(identity)
        self.keeper = Keeper(settings.claim_stale_seconds, time.monotonic())
        self.room = threading.Condition(self.lock)
        """Notified when runs have ended: intake may claim more."""
        self.poke = threading.Event()
        """Set to make the sweeper look at its clock now."""
        self.unreadable: list[Unreadable] = []
        """What came and cannot be read; guarded by `lock`, dealt with by the sweeper."""
        self.stopping = threading.Event()
        """Nothing new is begun any more."""
        self.killed = threading.Event()
        """The children were ended by this worker: what they ran was handed back, it did not fail."""
        self.finished = threading.Event()
        """Everything that was held has ended or was handed back."""
        self.hungry = False
        """The last sweep gave this worker something to run: look again as soon as a run has ended."""
        self.progress: dict[str, str] = {}
        self.executed = 0
        self.alive: dict[str, float] = {}
        """When each thread last came round, for the watchdog."""
        self.health = Health()
        self.others = Others(backend, identity, fresh=settings.claim_stale_seconds / 3)

    def release(self, leases: Sequence[Lease], reason: ReleaseReason, *, note: str = "", lost: bool = False) -> None:
        """Give leases back. Once this was sent the worker does not hold them, whatever the answer.

        Their deliveries wait again, to be claimed and so settled one day: an offset that nobody settled would hold
        up its partition for good. What came from a sweep is found by the next one. An unknown task's message is
        settled at once, where the backend has said that it holds the task.
        """
        if not leases:
            return
        answered = True
        try:
            self.backend.release([self._release_of(lease, reason, note, lost) for lease in leases], self.identity)
        except YadtqError as error:
            self.health.backend_failed(error)
            answered = False
        now = time.monotonic()
        with self.lock:
            self.intake.stopped([lease.id for lease in leases], now, ended=False)
            if reason is ReleaseReason.UNKNOWN_TASK and answered:
                for lease in leases:
                    self.intake.settled(lease.delivery)
            else:
                ours = [lease.delivery for lease in leases if lease.delivery.partition is not None]
                self.intake.put_back(ours, now, offered=True)
            self.room.notify()

    def _release_of(self, lease: Lease, reason: ReleaseReason, note: str, lost: bool) -> Release:
        delay = 0.0
        if reason is ReleaseReason.UNKNOWN_TASK:
            message = lease.delivery.message
            if not self.others.can_run(message.queue, message.task):
                age = (lease.started_at_ms - message.submitted_at_ms) / 1000
                delay = min(max(age / 4, UNKNOWN_FIRST), UNKNOWN_MOST)
            note = f"unknown task {message.task!r}: no worker that looked at it has it; start one that does"
        return Release(lease.id, lease.fence, reason, delay, lost, note)

    def burdened(self) -> bool:
        """Return (under `lock`) whether so much that cannot be read waits for the sweeper that no more may come."""
        return sum(len(entry.body) for entry in self.unreadable) > UNREADABLE_BYTES

    def window(self, free: int, now: float) -> int:
        """Return how many runs may be claimed now (under `lock`): none while no child could take them."""
        if not self.executor.ready or not self.keeper.may_claim(now):
            return 0
        return self.intake.window(free, now)

    def give_back(self, leases: Sequence[Lease]) -> None:
        """Give back what has not begun, for whoever has a free slot."""
        self.release(leases, ReleaseReason.UNSTARTED)

    def sweep_soon(self) -> None:
        """Make the sweeper sweep now."""
        self.keeper.sweep_soon(time.monotonic())
        self.poke.set()


class Claimer:
    """Claims and begins; keeps the batch and nonce of a call that was not answered, to ask the same again."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._unanswered: tuple[list[Delivery], str] | None = None

    @property
    def unanswered(self) -> bool:
        """An earlier call is to be repeated before a new batch may come."""
        return self._unanswered is not None

    def claim(self, batch: Sequence[Delivery]) -> bool:
        """Claim a batch (or repeat the one not answered; then `batch` must be empty) and begin what may run.

        False if the backend did not answer.
        """
        if not batch and self._unanswered is None:
            return True
        deliveries, nonce = self._unanswered or (list(batch), secrets.token_urlsafe(9))
        self._unanswered = (deliveries, nonce)
        desk = self._desk
        try:
            calm = desk.keeper.nothing_stale(time.monotonic())
            answers = desk.backend.claim(deliveries, desk.identity, nonce, nothing_stale=calm)
        except YadtqError as error:
            desk.health.backend_failed(error)
            return False
        self._unanswered = None
        with desk.lock:
            leases = desk.intake.claimed(deliveries, answers, time.monotonic())
        for delivery, answer in zip(deliveries, answers, strict=True):
            if answer.error:
                log.error("task %s: %s", delivery.message.id, answer.error)
        self._begin(leases)
        return True

    def _begin(self, leases: list[Lease]) -> None:
        desk, known = self._desk, self._desk.executor.tasks
        strange = [lease for lease in leases if lease.delivery.message.task not in known]
        if strange:
            self._park_unknown(strange)
            leases = [lease for lease in leases if lease.delivery.message.task in known]
        if leases and not desk.stopping.is_set():
            desk.events.started(leases)  # before they are given: that one ended must not be told first
            if desk.executor.give(leases):
                return
        desk.give_back(leases)

    def _park_unknown(self, leases: list[Lease]) -> None:
        """Leave tasks unknown here to workers that know them: scheduled with back-off, their messages settled."""
        desk = self._desk
        names = sorted({lease.delivery.message.task for lease in leases})
        log.warning("unknown here, left to other workers: %s", ", ".join(names))
        desk.release(leases, ReleaseReason.UNKNOWN_TASK)


class Health:
    """Says once what went wrong with a service, and once that it is well again."""

    def __init__(self) -> None:
        self._failing: dict[str, float] = {}

    def backend_failed(self, error: Exception) -> None:
        """The backend did not answer, or refused."""
        self._failed("backend", error)

    def broker_failed(self, error: Exception) -> None:
        """The broker did not answer, or refused."""
        self._failed("broker", error)

    def _failed(self, service: str, error: Exception) -> None:
        if service not in self._failing:
            self._failing[service] = time.monotonic()
            kind = "is away" if isinstance(error, Unavailable) else "refuses"
            log.error("the %s %s: %s", service, kind, error)

    def backend_answered(self) -> None:
        """The backend answered."""
        self._answered("backend")

    def broker_answered(self) -> None:
        """The broker answered."""
        self._answered("broker")

    def _answered(self, service: str) -> None:
        since = self._failing.pop(service, None)
        if since is not None:
            log.warning("the %s answers again after %.1f s", service, time.monotonic() - since)
