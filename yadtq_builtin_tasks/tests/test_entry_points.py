"""The five tasks are found by their entry points, under their plain names, without being imported."""

import subprocess
import sys

import pytest

from yadtq_core.plugin.registry import Registry

NAMES = ["add", "mul", "sleep", "slow_task", "sub"]


def test_all_five_are_found_and_loaded() -> None:
    registry = Registry()
    assert set(NAMES) <= set(registry.names())
    for name in NAMES:
        assert registry.name_of(registry.get(name)) == name
    assert [row.error for row in registry.describe() if row.name in NAMES] == [None] * 5


@pytest.mark.slow
def test_their_names_are_known_without_importing_them() -> None:
    code = (
        "import sys; from yadtq_core.plugin.registry import Registry; assert Registry().known('add'); "
        "assert not any(name.startswith('yadtq_builtin_tasks') for name in sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
