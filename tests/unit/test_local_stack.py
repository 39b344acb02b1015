"""A local stack is found from below its folder, and believed only where a Redis of our own answers."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from yadtq_core import local_stack
from yadtq_core.settings import load

Answering = Callable[[bytes], str]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Return the address of a server that gives the same answer to every request."""
    servers: list[socket.socket] = []

    def make(answer: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threading.Thread(target=serve, args=(server, answer), daemon=True).start()
        return f"redis://127.0.0.1:{server.getsockname()[1]}"

    yield make
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def serve(server: socket.socket, answer: bytes) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.recv(100)
            connection.sendall(answer)


def tell(folder: Path, content: object) -> Path:
    """Write what a stack would have written there."""
    file = folder / local_stack.FOLDER / local_stack.FILE
    file.parent.mkdir()
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_the_nearest_one_above_is_found(tmp_path: Path, answering: Answering) -> None:
    near = tmp_path / "a"
    below = near / "b" / "c"
    below.mkdir(parents=True)
    backend = answering(b"+PONG\r\n")
    tell(tmp_path, {"broker": "kafka://far:1", "backend": backend})
    tell(near, {"broker": "kafka://near:1", "backend": backend})
    assert local_stack.find(below) == ("kafka://near:1", backend, near)
    assert local_stack.find(tmp_path) == ("kafka://far:1", backend, tmp_path)


@pytest.mark.parametrize("answer", [b"-MISCONF the disk is full\r\n", b"-LOADING\r\n", b"-NOAUTH\r\n"])
def test_a_stack_whose_store_is_in_trouble_is_used(tmp_path: Path, answering: Answering, answer: bytes) -> None:
    backend = answering(answer)
    tell(tmp_path, {"broker": "kafka://h:1", "backend": backend})
    assert local_stack.find(tmp_path) == ("kafka://h:1", backend, tmp_path)


def test_a_stack_whose_address_is_no_redis_is_ignored(tmp_path: Path, answering: Answering) -> None:
    tell(tmp_path, {"broker": "kafka://h:1", "backend": answering(b"HTTP/1.1 400\r\n")})
    assert local_stack.find(tmp_path) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not JSON",
        "[]",
        '{"broker": 1, "backend": 2}',
        '{"broker": "kafka://h:1"}',
        " " * 100_000,
        '{"broker": "kafka://h:1", "backend": "unix:///nowhere/at/all.sock"}',
        '{"broker": "kafka://h:1", "backend": "redis://127.0.0.1:none"}',
        '{"broker": "kafka://h:1", "backend": "redis://127.0.0.1:1"}',
    ],
)
def test_a_useless_stack_file_is_ignored(tmp_path: Path, content: str) -> None:
    tell(tmp_path, content)
    assert local_stack.find(tmp_path) is None


def test_a_stack_file_of_another_user_is_ignored(
    tmp_path: Path, answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(tmp_path, {"broker": "kafka://h:1", "backend": answering(b"+PONG\r\n")})
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert local_stack.find(tmp_path) is None


def test_a_folder_that_may_not_be_looked_into_has_no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refused)
    assert local_stack.find(tmp_path) is None


def test_a_stack_is_used_without_an_address_and_named(tmp_path: Path, answering: Answering) -> None:
    backend = answering(b"+PONG\r\n")
    tell(tmp_path, {"broker": "kafka://h:1", "backend": backend})
    settings, origins = load(environment={}, folder=tmp_path, found=local_stack.addresses_found)
    assert (settings.broker, settings.backend) == ("kafka://h:1", backend)
    assert origins["broker"] == origins["backend"] == f"local stack in {tmp_path}"


@pytest.mark.parametrize("name", ["broker", "backend"])
def test_one_address_given_anywhere_means_that_none_is_looked_for(
    tmp_path: Path, answering: Answering, name: str
) -> None:
    tell(tmp_path, {"broker": "kafka://h:1", "backend": answering(b"+PONG\r\n")})
    address = {"broker": "kafka://mine:9092", "backend": "redis://mine:6379/0"}[name]
    for given, environment in (({name: address}, {}), ({}, {f"YADTQ_{name.upper()}": address})):
        loaded = load(given, environment=environment, folder=tmp_path, found=local_stack.addresses_found)
        assert getattr(loaded.settings, name) == address
        assert not any(origin.startswith("local stack") for origin in loaded.origins.values())
