"""Publishes the dead letters of failed tasks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from yadtq_core.interfaces import Backend, Broker
from yadtq_core.model import Due, Outgoing

log = logging.getLogger("yadtq.worker")

ACK_SECONDS = 5.0
PIECE = 20
"""Dead letters published together: their bodies have at most 256 KiB of arguments each."""


@dataclass(eq=False)
class DeadLetters:
    """Used by the sweeper thread alone."""

    broker: Broker
    backend: Backend

    def publish(self, failed: Sequence[Due], now_ms: int) -> None:
        """Publish the dead letters of these tasks, and drop the messages that the broker has acknowledged.

        A dead letter is published as it is, also if its format version is newer than this worker reads. Nothing is
        published while the broker has unacknowledged messages, or an outage would multiply them. Raises what broker
        and backend raise.
        """
        for start in range(0, len(failed), PIECE):
            if self.broker.unacknowledged():
                return
            self._publish(failed[start : start + PIECE], now_ms)

    def _publish(self, failed: Sequence[Due], now_ms: int) -> None:
        bodies = self.backend.messages([due.id for due in failed])
        letters = [
            Outgoing(due.id, due.queue, body) for due, body in zip(failed, bodies, strict=True) if body is not None
        ]
        publication = self.broker.publish_dead(letters, timestamp_ms=now_ms)
        positions = publication.wait(ACK_SECONDS)
        refused = publication.errors
        for index, reason in refused.items():
            log.error("task %s failed and has no dead letter, only its record: %s", letters[index].id, reason)
        buried = [letter.id for index, letter in enumerate(letters) if positions[index] is not None or index in refused]
        without = {due.id for due in failed} - {letter.id for letter in letters}
        self.backend.buried([*buried, *without])
