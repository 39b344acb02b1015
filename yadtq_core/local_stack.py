"""Finds the local stack of a folder, for clients and commands.

A program that runs a stack (`yadtq dev` of yadtq-local) writes `FOLDER/FILE` while it runs: a JSON object with `broker`
and `backend`, the two addresses. They are used only if the file belongs to this user and the backend answers.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = ".yadtq"
FILE = "stack.json"
_MAX_FILE_BYTES = 64 * 1024
_PING_SECONDS = 1.0


class Addresses(NamedTuple):
    """The addresses of a running stack and its folder."""

    broker: str
    backend: str
    folder: Path


def find(start: Path) -> Addresses | None:
    """Return the stack of the nearest folder at or above `start`, or None if none runs there and answers."""
    for folder in (start, *start.parents):
        file = folder / FOLDER / FILE
        if _there(file):
            return _believed(file, folder)
    return None


def addresses_found(start: Path) -> tuple[str, Mapping[str, str]] | None:
    """Return (origin, settings) of the stack at or above `start`, in the form that `settings.load` expects."""
    stack = find(start)
    if stack is None:
        return None
    return f"local stack in {stack.folder}", {"broker": stack.broker, "backend": stack.backend}


def _there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:
        return False  # a folder of another user without read access


def _believed(file: Path, folder: Path) -> Addresses | None:
    """Return the addresses in a stack's file if it belongs to this user and its backend answers."""
    try:
        if file.stat().st_uid != os.getuid() or file.stat().st_size > _MAX_FILE_BYTES:
            return None
        told: Any = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(told, Mapping):
        return None
    broker, backend = told.get("broker"), told.get("backend")
    if isinstance(broker, str) and isinstance(backend, str) and _answers(backend):
        return Addresses(broker, backend, folder)
    return None


def _answers(backend: str) -> bool:
    """True when a Redis answers at this local address."""
    scheme, _, place = backend.partition("://")
    try:
        if scheme == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_PING_SECONDS)
            with connection:
                connection.connect(place)
                return _pong(connection)
        host, _, port = place.partition(":")
        with socket.create_connection((host, int(port)), _PING_SECONDS) as connection:
            return _pong(connection)
    except (OSError, ValueError):
        return False


def _pong(connection: socket.socket) -> bool:
    """True when a Redis answers. An error reply (a full disk) counts: the command then shows the error itself."""
    connection.sendall(b"PING\r\n")
    answer = connection.recv(5)
    return answer == b"+PONG" or answer.startswith(b"-")
