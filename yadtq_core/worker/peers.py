"""The other workers, as their last heartbeats describe them: their tasks, their queues and their free slots."""

from __future__ import annotations

import time
from collections.abc import Sequence

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import WorkerIdentity, WorkerRow


class Peers:
    """The workers that are online, without this one. A hint only: they may be saturated or gone a moment later.

    fresh: seconds for which `can_run` uses an answer of the backend again.
    """

    def __init__(self, backend: Backend, identity: WorkerIdentity, fresh: float) -> None:
        self._backend = backend
        self._identity = identity
        self._fresh = fresh
        self._rows: Sequence[WorkerRow] = ()
        self._stale_at = 0.0

    def can_run(self, queue: str, task: str) -> bool:
        """True when a peer has loaded this task, serves its queue and has a free slot."""
        return any(row.stats.free and task in row.stats.tasks and queue in row.stats.queues for row in self._recent())

    def free_slots(self) -> int:
        """Return how many slots the peers have free now; asks the backend, and raises YadtqError as it does."""
        return sum(row.stats.free for row in self._online())

    def _recent(self) -> Sequence[WorkerRow]:
        now = time.monotonic()
        if now >= self._stale_at:
            self._stale_at = now + self._fresh
            try:
                self._rows = self._online()
            except YadtqError:
                self._rows = ()  # the next call of the backend logs the outage
        return self._rows

    def _online(self) -> Sequence[WorkerRow]:
        own = self._identity.incarnation
        return [row for row in self._backend.workers() if row.online and row.identity.incarnation != own]
