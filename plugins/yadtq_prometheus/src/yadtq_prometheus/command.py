"""`yadtq metrics`: the metrics of the queues without a worker, for an autoscaler that scales from zero."""

from __future__ import annotations

import logging
import threading
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry

from yadtq_core import Client, InvalidSetting
from yadtq_prometheus.config import PrometheusSettings
from yadtq_prometheus.endpoint import Endpoint
from yadtq_prometheus.queues import QueueCollector

log = logging.getLogger("yadtq.prometheus")

app = typer.Typer(add_completion=False)


@app.command()
def metrics(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="PORT", help="Default: the setting prometheus.port; 0: a free one."),
    ] = None,
    host: Annotated[str | None, typer.Option(metavar="HOST", help="Default: the setting prometheus.host.")] = None,
) -> None:
    """Serve the number of waiting and running tasks per queue to Prometheus, until ctrl-C.

    For example:

        yadtq metrics --port 9464
    """
    with Client.connect() as client:
        section = client.settings.section(PrometheusSettings)
        chosen = section.port if port is None else port
        if chosen is None:
            raise InvalidSetting("no port for the metrics: give --port, or set YADTQ_PROMETHEUS_PORT")
        where = section.host if host is None else host
        registry = CollectorRegistry()
        registry.register(QueueCollector(lambda: client, client.settings.queues, section.max_names))
        try:
            endpoint = Endpoint(registry, where, chosen)
        except OSError as error:
            raise InvalidSetting(
                f"{where} port {chosen} cannot be opened: {error.strerror or error}; choose another by --port"
            ) from None
        typer.echo(f"metrics: {endpoint.url}", err=True)
        try:
            threading.Event().wait()
        finally:
            endpoint.close()
