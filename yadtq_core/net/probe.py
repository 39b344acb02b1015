"""Find out which service answers at a port, after a connection failed: another program may listen there."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable

SECONDS = 0.7
"""Timeout of each of at most three probes."""
_PING = b"PING\r\n"
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""Length, key, version, correlation ID, no client ID."""
_TLS = (b"\x15", b"\x16")
"""First byte of a TLS record: an alert, a handshake."""


def answers_like(host: str, port: int) -> str | None:
    """Return the service that answers: `TLS`, `Redis`, `Kafka`, `HTTP` or `nothing known`; None if nothing listens."""
    try:
        for request, read in ((_PING, _after_ping), (_API_VERSIONS, _after_api_versions), (_hello(), _after_hello)):
            found = read(_answer(host, port, request))
            if found:
                return found
    except OSError:
        return None
    return "nothing known"


def tls_trouble(host: str, port: int, context: ssl.SSLContext) -> str | None:
    """Return the TLS error of a connection, None if there is none.

    The server refuses a client's certificate after the handshake. So read one byte after it, and send nothing.
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


def _answer(host: str, port: int, request: bytes) -> bytes:
    """Return the first bytes of the answer, empty if none comes. Raises OSError if nothing listens."""
    with socket.create_connection((host, port), timeout=SECONDS) as connection:
        try:
            connection.sendall(request)
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
    """Return the first message of a TLS client (ClientHello)."""
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
