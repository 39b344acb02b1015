"""The other workers, as their last heartbeats describe them: their tasks, their queues and their free slots."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import WorkerIdentity, WorkerRow

FRESH_SECONDS = 1.0
"""For this long an answer of the backend is used again."""
ROW_SECONDS = 0.05
"""An answer with many rows is used for this long a row: no worker reads more than 20 rows a second, so that the cost
of one worker does not grow with their number."""


class Peers:
    """The workers that are online, without this one. A hint only: they may be saturated or gone a moment later."""

    def __init__(self, backend: Backend, identity: WorkerIdentity) -> None:
        self._backend = backend
        self._identity = identity
        self._rows: Sequence[WorkerRow] = ()
        self._stale_at = 0.0

    def has_loaded(self, queue: str, task: str) -> bool:
        """True when a peer serves this queue and has loaded this task."""
        return any(task in row.stats.tasks and queue in row.stats.queues for row in self._known())

    def elsewhere(self, queue: str, own: Collection[str]) -> frozenset[str]:
        """Return the names of tasks that peers of this queue have loaded and that are not among `own`."""
        rows = [row.stats for row in self._known() if queue in row.stats.queues]
        return frozenset(task for row in rows for task in row.tasks if task not in own)

    def _known(self) -> Sequence[WorkerRow]:
        try:
            return self.online()
        except YadtqError:
            return ()  # the next call of the backend logs the outage

    def online(self) -> Sequence[WorkerRow]:
        """Return the peers that were online a moment ago; raises YadtqError as the backend does."""
        now = time.monotonic()
        if now >= self._stale_at:
            self._stale_at = now + FRESH_SECONDS  # the other threads use the last answer meanwhile
            try:
                rows = self._backend.workers(online=True)
            except YadtqError:
                self._rows = ()
                raise
            own = self._identity.incarnation
            self._rows = [row for row in rows if row.identity.incarnation != own]
            self._stale_at = now + max(FRESH_SECONDS, ROW_SECONDS * len(rows))
        return self._rows
