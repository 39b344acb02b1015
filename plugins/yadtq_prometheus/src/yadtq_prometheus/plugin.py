"""The hooks: an endpoint in each worker with a port, otherwise nothing.

prometheus_client is imported only if a port is set, because every client and child loads this module.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from yadtq_core import Client
from yadtq_core.plugin import Due, Lease, Outcome, Settings, WorkerIdentity, WorkerStats, hookimpl
from yadtq_prometheus.config import PrometheusSettings

if TYPE_CHECKING:
    from yadtq_prometheus.endpoint import Endpoint
    from yadtq_prometheus.metrics import WorkerMetrics
    from yadtq_prometheus.queues import QueueCollector

log = logging.getLogger("yadtq.prometheus")


class PrometheusPlugin:
    """One worker's metrics. The worker's listener thread calls all hooks except the first two."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._metrics: WorkerMetrics | None = None
        self._queues: QueueCollector | None = None
        self._endpoint: Endpoint | None = None

    @hookimpl
    def yadtq_settings(self) -> Mapping[str, type]:
        """Offer `[prometheus]`."""
        return {"prometheus": PrometheusSettings}

    @hookimpl
    def yadtq_configure(self, settings: Settings) -> None:
        """Store the settings, for the client that queries the queues."""
        self._settings = settings

    @hookimpl
    def yadtq_worker_started(self, worker: WorkerIdentity) -> None:
        """Open the endpoint if there is a port. If it cannot be opened, the worker runs without metrics."""
        if self._settings is None:
            return
        section = self._settings.section(PrometheusSettings)
        if section.port is not None:
            self._open(self._settings, section, section.port, worker)

    def _open(self, settings: Settings, section: PrometheusSettings, port: int, worker: WorkerIdentity) -> None:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415  (80 ms, only if a port is set)

        from yadtq_prometheus.endpoint import Endpoint  # noqa: PLC0415
        from yadtq_prometheus.metrics import WorkerMetrics  # noqa: PLC0415
        from yadtq_prometheus.queues import QueueCollector  # noqa: PLC0415

        registry = CollectorRegistry()
        metrics = WorkerMetrics(registry, section, worker)
        queues = QueueCollector(lambda: Client(settings), settings.queues, section.max_names)
        registry.register(queues)
        try:
            self._endpoint = Endpoint(registry, section.host, port)
        except OSError as error:
            log.error(
                "no metrics of this worker: %s port %d cannot be opened: %s; give each worker of a host its own "
                "(YADTQ_PROMETHEUS_PORT)",
                section.host,
                port,
                error.strerror or error,
            )
            return
        self._metrics, self._queues = metrics, queues
        log.info("metrics: %s", self._endpoint.url)

    @hookimpl
    def yadtq_tasks_started(self, leases: Sequence[Lease]) -> None:
        """Count started runs and waits."""
        if self._metrics is not None:
            self._metrics.started(leases)

    @hookimpl
    def yadtq_tasks_finished(self, outcomes: Sequence[Outcome]) -> None:
        """Count ended runs and durations."""
        if self._metrics is not None:
            self._metrics.finished(outcomes)

    @hookimpl
    def yadtq_tasks_reclaimed(self, records: Sequence[Due]) -> None:
        """Count reclaimed tasks."""
        if self._metrics is not None:
            self._metrics.reclaimed(records)

    @hookimpl
    def yadtq_heartbeat(self, stats: WorkerStats) -> None:
        """Show the worker's load."""
        if self._metrics is not None:
            self._metrics.heartbeat(stats)

    @hookimpl
    def yadtq_worker_stopping(self) -> None:
        """Show that the worker drains."""
        if self._metrics is not None:
            self._metrics.stopping()

    @hookimpl
    def yadtq_worker_stopped(self) -> None:
        """Close the endpoint and the client."""
        if self._endpoint is not None:
            self._endpoint.close()
        if self._queues is not None:
            self._queues.close()
        self._metrics = self._queues = self._endpoint = None
