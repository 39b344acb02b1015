"""The settings section `[prometheus]`."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from msgspec import Meta, Struct

Bucket = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class PrometheusSettings(Struct, frozen=True, kw_only=True):
    """The endpoint, and the buckets of the histograms. Without a port nothing is served or counted."""

    port: Port | None = None
    """The port of a worker's endpoint; 0: any free one, named in the log."""
    host: str = "127.0.0.1"
    """The address it listens at; 0.0.0.0 for a Prometheus on another host."""
    wait_buckets: tuple[Bucket, ...] = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600)
    """Upper bounds of the waits' histogram, in seconds."""
    run_buckets: tuple[Bucket, ...] = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)
    """Upper bounds of the runs' histogram, in seconds."""
    max_names: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """Distinct names of tasks, and of queues; later ones count as `other`."""

    def __post_init__(self) -> None:
        for field in ("wait_buckets", "run_buckets"):
            bounds = getattr(self, field)
            if not bounds or any(low >= high for low, high in pairwise(bounds)):
                raise ValueError(f"{field} takes one number or more, each larger than the one before")
