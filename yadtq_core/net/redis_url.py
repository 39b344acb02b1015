"""The address of a Redis or Valkey: over TCP, with TLS, over a unix socket, or through Sentinels.

redis://USER:PASSWORD@HOST:6379/NUMBER                       rediss://… with TLS
redis+sentinel://USER:PASSWORD@HOST:26379,HOST/NAME/NUMBER   rediss+sentinel://… with TLS, to the Sentinels too
unix://USER:PASSWORD@/PATH?db=NUMBER
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from yadtq_core.errors import InvalidSetting
from yadtq_core.net.tls import PASSWORD_FILE, TLS_OPTIONS, ErrorFor, Secret, Tls, options_of, secret_of, tls_of
from yadtq_core.settings import masked_url

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
PORT, SENTINEL_PORT = 6379, 26379
_SENTINEL_OPTIONS = frozenset({"sentinel_user", "sentinel_password_file"})


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A parsed address: servers, login and TLS. `service` is the name that the Sentinels watch, else empty."""

    shown: str
    """The address without secrets, for messages."""
    scheme: str
    servers: tuple[tuple[str, int], ...]
    """The Redis, or the Sentinels; none for a unix socket."""
    socket: str
    service: str
    db: int
    user: str
    secret: Secret
    tls: Tls | None
    sentinel_user: str
    sentinel_secret: Secret

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of the servers."""
        return tuple(host for host, _ in self.servers)


def parse(url: str, password: str = "") -> RedisAddress:
    """Return the parsed address. `password` is used if the address has none.

    Raises InvalidSetting for every part that would be ignored or could be misread.
    """
    shown = masked_url(url)

    def refuse(reason: str) -> InvalidSetting:
        return InvalidSetting(f"{shown!r}: {reason}")

    parts = _parts(url, shown, refuse)
    sentinel, tls = parts.scheme.endswith("+sentinel"), parts.scheme.startswith("rediss")
    unix = parts.scheme == "unix"
    known = {"db", PASSWORD_FILE} | (TLS_OPTIONS if tls else set()) | (_SENTINEL_OPTIONS if sentinel else set())
    options = options_of(parts.query, known, refuse)
    login, _, where = parts.netloc.rpartition("@")
    user, _, given = login.partition(":")
    service, number = _path(parts, sentinel, refuse)
    return RedisAddress(
        shown=shown,
        scheme=parts.scheme,
        servers=() if unix else _servers(where, SENTINEL_PORT if sentinel else PORT, sentinel, refuse),
        socket=unquote(parts.path) if unix else "",
        service=service,
        db=_number(number, options, refuse),
        user=unquote(user),
        secret=secret_of(unquote(given), password, options, refuse),
        tls=tls_of(options, refuse) if tls else None,
        sentinel_user=options.get("sentinel_user", ""),
        sentinel_secret=Secret(file=options.get("sentinel_password_file", "")),
    )


def _parts(url: str, shown: str, refuse: ErrorFor) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidSetting(f"{shown!r} is not an address: {error}") from None
    if parts.scheme not in SCHEMES:
        raise refuse(
            "use redis://HOST:PORT/NUMBER, redis+sentinel://HOST:PORT,HOST:PORT/NAME/NUMBER (with TLS: rediss://…, "
            "rediss+sentinel://…) or unix:///PATH"
        )
    if parts.netloc.count("@") > 1:
        raise refuse("write an @ in a user name or password as %40")
    if parts.fragment:
        raise refuse("write a # in a password as %23")
    if parts.scheme == "unix" and (not parts.path.startswith("/") or parts.netloc.rpartition("@")[2]):
        raise refuse("the path of a socket must be absolute: unix:///run/redis.sock")
    return parts


def _path(parts: SplitResult, sentinel: bool, refuse: ErrorFor) -> tuple[str, str]:
    """Return the name of the service, and the database number as text."""
    if parts.scheme == "unix":
        return "", ""
    path = parts.path.strip("/")
    if not sentinel:
        return "", path
    service, _, number = path.partition("/")
    if not service:
        raise refuse("the path must name the service that the Sentinels watch: …/mymaster/0")
    return unquote(service), number


def _number(text: str, options: Mapping[str, str], refuse: ErrorFor) -> int:
    text = options.get("db", text) or "0"
    if not (text.isascii() and text.isdigit()):
        where = "db" if "db" in options else "the text after the /"
        raise refuse(f"{where} must be a database number, got {text[:40]!r}")
    return int(text[:9])


def _servers(text: str, port: int, several: bool, refuse: ErrorFor) -> tuple[tuple[str, int], ...]:
    found = text.split(",") if several else [text]
    return tuple(_server(one.strip(), port, refuse) for one in found)


def _server(text: str, default: int, refuse: ErrorFor) -> tuple[str, int]:
    """Return host and port of `HOST`, `HOST:PORT` or `[IPv6]:PORT`; without a host it is localhost."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(default)
    if "," in host:
        raise refuse("several hosts need Sentinels: redis+sentinel://HOST,HOST/NAME")
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise refuse(f"a port must be 1 to 65535, got {port[:20]!r}")
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare and not host.startswith("["):
        raise refuse("write an IPv6 address in brackets: redis://[::1]:6379")
    return bare or "localhost", int(port)
