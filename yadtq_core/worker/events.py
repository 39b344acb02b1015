"""Calls the event hooks of plugins in a separate thread: a slow plugin delays no claim and no lease.

Each call of a hook gets a batch. An event without a listener is not queued. The calls that wait have a budget of bytes,
and the oldest are dropped beyond it: the records are complete without events. The batch that a plugin has been given
comes on top.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from yadtq_core.model import Due, Lease, Outcome, WorkerIdentity, WorkerStats
from yadtq_core.plugin.loading import Plugins
from yadtq_core.worker.rules.budget import BUDGET, OBJECTS, size_of_deliveries, size_of_outcome

log = logging.getLogger("yadtq.worker")

CLOSE_SECONDS = 5.0


class _HookCall(NamedTuple):
    """One call that waits, and the bytes that it holds."""

    hook: str
    arguments: dict[str, Any]
    size: int


class Events:
    """The queue of events of one worker. Safe for use by several threads. Only `close` waits; no method raises."""

    def __init__(self, plugins: Plugins, worker: WorkerIdentity) -> None:
        self._hooks = plugins.manager
        self._worker = worker
        self._lock = threading.Lock()
        self._waiting: deque[_HookCall] = deque()
        self._bytes = 0
        self._news = threading.Event()
        self._closing = False
        self.dropped = 0
        """How many calls of hooks were dropped because plugins were too slow."""
        self._blamed: set[str] = set()
        self._thread: threading.Thread | None = None
        implemented = plugins.manager.implemented
        self._started = implemented("yadtq_tasks_started")
        self._finished = implemented("yadtq_tasks_finished")
        self._reclaimed = implemented("yadtq_tasks_reclaimed")
        self._heartbeat = implemented("yadtq_heartbeat")
        self._stopping = implemented("yadtq_worker_stopping")

    def worker_started(self) -> None:
        """Start the thread; its first event is the start of the worker."""
        first = _HookCall("yadtq_worker_started", {"worker": self._worker}, OBJECTS)
        with self._lock:
            self._waiting.appendleft(first)  # before the first heartbeat, which is queued already
            self._bytes += first.size
        self._news.set()
        self._thread = threading.Thread(target=self._run, name="yadtq-listeners", daemon=True)
        self._thread.start()

    def started(self, leases: Sequence[Lease]) -> None:
        """Queue an event: these leases go to the children."""
        if self._started and leases:
            size = size_of_deliveries(lease.delivery for lease in leases)
            self._put("yadtq_tasks_started", size, leases=tuple(leases))  # a copy: plugins may keep it

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        """Queue an event: these outcomes are written."""
        if self._finished and outcomes:
            self._put("yadtq_tasks_finished", sum(map(size_of_outcome, outcomes)), outcomes=tuple(outcomes))

    def reclaimed(self, records: Sequence[Due]) -> None:
        """Queue an event: a sweep has taken these records from lost workers."""
        if self._reclaimed and records:
            self._put("yadtq_tasks_reclaimed", OBJECTS * len(records), records=tuple(records))

    def heartbeat(self, stats: WorkerStats) -> None:
        """Queue an event: a heartbeat was answered."""
        if self._heartbeat:
            self._put("yadtq_heartbeat", OBJECTS, stats=stats)

    def worker_stopping(self) -> None:
        """Queue an event: the worker begins to stop."""
        if self._stopping:
            self._put("yadtq_worker_stopping", OBJECTS)

    def close(self, stats: WorkerStats) -> None:
        """Queue the last event, the end of the worker; wait for the listeners, CLOSE_SECONDS at most."""
        self._put("yadtq_worker_stopped", OBJECTS, stats=stats)
        self._closing = True
        self._news.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
            if self._thread.is_alive():
                log.warning("a plugin's listener is still busy after %g s: the worker ends without it", CLOSE_SECONDS)

    def _put(self, hook: str, size: int, **arguments: Any) -> None:
        """Queue a call; drop the oldest ones that wait if they exceed the budget with it."""
        call = _HookCall(hook, {"worker": self._worker, **arguments}, size)
        before = self.dropped
        with self._lock:
            while self._waiting and self._bytes + size > BUDGET:
                self._bytes -= self._waiting.popleft().size
                self.dropped += 1
            self._waiting.append(call)
            self._bytes += size
        self._news.set()
        if self.dropped != before:
            self._blame()

    def _blame(self) -> None:
        """Log the plugin that is too slow, once for each plugin."""
        plugin, hook = self._hooks.calling
        if plugin not in self._blamed:
            self._blamed.add(plugin)
            text = "plugin %s is too slow in %s: more than %d MiB of events wait, and the oldest are dropped"
            log.error(text, plugin, hook, BUDGET >> 20)

    def call_waiting(self) -> None:
        """Call the hooks of all events that wait."""
        while self._waiting:
            with self._lock:
                call = self._waiting.popleft()
                self._bytes -= call.size
            self._hooks.notify(call.hook, **call.arguments)

    def _run(self) -> None:
        while not (self._closing and not self._waiting):
            self._news.wait()
            self._news.clear()
            self.call_waiting()
            if self._closing:
                self._news.set()
