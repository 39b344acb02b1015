"""The intake thread: polls messages, takes ready records from the store, claims both, and commits what is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from yadtq_core.errors import BrokerUnavailable, YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import Delivery, Unreadable
from yadtq_core.worker.claimer import Claimer
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.missed import MissedMessages
from yadtq_core.worker.peers import Peers
from yadtq_core.worker.repeats import Repeats
from yadtq_core.worker.requeue import Requeue
from yadtq_core.worker.rules.budget import BUDGET
from yadtq_core.worker.shared import GuardedIntake, Lifecycle, Outages, ThreadLoop
from yadtq_core.worker.threads.group_member import GroupMember, names
from yadtq_core.worker.unreadable import UnreadableMessages

log = logging.getLogger("yadtq.worker")

IDLE_POLL_SECONDS = 0.2
KEEP_ALIVE_SECONDS = 1.0
"""A saturated worker still polls this often, or the broker would remove it from the group."""
SLOT_SECONDS = 0.05
REREAD_SECONDS = 0.002
"""A worker without a free slot polls again after this time: this long while it reads again what may have ended."""
COMMIT_SECONDS = 0.5
TEND_SECONDS = 0.25
MISSED_SECONDS = 1.0
UNSTARTED_SECONDS = 1.0
"""A saturated worker requeues claimed tasks that have waited this long for a slot."""


@dataclass(eq=False)
class IntakeThread(ThreadLoop):
    """The loop of intake; `run` returns when the worker stops."""

    backend: Backend
    member: GroupMember
    intake: GuardedIntake
    unreadable: UnreadableMessages
    missed: MissedMessages
    repeats: Repeats
    claimer: Claimer
    executor: Executor
    requeue: Requeue
    peers: Peers
    outages: Outages
    lifecycle: Lifecycle
    _next_poll: float = field(default=0.0, init=False)
    _next_commit: float = field(default=0.0, init=False)
    _next_tend: float = field(default=0.0, init=False)
    _next_missed: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Take in messages until the worker stops; then commit and leave the group."""
        try:
            while not self.lifecycle.stopping.is_set():
                self.looped_at = time.monotonic()
                self._step()
            self.claimer.claim(())  # repeats a claim without an answer: its leases are then requeued
        finally:
            self.member.leave()

    def _step(self) -> None:
        now = time.monotonic()
        free = self.executor.free
        joined = self.member.in_group(free, now)
        if joined:
            self.member.follow_assignment()
            if now >= self._next_tend:
                self._next_tend = now + TEND_SECONDS
                self._tend(free, now)
        hungry = self._poll(free, now) if joined else False
        asked = self.repeats.ask()
        if not self._claim(free) and not asked:
            self._wait_for_slot(hungry, SLOT_SECONDS if joined else 0.2)

    def _poll(self, free: int, now: float) -> bool:
        """Fetch messages when few are left to claim; wait for them only when there is nothing else to do.

        Return True if more messages are wanted.
        """
        with self.intake as intake:
            waiting, parked, ready = intake.waiting, intake.next_parked(), intake.lanes.ready
            most = 0 if self.unreadable.full() else intake.appetite(self.claimer.window(intake, free, now))
        if not most and now < self._next_poll:
            return False
        idle = most > 0 and not waiting and not self.claimer.unanswered
        timeout = IDLE_POLL_SECONDS if idle and not ready else 0.0
        if parked is not None and free:
            timeout = max(0.0, min(timeout, parked - now))
        self.member.pause_lanes()
        messages = self.member.poll(most, timeout)
        self._next_poll = time.monotonic() + KEEP_ALIVE_SECONDS
        if messages:
            self._received(messages)
        return most > 0

    def _received(self, messages: Sequence[Delivery | Unreadable]) -> None:
        with self.intake as intake:
            unreadable = intake.polled(messages, time.monotonic())
            restarted = intake.log_restarts()
        self.unreadable.add(unreadable)
        for partition in restarted:
            self.missed.restarted(partition.queue)
            log.warning("partition %s was recreated or truncated: reading from its start", names([partition]))

    def _claim(self, free: int) -> bool:
        """Claim what the window allows and start it; return False if there was nothing to claim."""
        now = time.monotonic()
        if self.claimer.unanswered:
            if not self.claimer.claim(()):
                self.lifecycle.stopping.wait(0.2)
            return True
        with self.intake as intake:
            window = self.claimer.window(intake, free, now)
            share = intake.share(window, now)
        taken = self._take(share.ready) if share.ready else ()
        with self.intake as intake:
            # Without room for more, the window is what must be claimed all the same: one call's worth of it.
            batch = intake.next_batch(window, now, share.polled, taken, self.executor.room or BUDGET)
        if not batch:
            return False
        self.claimer.claim(batch)
        return True

    def _take(self, wanted: Mapping[str, int]) -> Sequence[Delivery]:
        """Take ready records from the store; without an answer none, until the next sweep says what is ready."""
        parts: dict[frozenset[str], dict[str, int]] = {}
        for queue, count in wanted.items():
            parts.setdefault(self.peers.elsewhere(queue, self.executor.tasks), {})[queue] = count
        ready = dict.fromkeys(wanted, 0)
        deliveries: list[Delivery] = []
        try:
            for elsewhere, part in parts.items():
                taken = self.backend.take(part, elsewhere)
                deliveries += taken.deliveries
                if taken.deliveries:  # else what is left is for other workers: the next sweep counts again
                    ready |= taken.ready
        except YadtqError as error:
            self.outages.failed("backend", error)
        with self.intake as intake:
            intake.lanes.note_ready(ready)
        return deliveries

    def _wait_for_slot(self, hungry: bool, timeout: float) -> None:
        """Wait until a run ends, if messages wait for a slot. Otherwise the poll has waited already."""
        with self.intake as intake:
            parked = intake.next_parked()
            if (
                not hungry
                or intake.waiting
                or intake.lanes.ready
                or (parked is not None and parked <= time.monotonic())
            ):
                self.intake.wait(REREAD_SECONDS if hungry and intake.reads_again() else timeout)

    def _tend(self, free: int, now: float) -> None:
        """Commit and pause; look for lost messages; in a saturated worker, let peers have what waits for a slot."""
        if now >= self._next_commit:
            self._next_commit = now + COMMIT_SECONDS
            self.member.commit()
        self.member.pause()
        if self.member.broker.replayable and now >= self._next_missed and not self.claimer.unanswered:
            self._next_missed = now + MISSED_SECONDS
            self._look_for_missed()
        with self.intake as intake:
            saturated = intake.saturation.offers(now)
        if saturated:
            self.requeue.unstarted(self.executor.take_back(older_than=UNSTARTED_SECONDS))
            if self.member.broker.replayable:  # other brokers hand out no more than this worker claims at once
                self.requeue.offer(now)

    def _look_for_missed(self) -> None:
        try:
            self.missed.look(self.member.replayable)
        except BrokerUnavailable as error:
            self.outages.failed("broker", error)
        except YadtqError as error:
            self.outages.failed("backend", error)
