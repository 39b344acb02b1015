"""The other workers, as their last heartbeats tell of them: who has a slot free, and for which tasks."""

from __future__ import annotations

import time
from collections.abc import Sequence

from yadtq_core.errors import YadtqError
from yadtq_core.interfaces import Backend
from yadtq_core.model import WorkerIdentity, WorkerRow


class Others:
    """The workers that are online besides this one; asked for anew when the last answer is older than `fresh` seconds.

    A hint only: they may be busy, or gone, by the time it is used.
    """

    def __init__(self, backend: Backend, identity: WorkerIdentity, fresh: float) -> None:
        self._backend = backend
        self._identity = identity
        self._fresh = fresh
        self._rows: Sequence[WorkerRow] = ()
        self._stale_at = 0.0

    def can_run(self, queue: str, task: str) -> bool:
        """Return whether one of them has this task, serves its queue and has a slot free."""
        return any(row.stats.free and task in row.stats.tasks and queue in row.stats.queues for row in self._online())

    def _online(self) -> Sequence[WorkerRow]:
        now = time.monotonic()
        if now >= self._stale_at:
            self._stale_at = now + self._fresh
            try:
                mine = self._identity.incarnation
                self._rows = [r for r in self._backend.workers() if r.online and r.identity.incarnation != mine]
            except YadtqError:
                self._rows = ()  # whoever needs the backend next says that it is away
        return self._rows
