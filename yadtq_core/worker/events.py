"""Calls the event hooks of plugins in a separate thread: a slow plugin delays no claim and no lease.

Each call of a hook gets a batch. An event without a listener is not queued.
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
"""Batches that wait for slow listeners. The oldest are dropped beyond it: the records are complete without events."""
CLOSE_SECONDS = 5.0


class Events:
    """The queue of events of one worker. Safe for use by several threads. Only `close` waits; no method raises."""

    def __init__(self, plugins: Plugins, worker: WorkerIdentity) -> None:
        self._notify = plugins.manager.notify
        self._worker = worker
        self._waiting: deque[Callable[[], None]] = deque(maxlen=MAX_WAITING)
        self._news = threading.Event()
        self._closing = False
        self.dropped = 0
        """How many batches were dropped because listeners were too slow."""
        self._thread: threading.Thread | None = None
        implemented = plugins.manager.implemented
        self._started = implemented("yadtq_tasks_started")
        self._finished = implemented("yadtq_tasks_finished")
        self._reclaimed = implemented("yadtq_tasks_reclaimed")
        self._heartbeat = implemented("yadtq_heartbeat")
        self._stopping = implemented("yadtq_worker_stopping")

    def worker_started(self) -> None:
        """Start the thread; its first event is the start of the worker."""
        first = partial(self._notify, "yadtq_worker_started", worker=self._worker)
        self._waiting.appendleft(first)  # before the first heartbeat, which is queued already
        self._news.set()
        self._thread = threading.Thread(target=self._run, name="yadtq-listeners", daemon=True)
        self._thread.start()

    def started(self, leases: Sequence[Lease]) -> None:
        """Queue an event: these leases go to the children."""
        if self._started and leases:
            self._put("yadtq_tasks_started", leases=tuple(leases))  # a copy: plugins may keep it

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        """Queue an event: these outcomes are written."""
        if self._finished and outcomes:
            self._put("yadtq_tasks_finished", outcomes=tuple(outcomes))

    def reclaimed(self, records: Sequence[Due]) -> None:
        """Queue an event: a sweep has taken these records from lost workers."""
        if self._reclaimed and records:
            self._put("yadtq_tasks_reclaimed", records=tuple(records))

    def heartbeat(self, stats: WorkerStats) -> None:
        """Queue an event: a heartbeat was answered."""
        if self._heartbeat:
            self._put("yadtq_heartbeat", stats=stats)

    def worker_stopping(self) -> None:
        """Queue an event: the worker begins to stop."""
        if self._stopping:
            self._put("yadtq_worker_stopping")

    def close(self, stats: WorkerStats) -> None:
        """Queue the last event, the end of the worker; wait for the listeners, CLOSE_SECONDS at most."""
        self._put("yadtq_worker_stopped", stats=stats)
        self._closing = True
        self._news.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
            if self._thread.is_alive():
                log.warning("a plugin's listener is still busy after %g s: the worker ends without it", CLOSE_SECONDS)

    def _put(self, hook: str, **arguments: Any) -> None:
        if len(self._waiting) == MAX_WAITING:
            self.dropped += 1
            if str(self.dropped).strip("0") == "1":
                log.error("event hooks of plugins are too slow: %d batch(es) of events were dropped", self.dropped)
        self._waiting.append(partial(self._notify, hook, worker=self._worker, **arguments))
        self._news.set()

    def call_waiting(self) -> None:
        """Call the hooks of all events that wait."""
        while self._waiting:
            self._waiting.popleft()()

    def _run(self) -> None:
        while not (self._closing and not self._waiting):
            self._news.wait()
            self._news.clear()
            self.call_waiting()
            if self._closing:
                self._news.set()
