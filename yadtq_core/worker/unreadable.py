"""Unreadable messages: intake polls them; the sweeper dead-letters them.

Those of a newer format return to their queue for a newer worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from yadtq_core.interfaces import Backend, Broker, Publication
from yadtq_core.model import Outgoing, Partition, Unreadable
from yadtq_core.worker.shared import GuardedIntake

log = logging.getLogger("yadtq.worker")

_Place = tuple[Partition, int]

UNREADABLE_BYTES = 16 * 1024 * 1024
"""How much may wait. During an outage of the broker the sweeper sends nothing, and the memory must not fill up."""
ACK_SECONDS = 5.0
NEWER_SECONDS = 5.0
"""How long a message of a newer format without a record waits before it is published to its queue again."""


@dataclass(eq=False)
class UnreadableMessages:
    """The messages that could not be decoded and wait to be sent. The intake thread adds; the sweeper sends."""

    broker: Broker
    backend: Backend
    intake: GuardedIntake
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _waiting: list[Unreadable] = field(default_factory=list, init=False)
    _resting: dict[_Place, float] = field(default_factory=dict, init=False)
    """Until when each message of a newer format without a record waits."""

    def add(self, messages: Iterable[Unreadable]) -> None:
        """Add messages that intake polled."""
        with self._lock:
            self._waiting += messages

    def full(self) -> bool:
        """True when unreadable messages exceed UNREADABLE_BYTES and polling must stop."""
        with self._lock:
            return sum(len(entry.body) for entry in self._waiting) > UNREADABLE_BYTES

    def send(self) -> None:
        """Send all that waits; their offsets are done when the broker has acknowledged them.

        A message that could not be sent waits for the next call. Raises what broker and backend raise.
        """
        with self._lock:
            left, self._waiting = self._waiting, []
        try:
            if left and not self.broker.unacknowledged():  # or an outage would multiply messages
                left = self._sent(left)
        finally:
            with self._lock:
                self._waiting = left + self._waiting

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
        refused: dict[_Place, str] = {}
        left = [entry for entry in unreadable if orphans.get(_place(entry), 0.0) > now]
        rested = [entry for entry in unreadable if 0.0 < orphans.get(_place(entry), 0.0) <= now]
        dead = [entry for entry in unreadable if entry.task_id is None]
        if rested or dead:
            now_ms = self.backend.time_ms()
            left += _unacknowledged(rested, self.broker.publish(_letters(rested), timestamp_ms=now_ms), refused)
            left += _unacknowledged(dead, self.broker.publish_dead(_letters(dead), timestamp_ms=now_ms), refused)
        kept = {_place(entry) for entry in left}
        self._resting = {place: until for place, until in orphans.items() if place in kept}
        for entry in unreadable:
            if _place(entry) not in kept:
                self._done(entry, refused.get(_place(entry)))
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

    def _done(self, entry: Unreadable, refusal: str | None) -> None:
        _log_done(entry, refusal)
        with self.intake as intake:
            intake.done(entry.partition, entry.offset)


def _unacknowledged(
    entries: Sequence[Unreadable], publication: Publication, refused: dict[_Place, str]
) -> list[Unreadable]:
    """Return the entries to send again; add to `refused` those that the broker refuses, because it always will."""
    positions = publication.wait(ACK_SECONDS)
    errors = publication.errors
    refused |= {_place(entries[index]): reason for index, reason in errors.items()}
    return [entry for index, entry in enumerate(entries) if positions[index] is None and index not in errors]


def _log_done(entry: Unreadable, refusal: str | None) -> None:
    place, reason = _named(entry), entry.reason
    if refusal is not None:
        log.error("unreadable message at %s (%s): dropped, because the broker refuses it: %s", place, reason, refusal)
    elif entry.task_id is None:
        log.error("unreadable message at %s (%s): dead-lettered", place, reason)
    else:
        log.warning("unreadable message at %s (%s): left to a newer worker", place, reason)


def _place(entry: Unreadable) -> _Place:
    return entry.partition, entry.offset


def _named(entry: Unreadable) -> str:
    return f"{entry.partition.queue}/{entry.partition.number} offset {entry.offset}"


def _letters(entries: Sequence[Unreadable]) -> list[Outgoing]:
    return [
        Outgoing(entry.task_id or f"{entry.partition.number}:{entry.offset}", entry.partition.queue, entry.body)
        for entry in entries
    ]
