"""The generated parts of the pages are what `make docs` writes, and every command has its place in docs/cli.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs import generate
from tests.docs.pages import ROOT, RUN
from yadtq_core import YadtqError, errors
from yadtq_core.settings import ENVIRONMENT


@pytest.mark.parametrize("page", RUN[1:], ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text("utf-8")
    assert generate.generated(text) == text, "run `make docs`"


def test_every_command_is_described() -> None:
    text = (ROOT / "docs/cli.md").read_text("utf-8")
    assert [path for path in generate.commands() if f"<!-- generated: help {path} -->" not in text] == []


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [path for path in generate.commands() if f"`yadtq {path}" not in text] == []


def test_every_setting_has_a_meaning() -> None:
    assert set(generate.meanings()) == set(ENVIRONMENT)


def test_the_exit_codes_are_those_of_the_errors() -> None:
    text = (ROOT / "docs/cli.md").read_text("utf-8")
    codes = {one.exit_code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, YadtqError)}
    assert [code for code in sorted(codes) if f"\n| {code} |" not in text] == []
