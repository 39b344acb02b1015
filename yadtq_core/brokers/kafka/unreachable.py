"""Why a Kafka cannot be used, found out on a connection of our own: kafka-python reports only that it failed."""

from __future__ import annotations

import socket
import struct
from typing import Any

from kafka.errors import IllegalSaslStateError, KafkaError, UnsupportedSaslMechanismError
from kafka.net.sasl import get_sasl_mechanism
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslHandshakeRequest

from yadtq_core.brokers.kafka.login import login_settings
from yadtq_core.brokers.kafka.urls import KafkaAddress, host_and_port
from yadtq_core.errors import ConfigurationRefused
from yadtq_core.net.probe import answers_like, tls_trouble
from yadtq_core.net.tls import certificate_trouble, context_of

_SECONDS = 2.0
_MAX_ANSWER_BYTES = 4096


def refusal(address: KafkaAddress) -> ConfigurationRefused | None:
    """Return why the first server that answers cannot be used with this address, None if no reason is found."""
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
    """Return the reason that TLS or SASL gives."""
    try:
        with socket.create_connection((host, port), timeout=_SECONDS) as connection:
            if address.tls is None:
                return _of_login(address, _Requests(connection))
            with context_of(address.tls).wrap_socket(connection, server_hostname=host) as secured:
                return _of_login(address, _Requests(secured))
    except (OSError, KafkaError, struct.error, ValueError):  # no answer, or not one of Kafka
        said = tls_trouble(host, port, context_of(address.tls)) if address.tls is not None else None
        return (certificate_trouble(said) or f"TLS fails: {said}") if said else None


class _Requests:
    """Requests to one server, sent and answered one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._protocol = KafkaProtocol(client_id="yadtq", receive_message_max_bytes=_MAX_ANSWER_BYTES)

    def ask(self, request: object) -> Any:
        """Return the response. Raises OSError if the connection ends, KafkaError for an unreadable answer."""
        self._protocol.send_request(request)
        self._connection.sendall(self._protocol.send_bytes())
        while received := self._connection.recv(_MAX_ANSWER_BYTES):
            for _, response in self._protocol.receive_bytes(received):
                return response
        raise ConnectionError("the connection ended before the answer")


def _of_login(address: KafkaAddress, server: _Requests) -> str | None:
    """Ask for the mechanism, and log in. A listener without logins answers that this request is out of place."""
    wanted = address.login.mechanism if address.login else ""
    answer = server.ask(SaslHandshakeRequest[1](mechanism=wanted))
    if answer.error_code == IllegalSaslStateError.errno and wanted:
        return "it takes no login: leave user, password and sasl= out"
    if answer.error_code == UnsupportedSaslMechanismError.errno:
        offered = ", ".join(sorted(answer.mechanisms))
        return f"it does not take sasl={wanted}, it takes {offered}" if wanted else f"it wants a login: sasl={offered}"
    return _of_credentials(address, server) if wanted and answer.error_code == 0 else None


def _of_credentials(address: KafkaAddress, server: _Requests) -> str | None:
    """Log in as kafka-python does, which mostly loses the broker's answer to a wrong password (3.0.12)."""
    settings = login_settings(address)
    mechanism = get_sasl_mechanism(settings["sasl_mechanism"])(host="", **settings)
    while not mechanism.is_done():
        answer = server.ask(SaslAuthenticateRequest[0](auth_bytes=mechanism.auth_bytes()))
        if answer.error_code:
            who = f"user {address.login.user!r}" if address.login and address.login.user else "the token"
            return f"it refuses the login of {who}: {' '.join((answer.error_message or '').split())[:200]}"
        mechanism.receive(answer.auth_bytes)
    return None
