"""TLS and SASL as kafka-python takes them, and its log without passwords and tokens."""

from __future__ import annotations

import logging
from typing import Any

from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.protocol.sasl import SaslAuthenticateRequest, SaslBytesRequest

from yadtq_core.brokers.kafka.urls import TOKEN, KafkaAddress
from yadtq_core.net.tls import Secret, context_of

_TALKATIVE = ("kafka.net.connection", "kafka.protocol.parser")
"""These log every request at debug level, with passwords and tokens."""


class Token(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no type hints
    """The token for OAUTHBEARER, read again for each login."""

    def __init__(self, secret: Secret) -> None:
        super().__init__()
        self._secret = secret

    def token(self) -> str:
        """Return the present token."""
        return self._secret.read()


class _Password(str):
    """A password without a visible repr: kafka-python's admin client logs all its settings at debug level."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def login_settings(address: KafkaAddress) -> dict[str, Any]:
    """Return the settings for an address's TLS and login; the password is read again.

    Raises ConfigurationRefused for a file that is missing or unusable.
    """
    tls, login = address.tls, address.login
    settings: dict[str, Any] = {} if tls is None else {"security_protocol": "SSL", "ssl_context": context_of(tls)}
    if login is None:
        return settings
    settings |= {
        "security_protocol": "SASL_PLAINTEXT" if tls is None else "SASL_SSL",
        "sasl_mechanism": login.mechanism,
    }
    if login.mechanism == TOKEN:
        login.secret.read()
        return settings | {"sasl_oauth_token_provider": Token(login.secret)}
    return settings | {
        "sasl_plain_username": login.user,
        "sasl_plain_password": _Password(login.secret.read()),
    }


def log_no_logins() -> None:
    """Keep logins out of kafka-python's log, at every level."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_without_login)


def _without_login(record: logging.LogRecord) -> bool:
    """False for a log record with sent bytes, or with a request that holds a login."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    logins = (SaslAuthenticateRequest, SaslBytesRequest)
    return "Send:" not in str(record.msg) and not any(isinstance(one, logins) for one in arguments)
