"""Publishes the messages of due tasks: again to their queues, or as dead letters."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from yadtq_core.interfaces import Backend, Broker
from yadtq_core.model import Delivery, Due, Outgoing
from yadtq_core.wire.envelope import delivery_of
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.peers import Peers

log = logging.getLogger("yadtq.worker")

ACK_SECONDS = 5.0


@dataclass(eq=False)
class Republisher:
    """Used by the sweeper thread alone. Its methods raise what broker and backend raise.

    It publishes nothing while the broker has unacknowledged messages, or an outage would multiply them.
    """

    broker: Broker
    backend: Backend
    executor: Executor
    peers: Peers

    def publish(self, dues: Sequence[Due], now_ms: int) -> int:
        """Publish the messages that no consumer will be given any more, and confirm the positions of the others.

        Return how many were published.
        """
        if not dues or self.broker.unacknowledged():
            return 0
        placed = [due for due in dues if due.position]
        gone = self.broker.undeliverable([(due.queue, due.position) for due in placed]) if placed else []
        self.backend.confirm([(due.id, due.position) for due, lost in zip(placed, gone, strict=True) if not lost])
        again = self._not_for_a_peer([due for due, lost in zip(placed, gone, strict=True) if lost])
        again += [due for due in dues if not due.position]
        letters = [Outgoing(d.message.id, d.message.queue, d.body) for d in self._deliveries(again)]
        if not letters:
            return 0
        positions = self.broker.publish(letters, timestamp_ms=now_ms).wait(ACK_SECONDS)
        confirmed = [(letter.id, p) for letter, p in zip(letters, positions, strict=True) if p is not None]
        self.backend.confirm(confirmed)
        log.info("published again: %d message(s) that no worker would have received", len(confirmed))
        return len(confirmed)

    def _not_for_a_peer(self, dues: Sequence[Due]) -> list[Due]:
        """Send requeue requests for tasks that only a peer with a free slot has loaded; return the other tasks.

        The next sweep of that peer takes them. Published again, a message would reach any worker, mostly one that has
        not loaded the task.
        """
        loaded = self.executor.tasks
        unknown = [due for due in dues if due.task not in loaded and self.peers.can_run(due.queue, due.task)]
        if unknown:
            self.backend.offer(self._deliveries(unknown))
        offered = {due.id for due in unknown}
        return [due for due in dues if due.id not in offered]

    def dead_letter(self, dues: Sequence[Due], now_ms: int) -> int:
        """Publish the dead letters of failed tasks and drop the messages that the broker has acknowledged.

        A dead letter is published as it is, also if its format version is newer than this worker reads. Return how
        many tasks need no dead letter any more.
        """
        if not dues or self.broker.unacknowledged():
            return 0
        letters = [Outgoing(due.id, due.queue, body) for due, body in self._bodies(dues)]
        publication = self.broker.publish_dead(letters, timestamp_ms=now_ms)
        positions = publication.wait(ACK_SECONDS)
        refused = publication.errors
        for index, reason in refused.items():
            log.error("task %s failed and has no dead letter, only its record: %s", letters[index].id, reason)
        buried = [letter.id for index, letter in enumerate(letters) if positions[index] is not None or index in refused]
        without = {due.id for due in dues} - {letter.id for letter in letters}
        self.backend.buried([*buried, *without])
        return len(buried) + len(without)

    def _deliveries(self, dues: Sequence[Due]) -> list[Delivery]:
        """Return the messages of these tasks without those that this worker cannot read."""
        found = [due.delivery or delivery_of(body, 0) for due, body in self._bodies(dues)]
        return [delivery for delivery in found if delivery is not None]

    def _bodies(self, dues: Sequence[Due]) -> list[tuple[Due, bytes]]:
        """Return the tasks that have a message, with its body; reads those that the sweep did not return."""
        missing = [due.id for due in dues if due.delivery is None]
        read = dict(zip(missing, self.backend.messages(missing), strict=True)) if missing else {}
        found = [(due, due.delivery.body if due.delivery else read[due.id]) for due in dues]
        return [(due, body) for due, body in found if body is not None]
