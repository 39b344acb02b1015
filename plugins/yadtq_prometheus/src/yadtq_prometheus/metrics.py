"""Turns a worker's events into counters, histograms and gauges of one registry."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from yadtq_core import __version__
from yadtq_core.interfaces import Due, Lease, Outcome, WorkerIdentity, WorkerStats
from yadtq_prometheus import catalogue
from yadtq_prometheus.catalogue import Described
from yadtq_prometheus.config import PrometheusSettings
from yadtq_prometheus.labels import Names


class WorkerMetrics:
    """The metrics of one worker. One thread writes them; the threads of the scrapes read them."""

    def __init__(self, registry: CollectorRegistry, settings: PrometheusSettings, worker: WorkerIdentity) -> None:
        self._tasks = Names(settings.max_names)
        self._queues = Names(settings.max_names)

        def counter(one: Described) -> Counter:
            return Counter(one.name, one.text, one.labels, registry=registry)

        def gauge(one: Described) -> Gauge:
            return Gauge(one.name, one.text, one.labels, registry=registry)

        def histogram(one: Described, buckets: Sequence[float]) -> Histogram:
            return Histogram(one.name, one.text, one.labels, registry=registry, buckets=buckets)

        self._started = counter(catalogue.STARTED)
        self._finished = counter(catalogue.FINISHED)
        self._reclaimed = counter(catalogue.RECLAIMED)
        self._wait = histogram(catalogue.WAIT, settings.wait_buckets)
        self._run = histogram(catalogue.RUN, settings.run_buckets)
        self._running = gauge(catalogue.RUNNING)
        self._slots = gauge(catalogue.SLOTS)
        self._free = gauge(catalogue.FREE)
        self._memory = gauge(catalogue.MEMORY)
        self._stopping = gauge(catalogue.STOPPING)
        self._heartbeats = counter(catalogue.HEARTBEATS)
        self._heartbeat_at = gauge(catalogue.HEARTBEAT_AT)
        gauge(catalogue.WORKER).labels(worker.id, worker.host, __version__).set(1)

    def started(self, leases: Sequence[Lease]) -> None:
        """Count runs that began, and the wait of each task for its first run."""
        for lease in leases:
            message = lease.delivery.message
            labels = self._labels(message.task, message.queue)
            self._started.labels(*labels).inc()
            if lease.attempt == 1 and message.submitted_at_ms:
                self._wait.labels(*labels).observe(max(0, lease.started_at_ms - message.submitted_at_ms) / 1000)

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        """Count runs that ended, and their durations."""
        for outcome in outcomes:
            labels = self._labels(outcome.task, outcome.queue)
            self._finished.labels(*labels, outcome.status.value).inc()
            self._run.labels(*labels).observe(outcome.duration)

    def reclaimed(self, records: Sequence[Due]) -> None:
        """Count reclaimed tasks."""
        for record in records:
            self._reclaimed.labels(*self._labels(record.task, record.queue)).inc()

    def heartbeat(self, stats: WorkerStats) -> None:
        """Store the content of a heartbeat."""
        self._running.set(stats.running)
        self._slots.set(stats.slots)
        self._free.set(stats.free)
        self._memory.set(stats.memory)
        self._heartbeats.inc()
        self._heartbeat_at.set(time.time())

    def stopping(self) -> None:
        """Show that the worker drains."""
        self._stopping.set(1)
        self._free.set(0)

    def _labels(self, task: str, queue: str) -> tuple[str, str]:
        return self._tasks.of(task), self._queues.of(queue)
