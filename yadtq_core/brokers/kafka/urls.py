"""The address of a Kafka: `kafka://host:9092,host:9092`."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from yadtq_core.errors import InvalidSetting
from yadtq_core.settings import masked_url

SCHEME = "kafka"
DEFAULT_PORT = 9092
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\]")
_EXAMPLE = "an address looks like kafka://host:9092 or kafka://host1:9092,host2:9092"


def servers(url: str) -> tuple[str, ...]:
    """Return the bootstrap servers of an address, each as `host:port`; the port is 9092 where none is given.

    Raises InvalidSetting for another scheme, a host or port that cannot be, a path, a user, or a parameter:
    none is known yet.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _refused(url, str(error)) from None
    if parts.scheme != SCHEME:
        raise _refused(url, f"its scheme is {parts.scheme or 'missing'}, not {SCHEME}")
    if "@" in parts.netloc:
        raise _refused(url, "user and password (SASL) are not supported yet")
    if parts.query or parts.fragment:
        names = ", ".join(name for name, _ in parse_qsl(parts.query, keep_blank_values=True)) or parts.fragment
        raise _refused(url, f"it takes no parameters, got {names[:80]} (TLS and SASL are not supported yet)")
    if parts.path not in ("", "/"):
        raise _refused(url, f"it takes no path, got {parts.path[:80]!r}")
    return tuple(_server(url, text.strip()) for text in parts.netloc.split(","))


def _server(url: str, text: str) -> str:
    """Return one `host:port`, with the default port where there is none."""
    host, port = _split(text)
    if not (_HOST.fullmatch(host) or _IPV6.fullmatch(host)):
        raise _refused(url, f"{host[:80]!r} is not a host" if host else "a host is missing")
    if port is None:
        return f"{host}:{DEFAULT_PORT}"
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise _refused(url, f"port {port[:20]!r} is not a number from 1 to 65535")
    return f"{host}:{int(port)}"


def _split(text: str) -> tuple[str, str | None]:
    """Return host and port; the colons of an IPv6 address stand in brackets."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        return host + bracket, rest[1:] if rest.startswith(":") else (rest or None)
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _refused(url: str, reason: str) -> InvalidSetting:
    return InvalidSetting(f"broker = {masked_url(url)!r}: {reason}; {_EXAMPLE}")
