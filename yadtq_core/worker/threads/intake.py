"""Drives intake: the one thread that owns the consumer. It polls, claims, offers and commits."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from yadtq_core.errors import BrokerUnavailable, YadtqError
from yadtq_core.interfaces import Consumer, ReplayableConsumer
from yadtq_core.model import Delivery, Partition, Unreadable
from yadtq_core.worker.desk import Claimer, Desk

log = logging.getLogger("yadtq.worker")

IDLE_POLL_SECONDS = 0.2
KEEP_ALIVE_SECONDS = 1.0
"""A full worker still polls so often, or the broker would take it for dead."""
COMMIT_SECONDS = 0.5
TEND_SECONDS = 0.25
OFFER_SECONDS = 1.2
"""The longest time between two sweeps of a worker: by then each has looked at what was offered."""
UNSTARTED_SECONDS = 1.0
CLOSE_SECONDS = 2.0


class IntakeThread:
    """The loop of intake; `run` returns when the worker stops."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._claimer = Claimer(desk)
        self._consumer: Consumer | None = None
        self._least = 1 if desk.broker.replayable else 0
        """Messages asked for by a worker that wants none, only to keep its membership."""
        self._gained: set[Partition] = set()
        """Partitions whose committed offsets have not been looked at yet."""
        self._held_back: set[Partition] = set()
        """Partitions that are paused until they have been rewound, where need be."""
        self._next_poll = self._next_commit = self._next_tend = self._next_offer = 0.0

    def run(self) -> None:
        """Take in messages until the worker stops; then commit and leave the group."""
        try:
            while not self._desk.stopping.is_set():
                self._desk.alive["intake"] = time.monotonic()
                self._step()
            self._claimer.claim(())  # an answer that was lost is asked for once more: its tasks are given back
        finally:
            self._leave()

    def _step(self) -> None:
        now = time.monotonic()
        if not self._in_group(now):
            self._desk.stopping.wait(0.2)
            return
        self._follow_assignment()
        if now >= self._next_tend:
            self._next_tend = now + TEND_SECONDS
            self._tend(now)
        free = self._desk.executor.free
        hungry = self._poll(free, now)
        if not self._claim(free):
            self._wait_for_room(hungry)

    # Membership

    def _in_group(self, now: float) -> bool:
        """Join where the backend answers and the children can work; leave where it has been silent for a lease."""
        desk = self._desk
        if desk.keeper.must_leave(now):
            if self._consumer is not None:
                log.error("the backend has been silent for a whole lease: leaving the group until it answers")
                self._leave()
            return False
        if self._consumer is None and desk.keeper.may_claim(now):
            try:
                self._consumer = desk.broker.consumer(desk.settings.queues, member=desk.identity.id)
                desk.health.broker_answered()
            except YadtqError as error:
                desk.health.broker_failed(error)
        return self._consumer is not None

    def _leave(self) -> None:
        if self._consumer is None:
            return
        self._commit()
        self._settle()
        self._consumer.close(CLOSE_SECONDS)
        self._consumer = None
        self._gained, self._held_back = set(), set()
        with self._desk.lock:
            for partition in self._desk.intake.partitions():
                self._desk.intake.lost(partition)

    def _follow_assignment(self) -> None:
        """Take over gained partitions, forget lost ones, rewind what belongs to another epoch of the backend.

        A gained partition is paused until its committed offset and what that is worth have been looked at.
        """
        assert self._consumer is not None
        gained, lost = self._consumer.changes()
        self._gained = (self._gained - lost) | gained
        self._held_back -= lost
        with self._desk.lock:
            for partition in lost:
                self._desk.intake.lost(partition)
        try:
            self._take_over()
            self._rewind()
        except BrokerUnavailable as error:
            self._desk.health.broker_failed(error)
            return
        if self._held_back:
            self._consumer.resume(list(self._held_back))
            self._held_back = set()

    def _take_over(self) -> None:
        if not self._gained:
            return
        assert isinstance(self._consumer, ReplayableConsumer)  # no other one gains partitions
        committed = self._consumer.committed(list(self._gained))
        with self._desk.lock:
            for partition in self._gained:
                self._desk.intake.gained(partition, *committed.get(partition, (None, "")))
        log.info("partitions gained: %s", _names(self._gained))
        self._held_back |= self._gained
        self._gained = set()

    def _rewind(self) -> None:
        """Read again from where the backend may have lost what it knew; records are rebuilt by the claims."""
        with self._desk.lock:
            rewinds = self._desk.intake.to_rewind()
        if not rewinds:
            return
        assert isinstance(self._consumer, ReplayableConsumer)  # no other one gains partitions
        for rewind in rewinds:
            partition = rewind.partition
            self._consumer.pause([partition])
            self._held_back.add(partition)
            found = self._consumer.offset_at(partition, rewind.since_ms)
            offset = rewind.safe if found is None else min(rewind.safe, found)
            self._consumer.seek(partition, offset)
            with self._desk.lock:
                self._desk.intake.rewound(rewind, offset)
            log.warning(
                "the backend may have lost writes: %s is read again from offset %d", _names([partition]), offset
            )

    # Messages

    def _poll(self, free: int, now: float) -> bool:
        """Fetch more where little is left to claim; wait for it only where there is nothing else to do.

        Return whether more is wanted.
        """
        desk = self._desk
        with desk.lock:
            waiting, parked = desk.intake.waiting, desk.intake.next_parked()
            most = 0 if desk.burdened() else desk.intake.appetite(desk.window(free, now))
        if not most and now < self._next_poll:
            return False
        idle = most > 0 and not waiting and not self._claimer.unanswered
        timeout = IDLE_POLL_SECONDS if idle else 0.0
        if parked is not None and free:
            timeout = max(0.0, min(timeout, parked - now))
        assert self._consumer is not None
        self._settle()
        messages = self._consumer.poll(most or self._least, timeout)
        self._next_poll = time.monotonic() + KEEP_ALIVE_SECONDS
        if messages:
            self._received(messages)
        return most > 0

    def _received(self, messages: Sequence[Delivery | Unreadable]) -> None:
        with self._desk.lock:
            self._desk.unreadable += self._desk.intake.polled(messages, time.monotonic())
            restarted = self._desk.intake.log_restarts()
        if restarted:
            log.warning("made anew, or shorter than it was: %s is read from its start", _names(restarted))

    def _claim(self, free: int) -> bool:
        """Claim and begin what the window allows; False if nothing was claimed."""
        desk, now = self._desk, time.monotonic()
        if self._claimer.unanswered:
            if not self._claimer.claim(()):
                desk.stopping.wait(0.2)
            return True
        with desk.lock:
            batch = desk.intake.next_batch(desk.window(free, now), now)
        if not batch:
            return False
        self._claimer.claim(batch)
        return True

    def _settle(self) -> None:
        """Tell the broker what it need not keep any more, where that is not told by offsets."""
        assert self._consumer is not None
        with self._desk.lock:
            spent = self._desk.intake.spent()
        if spent:
            self._consumer.settle(spent)

    def _wait_for_room(self, hungry: bool) -> None:
        """Wait until a run ends, where messages wait for a slot; elsewhere the poll has waited already."""
        with self._desk.lock:
            parked = self._desk.intake.next_parked()
            if not hungry or self._desk.intake.waiting or (parked is not None and parked <= time.monotonic()):
                self._desk.room.wait(0.05)

    # What is done now and then

    def _tend(self, now: float) -> None:
        if now >= self._next_commit:
            self._next_commit = now + COMMIT_SECONDS
            self._commit()
        self._pause()
        with self._desk.lock:
            saturated = self._desk.intake.saturated(self._desk.executor.free, now)
        if saturated:
            self._desk.give_back(self._desk.executor.take_back(older_than=UNSTARTED_SECONDS))
            may = self._desk.broker.replayable and self._desk.keeper.may_offer(now)
            if may and now >= self._next_offer:
                self._next_offer = now + OFFER_SECONDS
                self._offer()

    def _commit(self) -> None:
        with self._desk.lock:
            offsets = self._desk.intake.to_commit()
        if offsets and isinstance(self._consumer, ReplayableConsumer):
            self._consumer.commit(offsets)

    def _pause(self) -> None:
        assert self._consumer is not None
        with self._desk.lock:
            pause, resume = self._desk.intake.to_pause()
        if pause:
            self._consumer.pause(pause)
            log.warning("paused until older messages are done: %s", _names(pause))
        if resume:
            self._consumer.resume(resume)

    def _offer(self) -> None:
        desk = self._desk
        try:
            elsewhere = sum(
                row.stats.free
                for row in desk.backend.workers()
                if row.online and row.identity.incarnation != desk.identity.incarnation
            )
            with desk.lock:
                batch = desk.intake.to_offer(elsewhere)
            if batch:
                answers = desk.backend.offer(batch)
                with desk.lock:
                    desk.intake.offered(batch, answers, time.monotonic())
                log.debug(
                    "offered to %d free slots elsewhere: %s", elsewhere, Counter(a.verdict.value for a in answers)
                )
        except YadtqError as error:
            desk.health.backend_failed(error)


def _names(partitions: Iterable[Partition]) -> str:
    return ", ".join(f"{queue}/{number}" for queue, number in sorted(partitions))
