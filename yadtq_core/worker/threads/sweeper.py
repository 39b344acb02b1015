"""Drives the sweeps: what is due is run here, published again or buried; what cannot be read is buried too.

A thread of its own: it waits for the broker, which may be away, while leases must be extended.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from yadtq_core.errors import BrokerUnavailable, YadtqError
from yadtq_core.interfaces import Publication
from yadtq_core.model import Delivery, Due, Partition, Status, Unreadable
from yadtq_core.wire.envelope import Encoded
from yadtq_core.worker.desk import Claimer, Desk

log = logging.getLogger("yadtq.worker")

_Place = tuple[Partition, int]

SWEEP_LIMIT = 200
ACK_SECONDS = 5.0
MAX_WAIT_SECONDS = 0.5
NEWER_SECONDS = 5.0
"""How long a message of a newer format without a record rests before it goes back to its queue."""


class SweeperThread:
    """The loop of the sweeps; `run` returns when the worker stops."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._claimer = Claimer(desk)
        self._resting: dict[_Place, float] = {}
        """Until when messages of a newer format without a record rest."""

    def run(self) -> None:
        """Sweep until the worker stops."""
        desk = self._desk
        while not desk.stopping.is_set():
            now = desk.alive["sweeper"] = time.monotonic()
            if desk.keeper.sweep_due(now):
                self._sweep()
            self._bury_unreadable()
            desk.poke.wait(min(desk.keeper.sweep_wait(time.monotonic()), MAX_WAIT_SECONDS))
            desk.poke.clear()
        self._claimer.claim(())  # an answer that was lost is asked for once more, so that its tasks are given back

    def _sweep(self) -> None:
        """Look at what somebody must look at. First ask again for what an earlier claim left unanswered."""
        desk = self._desk
        if self._claimer.unanswered and not self._claimer.claim(()):
            return
        free = desk.executor.free
        with desk.lock:
            room = desk.window(free, time.monotonic()) if free else 0
        try:
            now_ms, dues = desk.backend.sweep(SWEEP_LIMIT, room)
            rest = self._take_over(dues, room)
            dealt_with = len(dues) - len(rest)
            dealt_with += self._publish([due for due in rest if due.status is not Status.FAILED], now_ms)
            dealt_with += self._bury([due for due in rest if due.status is Status.FAILED], now_ms)
            if dealt_with >= SWEEP_LIMIT // 2:
                desk.sweep_soon()  # there is more, and what is due behind it must not wait for so many seconds
        except BrokerUnavailable as error:
            desk.health.broker_failed(error)
        except YadtqError as error:
            desk.health.backend_failed(error)

    def _take_over(self, dues: Sequence[Due], room: int) -> list[Due]:
        """Claim directly what this worker can run now; return what is left."""
        desk = self._desk
        mine: list[Delivery] = []
        rest: list[Due] = []
        with desk.lock:
            for due in dues:
                if desk.intake.runs(due.id):
                    continue
                if due.delivery is not None and len(mine) < room and self._can_run(due):
                    mine.append(due.delivery)
                else:
                    rest.append(due)
        reclaimed = [due for due in dues if due.reclaimed]
        if reclaimed:
            log.warning("reclaimed from lost workers: %s", ", ".join(due.id for due in reclaimed[:10]))
            desk.events.reclaimed(reclaimed)
        desk.hungry = bool(mine)
        if dues:
            log.debug("sweep with room for %d: %d due, %d taken over", room, len(dues), len(mine))
        if mine:
            self._claimer.claim(mine)
        return rest

    def _can_run(self, due: Due) -> bool:
        desk = self._desk
        return due.status is Status.QUEUED and due.queue in desk.settings.queues and due.task in desk.executor.tasks

    def _publish(self, dues: Sequence[Due], now_ms: int) -> int:
        """Publish again what no consumer will be given, confirm the rest where it stands; return how many went."""
        desk = self._desk
        if not dues or desk.broker.unacknowledged():
            return 0  # an outage must not multiply messages
        placed = [due for due in dues if due.position]
        gone = desk.broker.undeliverable([(due.queue, due.position) for due in placed]) if placed else []
        desk.backend.confirm([(due.id, due.position) for due, lost in zip(placed, gone, strict=True) if not lost])
        again = self._not_for_another([due for due, lost in zip(placed, gone, strict=True) if lost])
        again += [due for due in dues if not due.position]
        deliveries = self._messages(again)
        letters = [Encoded(d.message.id, d.message.queue, d.body) for d in deliveries]
        if not letters:
            return 0
        positions = desk.broker.publish(letters, timestamp_ms=now_ms).wait(ACK_SECONDS)
        confirmed = [(letter.id, p) for letter, p in zip(letters, positions, strict=True) if p is not None]
        desk.backend.confirm(confirmed)
        log.info("published again: %d", len(confirmed))
        return len(confirmed)

    def _not_for_another(self, dues: Sequence[Due]) -> list[Due]:
        """Offer what is unknown here and what another worker has, with a slot free; return the rest.

        Offered it is due at once, for that worker's next sweep; published again it would come to any worker, and
        mostly to one that does not have it.
        """
        known, others = self._desk.executor.tasks, self._desk.others
        strange = [due for due in dues if due.task not in known and others.can_run(due.queue, due.task)]
        if strange:
            self._desk.backend.offer(self._messages(strange))
        offered = {due.id for due in strange}
        return [due for due in dues if due.id not in offered]

    def _bury(self, dues: Sequence[Due], now_ms: int) -> int:
        """Publish the dead letters of failed tasks, drop their messages once the broker has them; return how many."""
        desk = self._desk
        if not dues or desk.broker.unacknowledged():
            return 0
        deliveries = self._messages(dues)
        letters = [Encoded(d.message.id, d.message.queue, d.body) for d in deliveries]
        publication = desk.broker.publish_dead(letters, timestamp_ms=now_ms)
        positions = publication.wait(ACK_SECONDS)
        refused = publication.errors
        for index, reason in refused.items():
            log.error("no dead letter for task %s, only its record tells of it: %s", letters[index].id, reason)
        buried = [letter.id for index, letter in enumerate(letters) if positions[index] is not None or index in refused]
        without = {due.id for due in dues} - {letter.id for letter in letters}
        desk.backend.buried([*buried, *without])
        return len(buried) + len(without)

    def _messages(self, dues: Sequence[Due]) -> list[Delivery]:
        """Return the messages of these, those that came with the sweep and those still to be read."""
        missing = [due.id for due in dues if due.delivery is None]
        read = dict(zip(missing, self._desk.backend.messages(missing), strict=True)) if missing else {}
        found = [due.delivery or read.get(due.id) for due in dues]
        return [delivery for delivery in found if delivery is not None]

    # What cannot be read

    def _bury_unreadable(self) -> None:
        """Send what is no message to the dead letters; its offset is done once they have it."""
        desk = self._desk
        with desk.lock:
            unreadable, desk.unreadable = desk.unreadable, []
        if not unreadable:
            return
        left = unreadable
        try:
            if not desk.broker.unacknowledged():  # an outage must not multiply messages
                left = self._buried(unreadable)
        except BrokerUnavailable as error:
            desk.health.broker_failed(error)
        except YadtqError as error:
            desk.health.backend_failed(error)
        with desk.lock:
            desk.unreadable = left + desk.unreadable

    def _buried(self, unreadable: Sequence[Unreadable]) -> list[Unreadable]:
        """Publish each where it belongs; return those that the broker has not acknowledged.

        One of a newer format with a record is kept by that; without one it goes to the end of its queue again, for a
        worker that can read it. Where the broker gives what is not settled to others by itself, it is left to that.
        """
        desk = self._desk
        orphans = self._orphans(unreadable)
        if not desk.broker.replayable:
            unreadable = [entry for entry in unreadable if _place(entry) not in orphans]
            orphans = {}
        now = time.monotonic()
        left = [entry for entry in unreadable if orphans.get(_place(entry), 0.0) > now]
        rested = [entry for entry in unreadable if 0.0 < orphans.get(_place(entry), 0.0) <= now]
        dead = [entry for entry in unreadable if entry.task_id is None]
        if rested or dead:
            now_ms = desk.backend.time_ms()
            left += self._acknowledged(rested, desk.broker.publish(_letters(rested), timestamp_ms=now_ms))
            left += self._acknowledged(dead, desk.broker.publish_dead(_letters(dead), timestamp_ms=now_ms))
        kept = {_place(entry) for entry in left}
        self._resting = {place: until for place, until in orphans.items() if place in kept}
        for entry in unreadable:
            if _place(entry) not in kept:
                self._put_away(entry)
        return left

    def _orphans(self, unreadable: Sequence[Unreadable]) -> dict[_Place, float]:
        """Return where messages of a newer format stand that have no record, and until when each rests.

        Without a rest a queue of nothing else would go round and round.
        """
        known = self._resting
        newer = [entry for entry in unreadable if entry.task_id is not None and _place(entry) not in known]
        records = self._desk.backend.get([entry.task_id or "" for entry in newer]) if newer else []
        until = time.monotonic() + NEWER_SECONDS
        return known | {_place(entry): until for entry, record in zip(newer, records, strict=True) if record is None}

    def _acknowledged(self, entries: Sequence[Unreadable], publication: Publication) -> list[Unreadable]:
        """Return the entries that the broker has not taken; those that it never will are only logged."""
        positions = publication.wait(ACK_SECONDS)
        refused = publication.errors
        for index, reason in refused.items():
            log.error("no dead letter for offset %d: %s", entries[index].offset, reason)
        return [entry for index, entry in enumerate(entries) if positions[index] is None and index not in refused]

    def _put_away(self, entry: Unreadable) -> None:
        queue, number = entry.partition
        log.error("unreadable message at %s/%d offset %d (%s)", queue, number, entry.offset, entry.reason)
        with self._desk.lock:
            self._desk.intake.done(entry.partition, entry.offset)


def _place(entry: Unreadable) -> _Place:
    return entry.partition, entry.offset


def _letters(entries: Sequence[Unreadable]) -> list[Encoded]:
    return [
        Encoded(entry.task_id or f"{entry.partition.number}:{entry.offset}", entry.partition.queue, entry.body)
        for entry in entries
    ]
