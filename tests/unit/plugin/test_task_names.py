"""The name by which binding hooks see a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.distributions import Distributions
from yadtq_core import Task, hookimpl
from yadtq_core.testing import Engine

CODE = """
from yadtq_core import task

@task(retries=2)
def resize(size: int) -> int:
    return size * 2
"""


class Listener:
    """Notes the tasks that it is asked about."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    @hookimpl
    def yadtq_task_context(self, task: Task[..., Any]) -> None:
        """Note the task."""
        self.asked.append((task.name, task.retry.retries))


def test_binding_hooks_see_the_name_that_an_entry_point_gave_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    with Distributions(tmp_path / "site", monkeypatch) as site:
        site.add(
            "acme-images", "1.0", CODE, tasks={"acme.resize": "acme_images:resize", "acme.twice": "acme_images:resize"}
        )
        with Engine(listener) as engine:
            handles = [engine.client.submit(name, 2) for name in ("acme.resize", "acme.twice")]
            engine.run_until_idle()
            assert [handle.result(timeout=0) for handle in handles] == [4, 4]
    assert sorted(listener.asked) == [("acme.resize", 2), ("acme.twice", 2)]
