"""Plugins import public names of yadtq_core only: everything else may change with every release."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import yadtq_core
from yadtq_core import plugin

ROOT = Path(__file__).parents[2]
NAMES = ("cli", "errors", "interfaces", "local_stack", "plugin", "settings", "testing", "wire")
PUBLIC = {"yadtq_core", *(f"yadtq_core.{name}" for name in NAMES)}
FILES = sorted([*ROOT.glob("yadtq_builtin_tasks/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])


def imported(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of what a file imports from the core; the name is "" for a whole module."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((one.name, "") for one in node.names if one.name.split(".")[0] == "yadtq_core")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "yadtq_core":
            yield from ((node.module, one.name) for one in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_plugin_imports_public_names_only(file: Path) -> None:
    for module, name in imported(file):
        assert module in PUBLIC, f"{file}: {module} is not public"
        listed = {"yadtq_core": yadtq_core.__all__, "yadtq_core.plugin": plugin.__all__}.get(module)
        assert listed is None or not name or name in listed, f"{file}: {name} is not public"


def test_there_are_plugins_to_look_at() -> None:
    assert {file.relative_to(ROOT).parts[1] for file in FILES if file.is_relative_to(ROOT / "plugins")} >= {
        "yadtq_crypt",
        "yadtq_msgpack",
    }
    assert any(list(imported(file)) for file in FILES)
