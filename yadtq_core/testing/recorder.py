"""A plugin that records the calls of all event hooks: for tests of what happens, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from yadtq_core.model import ChildIdentity, Due, Lease, Message, Outcome, WorkerIdentity, WorkerStats
from yadtq_core.plugin.hookspecs import hookimpl


class Event(NamedTuple):
    """One call of an event hook: its name without `yadtq_`, and its argument.

    `batch` holds messages, leases, outcomes or records, or the one subject of an event without a batch.
    """

    name: str
    batch: tuple[Any, ...]


class EventRecorder:
    """An implementation of all event hooks; `events` has their calls in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    @property
    def names(self) -> list[str]:
        """The names of the recorded events, in order."""
        return [event.name for event in self.events]

    def of(self, name: str) -> list[Any]:
        """Return the batches of the events with this name, joined."""
        return [one for event in self.events if event.name == name for one in event.batch]

    def _keep(self, name: str, *batch: Any) -> None:
        self.events.append(Event(name, batch))

    @hookimpl
    def yadtq_tasks_submitted(self, messages: Sequence[Message]) -> None:
        """Keep the messages."""
        self._keep("tasks_submitted", *messages)

    @hookimpl
    def yadtq_tasks_started(self, leases: Sequence[Lease]) -> None:
        """Keep the leases."""
        self._keep("tasks_started", *leases)

    @hookimpl
    def yadtq_tasks_finished(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the outcomes."""
        self._keep("tasks_finished", *outcomes)

    @hookimpl
    def yadtq_tasks_reclaimed(self, records: Sequence[Due]) -> None:
        """Keep the records."""
        self._keep("tasks_reclaimed", *records)

    @hookimpl
    def yadtq_worker_started(self, worker: WorkerIdentity) -> None:
        """Keep the worker."""
        self._keep("worker_started", worker)

    @hookimpl
    def yadtq_worker_stopping(self, worker: WorkerIdentity) -> None:
        """Keep the worker."""
        self._keep("worker_stopping", worker)

    @hookimpl
    def yadtq_worker_stopped(self, stats: WorkerStats) -> None:
        """Keep the worker's last statistics."""
        self._keep("worker_stopped", stats)

    @hookimpl
    def yadtq_child_started(self, child: ChildIdentity) -> None:
        """Keep the child."""
        self._keep("child_started", child)

    @hookimpl
    def yadtq_child_stopping(self, child: ChildIdentity) -> None:
        """Keep the child."""
        self._keep("child_stopping", child)

    @hookimpl
    def yadtq_heartbeat(self, stats: WorkerStats) -> None:
        """Keep the worker's statistics."""
        self._keep("heartbeat", stats)
