"""Every text in the code, with `…` for each inserted value: each message on a page must match one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.docs.pages import ROOT

LEAST = 6
"""Characters of a fixed part that say something."""


@cache
def texts() -> frozenset[str]:
    """Return the texts of the core and the built-in tasks."""
    files = [
        *ROOT.glob("yadtq_core/**/*.py"),
        *ROOT.glob("yadtq_builtin_tasks/src/**/*.py"),
        *ROOT.glob("plugins/yadtq_local/src/**/*.py"),
    ]
    found = {text for file in files for text in _texts_of(ast.parse(file.read_text("utf-8")))}
    return frozenset(found | {_flat(file.read_text("utf-8")) for file in ROOT.glob("yadtq_core/**/*.lua")})


def occurs(message: str) -> bool:
    """Return whether one text of the code has all fixed parts of a message, in their order."""
    parts = [_flat(part).strip(" :;,") for part in message.split("…")]
    parts = [part for part in parts if len(part) >= LEAST]
    if not parts:
        return False
    pattern = re.compile(".*".join(map(re.escape, parts)))
    return any(pattern.search(text) for text in texts())


def _texts_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield _flat(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = [one.value if isinstance(one, ast.Constant) else "…" for one in node.values]
            yield _flat("".join(map(str, parts)))


def _flat(text: str) -> str:
    return " ".join(text.replace("%s", "…").replace("%d", "…").split())
