"""Dead-letters unreadable messages, and returns those of a newer format to their queue for a newer worker."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from yadtq_core.interfaces import Backend, Broker, Publication
from yadtq_core.model import Outgoing, Partition, Unreadable
from yadtq_core.worker.guarded_intake import GuardedIntake
from yadtq_core.worker.unreadable import UnreadableQueue

log = logging.getLogger("yadtq.worker")

_Place = tuple[Partition, int]

ACK_SECONDS = 5.0
NEWER_SECONDS = 5.0
"""How long a message of a newer format without a record waits before it is published to its queue again."""


@dataclass(kw_only=True, eq=False)
class UnreadableSender:
    """Used by the sweeper thread alone."""

    queue: UnreadableQueue
    broker: Broker
    backend: Backend
    intake: GuardedIntake
    _resting: dict[_Place, float] = field(default_factory=dict, init=False)
    """Until when each message of a newer format without a record waits."""

    def send(self) -> None:
        """Send all that waits; their offsets are done when the broker has acknowledged them.

        A message that could not be sent waits for the next call. Raises what broker and backend raise.
        """
        unreadable = self.queue.take()
        if not unreadable:
            return
        left = unreadable
        try:
            if not self.broker.unacknowledged():  # or an outage would multiply messages
                left = self._sent(unreadable)
        finally:
            self.queue.put_back(left)

    def _sent(self, unreadable: Sequence[Unreadable]) -> list[Unreadable]:
        """Publish each to the topic where it belongs; return those that the broker has not acknowledged.

        A message of a newer format with a record needs no copy: a sweep of a newer worker finds the record. One
        without a record is published to the end of its queue. A broker that is not replayable redelivers it without
        help, because it is not settled.
        """
        orphans = self._orphans(unreadable)
        if not self.broker.replayable:
            unreadable = [entry for entry in unreadable if _place(entry) not in orphans]
            orphans = {}
        now = time.monotonic()
        left = [entry for entry in unreadable if orphans.get(_place(entry), 0.0) > now]
        rested = [entry for entry in unreadable if 0.0 < orphans.get(_place(entry), 0.0) <= now]
        dead = [entry for entry in unreadable if entry.task_id is None]
        if rested or dead:
            now_ms = self.backend.time_ms()
            left += self._unacknowledged(rested, self.broker.publish(_letters(rested), timestamp_ms=now_ms))
            left += self._unacknowledged(dead, self.broker.publish_dead(_letters(dead), timestamp_ms=now_ms))
        kept = {_place(entry) for entry in left}
        self._resting = {place: until for place, until in orphans.items() if place in kept}
        for entry in unreadable:
            if _place(entry) not in kept:
                self._done(entry)
        return left

    def _orphans(self, unreadable: Sequence[Unreadable]) -> dict[_Place, float]:
        """Return the messages of a newer format that have no record, and until when each waits.

        Without the wait, a queue that holds nothing else would be read and published without end.
        """
        known = self._resting
        newer = [entry for entry in unreadable if entry.task_id is not None and _place(entry) not in known]
        records = self.backend.get([entry.task_id or "" for entry in newer]) if newer else []
        until = time.monotonic() + NEWER_SECONDS
        return known | {_place(entry): until for entry, record in zip(newer, records, strict=True) if record is None}

    def _unacknowledged(self, entries: Sequence[Unreadable], publication: Publication) -> list[Unreadable]:
        """Return the entries to send again; log those that the broker refuses, because it always will."""
        positions = publication.wait(ACK_SECONDS)
        refused = publication.errors
        for index, reason in refused.items():
            log.error("no dead letter for the message at %s: %s", _named(entries[index]), reason)
        return [entry for index, entry in enumerate(entries) if positions[index] is None and index not in refused]

    def _done(self, entry: Unreadable) -> None:
        log.error("unreadable message at %s (%s): dead-lettered or left to a newer worker", _named(entry), entry.reason)
        with self.intake as intake:
            intake.done(entry.partition, entry.offset)


def _place(entry: Unreadable) -> _Place:
    return entry.partition, entry.offset


def _named(entry: Unreadable) -> str:
    return f"{entry.partition.queue}/{entry.partition.number} offset {entry.offset}"


def _letters(entries: Sequence[Unreadable]) -> list[Outgoing]:
    return [
        Outgoing(entry.task_id or f"{entry.partition.number}:{entry.offset}", entry.partition.queue, entry.body)
        for entry in entries
    ]
