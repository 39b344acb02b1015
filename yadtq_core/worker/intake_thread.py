"""Drives intake: the one thread that owns the consumer. It polls, claims, offers and commits."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from yadtq_core.envelope import Encoded
from yadtq_core.errors import BrokerUnavailable, YadtqError
from yadtq_core.interfaces import Consumer
from yadtq_core.model import Delivery, Partition, Unreadable
from yadtq_core.worker.desk import Claimer, Desk

log = logging.getLogger("yadtq.worker")

POLL_MOST = 500
"""Messages asked for at a time."""
ENOUGH_WAITING = 200
"""With so many waiting to be claimed no more are polled: they would only be others' work held back."""
IDLE_POLL_SECONDS = 0.2
KEEP_ALIVE_SECONDS = 1.0
"""A full worker still polls so often, or the broker would take it for dead."""
COMMIT_SECONDS = 0.5
TEND_SECONDS = 0.25
OFFER_SECONDS = 1.2
"""The longest time between two sweeps of a worker: by then each has looked at what was offered."""
UNSTARTED_SECONDS = 1.0
CLOSE_SECONDS = 5.0


class IntakeThread:
    """The loop of intake; `run` returns when the worker stops."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._claimer = Claimer(desk)
        self._consumer: Consumer | None = None
        self._gained: set[Partition] = set()
        self._unreadable: list[Unreadable] = []
        self._next_poll = self._next_commit = self._next_tend = self._next_offer = 0.0

    def run(self) -> None:
        """Take in messages until the worker stops; then commit and leave the group."""
        try:
            while not self._desk.stopping.is_set():
                self._desk.alive["intake"] = time.monotonic()
                self._step()
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
        self._poll(free, now)
        if not self._claim(free):
            self._wait_for_room()

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
        self._consumer.close(CLOSE_SECONDS)
        self._consumer = None
        self._gained = set()
        with self._desk.lock:
            for partition in self._desk.intake.partitions():
                self._desk.intake.lost(partition)

    def _follow_assignment(self) -> None:
        """Take over gained partitions (their committed offsets are looked at first), forget lost ones."""
        if self._consumer is None:
            return
        gained, lost = self._consumer.changes()
        self._gained = (self._gained - lost) | gained
        with self._desk.lock:
            for partition in lost:
                self._desk.intake.lost(partition)
        if not self._gained:
            return
        try:
            committed = self._consumer.committed(list(self._gained))
        except BrokerUnavailable as error:
            self._desk.health.broker_failed(error)
            return
        with self._desk.lock:
            for partition in self._gained:
                self._desk.intake.gained(partition, committed[partition][0] if partition in committed else None)
        self._consumer.resume(list(self._gained))
        log.info("partitions gained: %s", _names(self._gained))
        self._gained = set()

    # Messages

    def _poll(self, free: int, now: float) -> None:
        """Fetch more where little is left to claim; wait for it only where there is nothing else to do."""
        desk = self._desk
        with desk.lock:
            waiting, parked = desk.intake.waiting, desk.intake.next_parked()
        if waiting >= ENOUGH_WAITING and now < self._next_poll:
            return
        idle = not waiting and not self._claimer.unanswered
        timeout = IDLE_POLL_SECONDS if idle else 0.0
        if parked is not None and free:
            timeout = max(0.0, min(timeout, parked - now))
        assert self._consumer is not None
        most = POLL_MOST if waiting < ENOUGH_WAITING else 1
        messages = self._consumer.poll(most, timeout)
        self._next_poll = time.monotonic() + KEEP_ALIVE_SECONDS
        if messages:
            self._received(messages)

    def _received(self, messages: Sequence[Delivery | Unreadable]) -> None:
        with self._desk.lock:
            self._unreadable += self._desk.intake.polled(messages, time.monotonic())

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

    def _wait_for_room(self) -> None:
        """Wait until a run ends, where messages wait for a slot; elsewhere the poll has waited already."""
        with self._desk.lock:
            parked = self._desk.intake.next_parked()
            if self._desk.intake.waiting or (parked is not None and parked <= time.monotonic()):
                self._desk.room.wait(0.05)

    # What is done now and then

    def _tend(self, now: float) -> None:
        if now >= self._next_commit:
            self._next_commit = now + COMMIT_SECONDS
            self._commit()
        self._pause()
        self._bury_unreadable()
        with self._desk.lock:
            saturated = self._desk.intake.saturated(self._desk.executor.free, now)
        if saturated:
            self._desk.give_back(self._desk.executor.take_back(older_than=UNSTARTED_SECONDS))
            if now >= self._next_offer:
                self._next_offer = now + OFFER_SECONDS
                self._offer()

    def _commit(self) -> None:
        with self._desk.lock:
            offsets = self._desk.intake.to_commit()
        if offsets and self._consumer is not None:
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
                log.debug("offered to %d free slots elsewhere: %s", elsewhere, Counter(a.verdict.value for a in answers))
        except YadtqError as error:
            desk.health.backend_failed(error)

    def _bury_unreadable(self) -> None:
        """Send what is no message to the dead letters; its offset is done once they have it."""
        if not self._unreadable:
            return
        desk = self._desk
        dead = [entry for entry in self._unreadable if entry.task_id is None]
        # One of a newer version keeps its record: workers that can read it are told by the sweeps.
        settled = [entry for entry in self._unreadable if entry.task_id is not None]
        try:
            letters = [Encoded(f"{e.partition.number}:{e.offset}", e.partition.queue, e.body) for e in dead]
            publication = desk.broker.publish_dead(letters, timestamp_ms=desk.backend.time_ms())
            positions = publication.wait(CLOSE_SECONDS)
        except YadtqError as error:
            desk.health.broker_failed(error)
            return
        buried = [entry for entry, position in zip(dead, positions, strict=True) if position is not None]
        for entry in (*buried, *settled):
            log.error(
                "unreadable message at %s offset %d (%s)",
                _names([entry.partition]),
                entry.offset,
                entry.reason,
            )
        with desk.lock:
            for entry in (*buried, *settled):
                desk.intake.done(entry.partition, entry.offset)
        self._unreadable = [entry for entry in dead if entry not in buried]


def _names(partitions: Iterable[Partition]) -> str:
    return ", ".join(f"{queue}/{number}" for queue, number in sorted(partitions))
