"""The address of a Kafka.

    kafka://host:9092,host:9092
    kafka+ssl://USER:PASSWORD@host:9093,host:9093?sasl=SCRAM-SHA-512&ca=/etc/ca.pem

A login needs `sasl=`: PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 take a user and a password, OAUTHBEARER a token in the
password's place. Files and the places of secrets are those of `yadtq_core.net.tls`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from yadtq_core.errors import InvalidSetting
from yadtq_core.net.tls import PASSWORD_FILE, TLS_OPTIONS, ErrorFor, Secret, Tls, options_of, secret_of, tls_of
from yadtq_core.settings import masked_url

SCHEME, TLS_SCHEME = "kafka", "kafka+ssl"
DEFAULT_PORT = 9092
TOKEN = "OAUTHBEARER"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", TOKEN)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\]")
_EXAMPLE = "an address looks like kafka://host:9092 or kafka+ssl://user@host1:9093,host2:9093?sasl=SCRAM-SHA-512"


@dataclass(frozen=True, slots=True)
class SaslLogin:
    """A login by SASL."""

    mechanism: str
    user: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """The parts of an address."""

    shown: str
    """Without secrets."""
    servers: tuple[str, ...]
    """The bootstrap servers, each as `host:port`."""
    tls: Tls | None
    login: SaslLogin | None


def parse(url: str, password: str = "") -> KafkaAddress:
    """Return the parts of an address; the default port is 9092.

    password: used if the address has none. Raises InvalidSetting for another scheme, an impossible host, port or
    parameter, a path, and an incomplete login.
    """
    shown = masked_url(url)

    def refuse(reason: str) -> InvalidSetting:
        return InvalidSetting(f"broker = {shown!r}: {reason}; {_EXAMPLE}")

    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise refuse(str(error)) from None
    if parts.scheme not in (SCHEME, TLS_SCHEME):
        raise refuse(f"its scheme is {parts.scheme or 'missing'}, not {SCHEME} or {TLS_SCHEME}")
    if parts.path not in ("", "/"):
        raise refuse(f"it takes no path, got {parts.path[:80]!r}")
    if parts.netloc.count("@") > 1 or parts.fragment:
        raise refuse("write an @ in a user name or password as %40, and a # as %23")
    secured = parts.scheme == TLS_SCHEME
    options = options_of(parts.query, {"sasl", PASSWORD_FILE} | (TLS_OPTIONS if secured else set()), refuse)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    return KafkaAddress(
        shown=shown,
        servers=tuple(_server(text.strip(), refuse) for text in hosts),
        tls=tls_of(options, refuse) if secured else None,
        login=_login(parts, options, password, refuse),
    )


def host_and_port(server: str) -> tuple[str, int]:
    """Return host and port of a `host:port`, as sockets take them."""
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def _login(parts: SplitResult, options: Mapping[str, str], password: str, refuse: ErrorFor) -> SaslLogin | None:
    mechanism = options.get("sasl")
    user, _, given = parts.netloc.rpartition("@")[0].partition(":")
    if mechanism is None:
        if user or given or PASSWORD_FILE in options:
            raise refuse(f"a login needs ?sasl={'|'.join(MECHANISMS)}")
        return None
    if mechanism not in MECHANISMS:
        raise refuse(f"sasl is one of {', '.join(MECHANISMS)}, got {mechanism[:40]!r}")
    if bool(user) == (mechanism == TOKEN):
        raise refuse(f"{mechanism} takes {'no user, only a token' if user else 'a user'}")
    secret = secret_of(unquote(given), password, options, refuse)
    if not secret:
        what = "token" if mechanism == TOKEN else "password"
        raise refuse(f"the {what} is missing: set YADTQ_BROKER_PASSWORD, or add {PASSWORD_FILE}=FILE")
    return SaslLogin(mechanism, unquote(user), secret)


def _server(text: str, refuse: ErrorFor) -> str:
    """Return one `host:port`, with the default port if it has none."""
    host, port = _split(text)
    if not (_HOST.fullmatch(host) or _IPV6.fullmatch(host)):
        raise refuse(f"{host[:80]!r} is not a host" if host else "a host is missing")
    if port is None:
        return f"{host}:{DEFAULT_PORT}"
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise refuse(f"port {port[:20]!r} is not a number from 1 to 65535")
    return f"{host}:{int(port)}"


def _split(text: str) -> tuple[str, str | None]:
    """Return host and port; an IPv6 address is in brackets."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        return host + bracket, rest[1:] if rest.startswith(":") else (rest or None)
    host, colon, port = text.partition(":")
    return host, port if colon else None
