"""Free ports of the loopback interface, for servers that must find them free again after a restart."""

from __future__ import annotations

import random
import socket

from yadtq_core.errors import LocalStackError

LOOPBACK = "127.0.0.1"

# Below the ports that systems lend to outgoing connections (Linux from 32768, macOS from 49152): a client
# that tries to reach a server which is down could be lent the server's own port, and would then keep it from
# coming back.
_FIRST, _LAST = 15_000, 32_000
_TRIES = 200


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on now.

    Raises `LocalStackError` where 200 random ports are all taken.
    """
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)
        if is_free(port):
            return port
    raise LocalStackError(f"No free port between {_FIRST} and {_LAST} on {LOOPBACK}: stop what listens there.")


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
