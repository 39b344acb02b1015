"""The HTTP endpoint that Prometheus scrapes."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, start_http_server


class Endpoint:
    """Serves a registry at http://HOST:PORT/metrics, in separate threads, until it is closed.

    port: 0 takes any free one. Raises OSError if the address cannot be opened.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self._server, self._thread = start_http_server(port, host, registry)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Stop serving within half a second, and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
