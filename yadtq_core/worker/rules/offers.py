"""Requeue requests of a saturated worker: which waiting deliveries its peers could run, and how many to offer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from yadtq_core.model import WorkerRow
from yadtq_core.worker.rules.lanes import Waiting

MAX_OFFERS = 200
OFFER_GROWTH = 4
"""The factor by which offers grow after peers took all of a round: they have short tasks, many a second for a slot."""


class FreePeers:
    """The peers with free slots, as their last heartbeats say."""

    def __init__(self, rows: Iterable[WorkerRow]) -> None:
        self._rows = [row.stats for row in rows if row.stats.free]

    def can_run(self, queue: str, task: str) -> bool:
        """True when one of them serves this queue and has loaded this task."""
        return any(queue in row.queues and task in row.tasks for row in self._rows)

    def slots(self, names: Set[tuple[str, str]]) -> int:
        """Return how many slots are free in peers that can run at least one of these (queue, task)."""
        return sum(row.free for row in self._rows if any(q in row.queues and t in row.tasks for q, t in names))


class Offers:
    """The rounds of requests."""

    def __init__(self) -> None:
        self._fresh = 0
        """How many new deliveries the next round holds."""

    def batch(self, waiting: Iterable[Waiting], running: Set[str], peers: FreePeers) -> list[Waiting]:
        """Return up to MAX_OFFERS deliveries to offer, the longest-waiting first; only those that a free peer can run.

        A round contains new deliveries, one for each slot that such peers have free. While peers take all that was
        offered, each round contains OFFER_GROWTH times as many new ones as the round before. It also contains the
        deliveries before them that were offered and still wait: the answer shows whether a peer took them.
        """
        entries = [entry for entry in waiting if entry.delivery.message.id not in running]
        names = {(entry.delivery.message.queue, entry.delivery.message.task) for entry in entries}
        able = {name for name in names if peers.can_run(*name)}
        self._fresh = min(max(self._fresh, peers.slots(able)), MAX_OFFERS) if able else 0
        batch: dict[str, Waiting] = {}
        fresh = 0
        for entry in entries:
            if len(batch) == MAX_OFFERS or fresh == self._fresh:
                break
            message = entry.delivery.message
            if message.id not in batch and (message.queue, message.task) in able:
                batch[message.id] = entry
                fresh += not entry.offered
        return list(batch.values())

    def answered(self, untaken: Sequence[Waiting]) -> None:
        """Note the deliveries of the last round that were offered before it and that no peer has taken."""
        self._fresh = 0 if untaken else self._fresh * OFFER_GROWTH
