"""Free loopback ports for servers, which stay free while a server restarts."""

from __future__ import annotations

import random
import socket

from yadtq_core.errors import LocalStackError

LOOPBACK = "127.0.0.1"

# Below the ephemeral ports (Linux from 32768, macOS from 49152): otherwise a client that tries to reach a stopped
# server could get the server's own port as its source port, and the server could not start again.
_FIRST, _LAST = 15_000, 32_000
_TRIES = 200


def free_port() -> int:
    """Return a loopback port without a listener. Raises LocalStackError if 200 random ports are in use."""
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)
        if is_free(port):
            return port
    raise LocalStackError(f"No free port between {_FIRST} and {_LAST} on {LOOPBACK}: stop other servers.")


def is_free(port: int) -> bool:
    """True when a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
