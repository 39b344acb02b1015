"""Names on the pages exist: files of this repository, environment variables, commands, keys in Redis."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from docs import generate
from tests.docs.pages import LINKED, ROOT
from yadtq_core.backends.redis.keys import ShardKeys
from yadtq_core.settings import ENVIRONMENT

PAGES = sorted(set(LINKED))
PATHS = re.compile(r"`((?:yadtq_core|yadtq_builtin_tasks|plugins|verification|benchmarks|docs)/[\w./-]+\w/?)`")
VARIABLES = re.compile(r"\bYADTQ_[A-Z_]+[A-Z]\b")
COMMANDS = re.compile(r"(?:^\$ (?:\w+=\S+ )*|`)yadtq ([a-z]+(?: [a-z]+)?)", re.MULTILINE)
KEYS = re.compile(r"^.{30,}?  (\w+):?(?:ID|…)?  +\w", re.MULTILINE)
FROM_PLUGINS = {"crypt", "metrics", "words", "images"}
"""Commands of first-party plugins and of the examples."""
EXAMPLES = "YADTQ_ACME"


@cache
def code() -> str:
    """Return the text of all Python files."""
    return "\n".join(file.read_text("utf-8") for file in ROOT.glob("*/**/*.py") if ".venv" not in file.parts)


def names(page: Path, pattern: re.Pattern[str]) -> set[str]:
    return set(pattern.findall(page.read_text("utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_exist(page: Path) -> None:
    assert [path for path in names(page, PATHS) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_variables_exist(page: Path) -> None:
    known = set(ENVIRONMENT.values())
    found = {name for name in names(page, VARIABLES) if not name.startswith(EXAMPLES)}
    sections = tuple(f"YADTQ_{section}_" for section in ("CRYPT", "MSGPACK", "OPENTELEMETRY", "PROMETHEUS", "SENTRY"))
    assert [name for name in found - known if not name.startswith(sections) and f'"{name}"' not in code()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    known = {*generate.commands(), *FROM_PLUGINS}
    tops = {command.split()[0] for command in known}
    groups = {command.split()[0] for command in known if " " in command}
    for command in names(page, COMMANDS):
        top = command.split()[0]
        assert (command if top in groups else top) in (known if top in groups else tops), command


def test_the_keys_of_the_protocol_are_those_of_redis() -> None:
    drawing = (ROOT / "docs/protocol.md").read_text("utf-8").split("```text\n")[1].split("```")[0]
    assert set(ShardKeys.__slots__) <= set(KEYS.findall(drawing))
