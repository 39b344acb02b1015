"""Tells plugins what a worker did, in batches, in a thread of its own: a slow listener costs no lease and no claim.

Each event is one pluggy call for all that came together. What nobody listens to is not even queued.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from yadtq_core.model import Due, Lease, Outcome, WorkerIdentity, WorkerStats
from yadtq_core.plugin.loading import Plugins

log = logging.getLogger("yadtq.worker")

MAX_WAITING = 1000
"""Batches that wait for slow listeners; past it the oldest are dropped: events are news, records are the truth."""
CLOSE_SECONDS = 5.0


class Events:
    """The listeners of one worker. Safe for use by several threads; nothing here waits or raises but `close`."""

    def __init__(self, plugins: Plugins, worker: WorkerIdentity) -> None:
        self._tell = plugins.manager.tell
        self._worker = worker
        self._waiting: deque[Callable[[], None]] = deque(maxlen=MAX_WAITING)
        self._news = threading.Event()
        self._closing = False
        self._dropped = 0
        self._thread: threading.Thread | None = None
        heard = plugins.manager.heard
        self._started = heard("yadtq_tasks_started")
        self._finished = heard("yadtq_tasks_finished")
        self._reclaimed = heard("yadtq_tasks_reclaimed")
        self._heartbeat = heard("yadtq_heartbeat")
        self._stopping = heard("yadtq_worker_stopping")

    @property
    def dropped(self) -> int:
        """How many batches were dropped because listeners were too slow."""
        return self._dropped

    def worker_started(self) -> None:
        """The worker is about to begin: the first that listeners are told. Returns at once, however slow they are."""
        first = partial(self._tell, "yadtq_worker_started", worker=self._worker)
        self._waiting.appendleft(first)  # before the first heartbeat, which has been answered by now
        self._news.set()
        self._thread = threading.Thread(target=self._run, name="yadtq-listeners", daemon=True)
        self._thread.start()

    def started(self, leases: Sequence[Lease]) -> None:
        """These were given to the children."""
        if self._started and leases:
            self._put("yadtq_tasks_started", leases=tuple(leases))  # what plugins are given is nobody else's

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        """These ended, and their records say so."""
        if self._finished and outcomes:
            self._put("yadtq_tasks_finished", outcomes=tuple(outcomes))

    def reclaimed(self, records: Sequence[Due]) -> None:
        """A sweep took these back from lost workers."""
        if self._reclaimed and records:
            self._put("yadtq_tasks_reclaimed", records=tuple(records))

    def heartbeat(self, stats: WorkerStats) -> None:
        """A heartbeat was answered."""
        if self._heartbeat:
            self._put("yadtq_heartbeat", stats=stats)

    def worker_stopping(self) -> None:
        """The worker was told to stop."""
        if self._stopping:
            self._put("yadtq_worker_stopping")

    def close(self, stats: WorkerStats) -> None:
        """Tell what waits, then that the worker has stopped; wait for slow listeners for CLOSE_SECONDS at most."""
        self._put("yadtq_worker_stopped", stats=stats)
        self._closing = True
        self._news.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
            if self._thread.is_alive():
                log.warning("a plugin's listener is still busy; the worker ends without it")

    def _put(self, hook: str, **arguments: Any) -> None:
        if len(self._waiting) == MAX_WAITING:
            self._dropped += 1
            if str(self._dropped).strip("0") == "1":
                log.error("plugins listen too slowly: %d batch(es) of events dropped so far", self._dropped)
        self._waiting.append(partial(self._tell, hook, worker=self._worker, **arguments))
        self._news.set()

    def tell_waiting(self) -> None:
        """Tell the listeners all that waits."""
        while self._waiting:
            self._waiting.popleft()()

    def _run(self) -> None:
        while not (self._closing and not self._waiting):
            self._news.wait()
            self._news.clear()
            self.tell_waiting()
            if self._closing:
                self._news.set()
