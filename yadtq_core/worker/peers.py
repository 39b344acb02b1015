"""The other workers, as their last heartbeats describe them: their tasks, their queues and their free slots."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import WorkerIdentity, WorkerRow


class Peers:
    """The workers that are online, without this one. A hint only: they may be saturated or gone a moment later.

    fresh: seconds for which an answer of the backend is used again.
    """

    def __init__(self, backend: Backend, identity: WorkerIdentity, fresh: float) -> None:
        self._backend = backend
        self._identity = identity
        self._fresh = fresh
        self._rows: Sequence[WorkerRow] = ()
        self._stale_at = 0.0

    def has_loaded(self, queue: str, task: str) -> bool:
        """True when a peer serves this queue and has loaded this task."""
        return any(task in row.stats.tasks and queue in row.stats.queues for row in self.recent())

    def elsewhere(self, own: Collection[str]) -> set[str]:
        """Return the names of tasks that peers have loaded and that are not among `own`."""
        return {task for row in self.recent() for task in row.stats.tasks if task not in own}

    def recent(self) -> Sequence[WorkerRow]:
        """Return the peers as of at most `fresh` seconds ago; none if the backend did not answer."""
        now = time.monotonic()
        if now >= self._stale_at:
            self._stale_at = now + self._fresh
            try:
                self._rows = self.online()
            except YadtqError:
                self._rows = ()  # the next call of the backend logs the outage
        return self._rows

    def online(self) -> Sequence[WorkerRow]:
        """Return the peers that are online now; asks the backend, and raises YadtqError as it does."""
        own = self._identity.incarnation
        return [row for row in self._backend.workers() if row.online and row.identity.incarnation != own]
