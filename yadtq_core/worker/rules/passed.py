"""The parts of the log that this worker has passed: a record that still waits there has lost its message.

A record waits at an offset until a claim takes it. Below the lowest offset that the owner of the partition holds
unclaimed, every message has been claimed or settled: a record that waits there will not meet its message any more. At
or past the end of the log there is no message. The backend finds such records by one range of an index, and they become
ready. A false alarm is harmless: the message, if it comes, finds its record claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from yadtq_core.model import Partition

AGAIN_SECONDS = 30.0
"""A partition whose messages were passed is asked about again after this time."""
ENDS_SECONDS = 10.0
"""The ends of the logs are looked at again after this time: a topic that was recreated shows nothing else at first."""
LAST_OFFSET = 2**38
"""Offsets are below this in the index of waiting records."""


class Range(NamedTuple):
    """Offsets of one partition, `below` not included."""

    partition: int
    first: int
    below: int


class Passed:
    """What was asked about each partition."""

    def __init__(self) -> None:
        self._asked: dict[Partition, tuple[int, float]] = {}
        self._ends_at: dict[Partition, float] = {}

    def ranges(self, lows: Mapping[Partition, int], now: float) -> dict[str, list[Range]]:
        """Return the ranges to ask about, by queue.

        lows: the lowest offset of each partition that may still be claimed here. A partition is asked about when its
        offset has moved, and again after AGAIN_SECONDS.
        """
        found: dict[str, list[Range]] = {}
        self._asked = {partition: asked for partition, asked in self._asked.items() if partition in lows}
        for partition, low in lows.items():
            before, at = self._asked.get(partition, (0, now - AGAIN_SECONDS))
            if low and (low != before or now - at >= AGAIN_SECONDS):
                self._asked[partition] = (low, now)
                found.setdefault(partition.queue, []).append(Range(partition.number, 0, low))
        return found

    def ask_again(self, queue: str) -> None:
        """Ask about the partitions of this queue and their ends at the next look, although it is not time."""
        self._asked = {partition: asked for partition, asked in self._asked.items() if partition.queue != queue}
        self._ends_at = {partition: at for partition, at in self._ends_at.items() if partition.queue != queue}

    def ends_due(self, partitions: Iterable[Partition], now: float) -> list[Partition]:
        """Return the partitions whose ends must be looked at now: after they were gained, and every ENDS_SECONDS."""
        assigned = list(partitions)
        self._ends_at = {partition: self._ends_at[partition] for partition in assigned if partition in self._ends_at}
        due = [partition for partition in assigned if now >= self._ends_at.get(partition, 0.0)]
        self._ends_at |= dict.fromkeys(due, now + ENDS_SECONDS)
        return due


def lost_at_end(highest: Mapping[int, int], ends: Mapping[int, int]) -> list[Range]:
    """Return the ranges at or past the ends of the logs in which records wait.

    highest: the highest offset at which a record waits in each partition, read before `ends`: so a log that grows
    meanwhile gives no false answer.
    """
    return [
        Range(number, ends[number], offset + 1)
        for number, offset in highest.items()
        if number in ends and offset >= ends[number]
    ]
