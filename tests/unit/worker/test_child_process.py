"""A child process as its worker sees it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from yadtq_core.child.pipe import Start
from yadtq_core.settings import Settings
from yadtq_core.worker.child_process import ChildProcess


def test_a_child_that_cannot_be_started_costs_no_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_to_be_had(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", none_to_be_had)
    before = _descriptors()
    for _ in range(3):
        with pytest.raises(BlockingIOError):
            ChildProcess(1, Start("w", 1, [], Settings()))
    assert _descriptors() == before


def _descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0  # noqa: PTH208  (names alone)
