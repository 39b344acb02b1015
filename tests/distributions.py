"""Installed distributions for tests of plugins: a module and its metadata, on the Python path for a while."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from yadtq_core import installed


class Distributions:
    """A folder of distributions that count as installed until the `with` ends."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
        self._modules: list[str] = []

    def add(
        self,
        name: str,
        version: str,
        code: str,
        *,
        tasks: Mapping[str, str] | None = None,
        hooks: Mapping[str, str] | None = None,
        commands: Mapping[str, str] | None = None,
    ) -> None:
        """Install distribution `name` (say acme-images) with the module acme_images and its entry points."""
        module = write_distribution(self._folder, name, version, code, tasks=tasks, hooks=hooks, commands=commands)
        self._modules.append(module)
        _forget()

    def __enter__(self) -> Self:
        _forget()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module in self._modules:
            sys.modules.pop(module, None)
        _forget()


def write_distribution(
    folder: Path,
    name: str,
    version: str,
    code: str,
    *,
    tasks: Mapping[str, str] | None = None,
    hooks: Mapping[str, str] | None = None,
    commands: Mapping[str, str] | None = None,
) -> str:
    """Write a distribution of one module into a folder as an installer would; return the module's name."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    metadata = folder / f"{module}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = {"yadtq.tasks": tasks or {}, "yadtq.plugins": hooks or {}, "yadtq.commands": commands or {}}
    (metadata / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
            for group, entries in groups.items()
        )
    )
    return module


def _forget() -> None:
    installed.entry_points.cache_clear()
    installed.blocked_entry_points.cache_clear()
