"""What answers at a port, asked only when something went wrong: an address may lead to something else's."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable

SECONDS = 0.7
"""For each of at most three questions."""
_PING = b"PING\r\n"
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""Length, key, version, correlation ID, no client ID."""
_TLS = (b"\x15", b"\x16")
"""How a record of TLS begins: an alert, a handshake."""


def answers_like(host: str, port: int) -> str | None:
    """Return what answers there: `TLS`, `Redis`, `Kafka`, `HTTP` or `nothing known`; None where nothing listens."""
    try:
        for question, read in ((_PING, _after_ping), (_API_VERSIONS, _after_api_versions), (_hello(), _after_hello)):
            found = read(_answer(host, port, question))
            if found:
                return found
    except OSError:
        return None
    return "nothing known"


def tls_trouble(host: str, port: int, context: ssl.SSLContext) -> str | None:
    """Return what TLS says against a connection, None where nothing.

    A client whose own certificate is refused hears so only after the handshake, and not if it speaks before.
    """
    try:
        with (
            socket.create_connection((host, port), timeout=SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=host) as secured,
        ):
            secured.recv(1)
    except ssl.SSLError as error:
        return " ".join(str(error).split())[:200]
    except OSError:
        pass
    return None


def _answer(host: str, port: int, question: bytes) -> bytes:
    """Return how the answer to a question begins, empty where none comes. Raises OSError where nothing listens."""
    with socket.create_connection((host, port), timeout=SECONDS) as connection:
        try:
            connection.sendall(question)
            return connection.recv(16)
        except OSError:
            return b""


def _after_ping(answer: bytes) -> str | None:
    if answer[:1] in (b"+", b"-"):
        return "Redis"
    return "HTTP" if answer.startswith(b"HTTP") else _after_hello(answer)


def _after_api_versions(answer: bytes) -> str | None:
    return "Kafka" if answer[4:8] == struct.pack(">i", 1) else _after_hello(answer)


def _after_hello(answer: bytes) -> str | None:
    return "TLS" if answer[:1] in _TLS else None


def _hello() -> bytes:
    """Return the first words of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    begin: Callable[[], None] = context.wrap_bio(incoming, outgoing).do_handshake
    try:
        begin()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()
