"""Names on the pages exist: files, environment variables, commands, keys in Redis, rules, rows of the fault runs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from docs import generate
from tests.docs.pages import LINKED, ROOT
from verification.faults.checker import INVARIANTS
from verification.faults.rows import ROWS
from yadtq_core.backends.redis.keys import ShardKeys
from yadtq_core.settings import ENVIRONMENT

PAGES = sorted(set(LINKED))
PATHS = re.compile(r"`((?:yadtq_core|yadtq_builtin_tasks|plugins|verification|benchmarks|docs)/[\w./-]+\w/?)`")
VARIABLES = re.compile(r"\bYADTQ_[A-Z_]+[A-Z]\b")
COMMANDS = re.compile(r"(?:^\$ (?:\w+=\S+ )*|`)yadtq ([a-z]+(?: [a-z]+)?)", re.MULTILINE)
KEYS = re.compile(r"^.{36,}?  (\w+)(?::(?:ID|QUEUE|…))?(?:, (\w+)$|  +\w)", re.MULTILINE)
"""The keys on the right of the drawing: one a line with what it has, or two."""
FROM_PLUGINS = {"crypt", "metrics", "words", "images"}
"""Commands of first-party plugins and of the examples."""
EXAMPLES = "YADTQ_ACME"


@cache
def words_of_tests() -> set[str]:
    """Return the names of all test functions, as words."""
    return {name.replace("_", " ") for name in re.findall(r"def test_(\w+)", code())}


@cache
def code() -> str:
    """Return the text of all Python files."""
    return "\n".join(file.read_text("utf-8") for file in ROOT.glob("*/**/*.py") if ".venv" not in file.parts)


def rules() -> list[list[str]]:
    """Return the rows of the table of rules: the rule, its home, its tests."""
    table = (ROOT / "docs/protocol.md").read_text("utf-8").split("| held by |\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[1:]]


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
    page = (ROOT / "docs/protocol.md").read_text("utf-8")
    drawing = page.split("```text\n")[1].split("```")[0]
    assert {*ShardKeys.__slots__} - {"number"} <= {name for found in KEYS.findall(drawing) for name in found}
    hash_tag = ShardKeys("NAMESPACE", 0).open.replace(":0}", ":SHARD}").removesuffix("open")
    assert f"`{hash_tag}…`" in page


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule[0])
def test_the_home_and_the_tests_of_a_rule_exist(rule: list[str]) -> None:
    _, homes, held_by = rule
    paths = re.findall(r"`([\w/.]+)`", homes + held_by)
    assert [path for path in paths if not any(ROOT.glob(f"*/**/{path}"))] == []
    assert [name for name in re.findall(r"\*([\w ]+)\*", held_by) if name not in words_of_tests()] == []
    assert set(re.findall(r"\bI\d+\b", held_by)) <= set(INVARIANTS)
    assert re.search(r"`|\*|I\d", held_by)


def test_the_rows_of_reliability_are_those_of_the_fault_runs() -> None:
    text = (ROOT / "docs/reliability.md").read_text("utf-8")
    page = dict(re.findall(r"^\| ([A-Z]\d+b?) \| (.+?) \| ", text, re.MULTILINE))
    first = {row.id: (row.play.__doc__ or "").partition("\n\n")[0] for row in ROWS}
    assert page == {name: " ".join(text.split()).rstrip(".") for name, text in first.items()}
