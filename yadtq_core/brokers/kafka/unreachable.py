"""Why a Kafka cannot be reached, asked on a connection of our own: kafka-python only says that it cannot."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from kafka.net.sasl import get_sasl_mechanism

from yadtq_core.brokers.kafka.login import login_settings
from yadtq_core.brokers.kafka.urls import KafkaAddress, host_and_port
from yadtq_core.errors import ConfigurationRefused
from yadtq_core.net.probe import answers_like, tls_trouble
from yadtq_core.net.tls import certificate_trouble, context_of

_SECONDS = 2.0
_HANDSHAKE, _AUTHENTICATE = 17, 36
_VERSION = {_HANDSHAKE: 1, _AUTHENTICATE: 0}
_UNSUPPORTED_MECHANISM, _ILLEGAL_STATE = 33, 34
_MAX_ANSWER_BYTES = 4096


def diagnosis(address: KafkaAddress) -> ConfigurationRefused | None:
    """Return what stands between the client and the first server that answers, None where nothing is found."""
    for server in address.servers:
        host, port = host_and_port(server)
        kind = answers_like(host, port)
        if kind is None:
            continue
        if kind in ("Redis", "HTTP"):
            return ConfigurationRefused(f"{server} answers like {kind}, not Kafka: correct {address.shown}")
        reason = _of_transport(address, kind) or _of_connection(address, host, port)
        if reason:
            return ConfigurationRefused(f"Kafka at {address.shown}: {server}: {reason}")
    return None


def _of_transport(address: KafkaAddress, kind: str) -> str | None:
    if kind == "TLS" and address.tls is None:
        return "it speaks TLS: use kafka+ssl://"
    if kind == "Kafka" and address.tls is not None:
        return "it does not speak TLS: use kafka://, or its TLS port"
    return None


def _of_connection(address: KafkaAddress, host: str, port: int) -> str | None:
    """Return what TLS and SASL say."""
    try:
        with socket.create_connection((host, port), timeout=_SECONDS) as connection:
            if address.tls is None:
                return _of_login(address, connection)
            with context_of(address.tls).wrap_socket(connection, server_hostname=host) as secured:
                return _of_login(address, secured)
    except (OSError, struct.error, ValueError):  # nothing that could be read
        said = tls_trouble(host, port, context_of(address.tls)) if address.tls is not None else None
        return (certificate_trouble(said) or f"TLS fails: {said}") if said else None


def _of_login(address: KafkaAddress, connection: socket.socket) -> str | None:
    """Ask for the mechanism, and log in; a listener without logins answers that the question is out of place."""
    wanted = address.login.mechanism if address.login else ""
    answer = _asked(connection, _HANDSHAKE, struct.pack(">h", len(wanted)) + wanted.encode())
    (code,) = struct.unpack_from(">h", answer)
    if code == _ILLEGAL_STATE and wanted:
        return "it takes no login: leave user, password and sasl= out"
    if code == _UNSUPPORTED_MECHANISM:
        offered = ", ".join(sorted(_strings(answer, 2)))
        return f"it does not take sasl={wanted}, it takes {offered}" if wanted else f"it wants a login: sasl={offered}"
    return _of_credentials(address, connection) if wanted and code == 0 else None


def _of_credentials(address: KafkaAddress, connection: socket.socket) -> str | None:
    """Log in as kafka-python does, which mostly loses the broker's answer to a wrong password (3.0.12)."""
    settings = login_settings(address)
    mechanism = get_sasl_mechanism(settings["sasl_mechanism"])(host="", **settings)
    while not mechanism.is_done():
        said = mechanism.auth_bytes()
        answer = _asked(connection, _AUTHENTICATE, struct.pack(">i", len(said)) + said)
        (code,) = struct.unpack_from(">h", answer)
        text, at = _string(answer, 2)
        if code:
            who = f"user {address.login.user!r}" if address.login and address.login.user else "the token"
            return f"it refuses the login of {who}: {' '.join(text.split())[:200]}"
        (length,) = struct.unpack_from(">i", answer, at)
        mechanism.receive(answer[at + 4 : at + 4 + max(0, length)])
    return None


def _asked(connection: socket.socket, key: int, body: bytes) -> bytes:
    """Return the answer to one request, without its length and number. Raises OSError where none comes."""
    request = struct.pack(">hhih", key, _VERSION[key], 1, -1) + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    answer = _received(connection)
    if len(answer) < 8:
        raise ConnectionError("no answer")
    return answer[4:]


def _received(connection: socket.socket) -> bytes:
    """Return one answer without its length, less where the connection ends before."""
    received = b""
    while len(received) < 4 or len(received) < 4 + struct.unpack_from(">i", received)[0]:
        more = connection.recv(_MAX_ANSWER_BYTES)
        if not more or len(received) > _MAX_ANSWER_BYTES:
            break
        received += more
    return received[4:]


def _strings(answer: bytes, at: int) -> Iterator[str]:
    """Read an array of strings."""
    (count,) = struct.unpack_from(">i", answer, at)
    at += 4
    for _ in range(count):
        text, at = _string(answer, at)
        yield text


def _string(answer: bytes, at: int) -> tuple[str, int]:
    """Read a string, which may be missing; return it and where it ends."""
    (length,) = struct.unpack_from(">h", answer, at)
    end = at + 2 + max(0, length)
    return answer[at + 2 : end].decode(errors="replace"), end
