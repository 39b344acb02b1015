"""A small TCP proxy whose network can be bad: what a fault test puts between yadtq and a service."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_CHUNK = 64 * 1024
_LOOK_SECONDS = 0.05
_TORN_BYTES = 3


class Proxy:
    """Listens on a loopback port (a free one, if 0) and passes all on to `target`: a port there, or a unix socket.

    Its attributes say how bad the network is, and may be changed at any time; all is well at first.
    """

    def __init__(self, target: int | Path, port: int = 0) -> None:
        self.target = target
        self._server = socket.create_server(("127.0.0.1", port))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self.port: int = self._server.getsockname()[1]
        """It stays, wherever `target` is moved to; so do the open connections."""
        self.accepted = 0
        """Connections so far."""
        self.blackhole = False
        """Nothing passes either way, and no connection ends: a cable that was pulled."""
        self.lose_replies = False
        """Requests pass and replies are dropped: the service does its work, and the client does not hear of it."""
        self.latency = 0.0
        """Seconds, each way."""
        self.resets = 0.0
        """The chance, for each piece of data, that its connection is reset instead."""
        self.torn = 0.0
        """The chance, for each answer, that only its first bytes pass before its connection is reset."""
        self._draw = random.Random(self.port)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        self.reset()

    def reset(self) -> None:
        """End all connections."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _end(end)

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Let nothing pass during the block; then reset the connections."""
        self.blackhole = True
        yield
        self.blackhole = False
        self.reset()

    @contextlib.contextmanager
    def losing_replies(self) -> Iterator[None]:
        """Drop all replies during the block; then reset the connections."""
        self.lose_replies = True
        yield
        self.lose_replies = False
        self.reset()

    def _accept(self) -> None:
        while True:
            try:
                client = self._server.accept()[0]
            except OSError:
                return
            try:
                server = self._connected()
            except OSError:
                _end(client)
                continue
            with self._lock:
                self._pairs.append((client, server))
                self.accepted += 1
            for source, sink, replies in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=(source, sink, replies), daemon=True).start()

    def _connected(self) -> socket.socket:
        if isinstance(self.target, int):
            return socket.create_connection(("127.0.0.1", self.target), timeout=5)
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self.target))
        return server

    def _pass_on(self, source: socket.socket, sink: socket.socket, replies: bool) -> None:
        with contextlib.suppress(OSError):
            source.settimeout(None)
            while data := source.recv(_CHUNK):
                time.sleep(self.latency)
                while self.blackhole:
                    time.sleep(_LOOK_SECONDS)
                if self._draw.random() < self.resets:
                    break
                if replies and self._draw.random() < self.torn:
                    sink.sendall(data[:_TORN_BYTES])
                    break
                if not (replies and self.lose_replies):
                    sink.sendall(data)
        _end(source)
        _end(sink)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
