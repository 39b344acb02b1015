"""Finds the records whose messages this worker will not receive any more, and makes them ready."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from yadtq_core.interfaces import Backend, ReplayableConsumer
from yadtq_core.model import Epoch, Partition
from yadtq_core.worker.rules.passed import Passed, Range, lost_at_end
from yadtq_core.worker.shared import GuardedIntake

log = logging.getLogger("yadtq.worker")

ASKED_AT_ONCE = 20
"""Calls in a row: the intake thread must go back to its other work."""


@dataclass(eq=False)
class MissedMessages:
    """Used by the intake thread alone, which owns the positions in the log."""

    backend: Backend
    intake: GuardedIntake
    _passed: Passed = field(default_factory=Passed, init=False)

    def restarted(self, queue: str) -> None:
        """Note that a log of this queue has restarted: the messages of its other partitions may be gone too."""
        self._passed.ask_again(queue)

    def look(self, consumer: ReplayableConsumer) -> None:
        """Ask the backend about the parts of the log that were passed, and about what waits past the ends of the logs.

        Partitions that must be rewound are left out. Raises what broker and backend raise.
        """
        now = time.monotonic()
        with self.intake as intake:
            lows, epochs = intake.lows(), intake.epochs
        for queue, ranges in self._passed.ranges(lows, now).items():
            self._recover(queue, ranges, epochs, "were passed in the log")
        by_queue: dict[str, list[int]] = {}
        for partition in self._passed.ends_due(lows, now):
            by_queue.setdefault(partition.queue, []).append(partition.number)
        for queue, numbers in by_queue.items():
            highest = self.backend.highest(queue, numbers)
            if not highest:
                continue
            ends = consumer.ends([Partition(queue, number) for number in highest])
            lost = lost_at_end(highest, {partition.number: end for partition, end in ends.items()})
            if lost:
                self._recover(queue, lost, epochs, "are past the end of the log")

    def _recover(self, queue: str, ranges: Sequence[Range], epochs: Sequence[Epoch], where: str) -> None:
        """Ask until an answer is empty: one answer is bounded. After ASKED_AT_ONCE answers the next look goes on."""
        count = 0
        for _ in range(ASKED_AT_ONCE):
            found = self.backend.recover(queue, ranges, epochs)
            count += found
            if not found:
                break
        else:
            self._passed.ask_again(queue)
        if count:
            log.warning(
                "queue %s: the messages of %d waiting tasks %s: they run from their records", queue, count, where
            )
