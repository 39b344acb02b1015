"""A small endpoint that receives the events of a Sentry client."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Ingest:
    """The received events, and the endpoint's address."""

    def __init__(self, port: int) -> None:
        self.dsn = f"http://thekey@127.0.0.1:{port}/42"
        self.paths: list[str] = []
        self.events: list[dict[str, Any]] = []

    def took(self, path: str, body: bytes) -> None:
        """Store the events of one request: an envelope is lines of JSON, with a header before each item."""
        self.paths.append(path)
        _, *rest = body.splitlines()
        for header, payload in zip(rest[::2], rest[1::2], strict=True):
            if json.loads(header)["type"] == "event":
                self.events.append(json.loads(payload))


@contextmanager
def ingest() -> Iterator[Ingest]:
    """Yield an endpoint that answers like Sentry, and close it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.took(self.path, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Ingest(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
