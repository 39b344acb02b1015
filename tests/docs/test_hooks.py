"""docs/hooks.md is held against hookspecs.py, its examples against what they are of, its users against their code."""

from __future__ import annotations

import inspect
import re

import pytest

from tests.docs.pages import ROOT
from yadtq_core.plugin import hookspecs

PAGE = (ROOT / "docs" / "hooks.md").read_text("utf-8")
HOOKS = [name for name in vars(hookspecs) if name.startswith("yadtq_")]
SECTIONS = dict(re.findall(r"^### (yadtq_\w+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_every_hook_has_its_section_and_every_section_its_hook() -> None:
    assert sorted(SECTIONS) == sorted(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_the_signature_is_the_hooks_own(hook: str) -> None:
    signature = inspect.signature(getattr(hookspecs, hook))
    parameters = ", ".join(f"{one.name}: {one.annotation}" for one in signature.parameters.values())
    assert f"`{hook}({parameters}) -> {signature.return_annotation}`" in SECTIONS[hook]


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_implements_the_hook(hook: str) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", SECTIONS[hook], re.MULTILINE | re.DOTALL)
    assert f"@hookimpl\n    def {hook}(" in example


@pytest.mark.parametrize("hook", HOOKS)
def test_its_kind_and_its_first_party_users_are_true(hook: str) -> None:
    kind, _, _, _, users = (cell.strip() for cell in SECTIONS[hook].split("|---|\n| ")[1].split("\n")[0].split("|")[:5])
    assert (kind == "event") == (hook in hookspecs.EVENTS)
    named = re.findall(r"yadtq_\w+|the core", users)
    assert named, "a hook without a first-party user is not shipped"
    for user in named:
        folder = ROOT / "yadtq_core" if user == "the core" else ROOT / "plugins" / user / "src"
        files = [folder / "plugin" / "defaults.py"] if user == "the core" else list(folder.rglob("*.py"))
        assert any(f"def {hook}(" in file.read_text("utf-8") for file in files), f"{user} has no {hook}"
