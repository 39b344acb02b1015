"""The counts of the queues, read from the backend at each scrape."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from yadtq_core import Status, YadtqError
from yadtq_core.interfaces import Counts
from yadtq_prometheus import catalogue
from yadtq_prometheus.catalogue import Described
from yadtq_prometheus.labels import Names

CACHE_SECONDS = 1.0
"""Scrapes within this time share one read of the backend."""

log = logging.getLogger("yadtq.prometheus")


class Asked(Protocol):
    """The part of `Client` that the collector uses."""

    def counts(self) -> Counts: ...
    def close(self) -> None: ...


class QueueCollector(Collector):
    """Shows the counts of an installation's queues; reads them again if the last ones are older than a second.

    open_client: called by the first scrape, and again after it raised a YadtqError. queues: these are
    shown even if they are empty. most: the number of distinct queue names.

    During an outage of the backend `yadtq_backend_up` is 0 and no queue is shown, because the counts are unknown. The
    client's timeouts end a read from a server that hangs.
    """

    def __init__(self, open_client: Callable[[], Asked], queues: Sequence[str], most: int) -> None:
        self._open = open_client
        self._names = Names(most)
        self._queues = dict.fromkeys(self._names.of(queue) for queue in queues)
        self._lock = threading.Lock()
        self._client: Asked | None = None
        self._counts: Counts | None = None
        self._asked_at = float("-inf")
        self._was_up = True
        self._closed = False

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that the registration does not read from the backend."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of one scrape. Does not raise during an outage of the backend."""
        with self._lock:
            counts = self._latest()
            shown = [] if counts is None else self._shown(counts)
        yield _gauge(catalogue.BACKEND_UP, [((), 0 if counts is None else 1)])
        yield from shown

    def close(self) -> None:
        """Close the client; a later scrape finds the backend down."""
        with self._lock:
            self._closed, self._counts = True, None
            self._asked_at = float("inf")
            if self._client is not None:
                self._client.close()

    def _latest(self) -> Counts | None:
        if self._closed or time.monotonic() - self._asked_at < CACHE_SECONDS:
            return self._counts
        try:
            self._client = self._client or self._open()
            self._counts = self._client.counts()
        except YadtqError as error:
            self._counts = None
            if self._was_up:
                log.warning("the queues cannot be counted for Prometheus: %s", error)
        self._was_up = self._counts is not None
        self._asked_at = time.monotonic()
        return self._counts

    def _shown(self, counts: Counts) -> list[Metric]:
        by: dict[Status, Counter[str]] = {
            status: Counter(dict.fromkeys(self._queues, 0))
            for status in (Status.QUEUED, Status.PROCESSING, Status.SCHEDULED)
        }
        for queue, numbers in sorted(counts.queues.items()):
            name = self._names.of(queue)
            self._queues[name] = None  # shown from now on; otherwise Prometheus keeps its last number for minutes
            for status, sums in by.items():
                sums[name] += numbers.get(status, 0)
        ended = CounterMetricFamily(catalogue.ENDED.name, catalogue.ENDED.text, labels=catalogue.ENDED.labels)
        for status in (Status.SUCCESS, Status.FAILED, Status.CANCELLED):
            ended.add_metric([status.value], counts.ended.get(status, 0))
        return [
            _gauge(catalogue.READY, _rows(by[Status.QUEUED])),
            _gauge(catalogue.QUEUE_RUNNING, _rows(by[Status.PROCESSING])),
            _gauge(catalogue.SCHEDULED, _rows(by[Status.SCHEDULED])),
            ended,
        ]


def _rows(sums: Counter[str]) -> list[tuple[tuple[str, ...], int]]:
    return [((name,), number) for name, number in sums.items()]


def _gauge(one: Described, rows: Iterable[tuple[tuple[str, ...], int]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(one.name, one.text, labels=one.labels)
    for labels, number in rows:
        family.add_metric(labels, number)
    return family
