"""Tables of the pages are tables when they are rendered: no row outside of one, no row with a cell too many."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.docs.pages import LINKED, ROOT

BAR = re.compile(r"(?<!\\)\|")
SPLIT = "| a | b |\n|---|---|\n| 1 | 2 |\n\n| 3 | 4 |\n"
LONG = "| a | b |\n|---|---|\n| 1 | 2 | 3 |\n"


def rows(text: str) -> dict[int, str]:
    """Return the lines outside of code that are written as a row of a table, by their number from 0."""
    code = {line for one in parsed(text, "fence") for line in one}
    lines = enumerate(text.splitlines())
    return {number: line for number, line in lines if line.startswith("|") and number not in code}


def parsed(text: str, kind: str) -> list[range]:
    """Return the lines of each part of this kind."""
    tokens = MarkdownIt().enable("table").parse(text)
    return [range(*token.map) for token in tokens if token.type == kind and token.map]


def mistakes(text: str) -> list[str]:
    """Return the rows that are in no table, and those that have more or fewer cells than the table's first."""
    found, inside = rows(text), set[int]()
    wrong = []
    for table in parsed(text, "table_open"):
        inside.update(table)
        wrong += [found[n] for n in table if len(BAR.findall(found[n])) != len(BAR.findall(found[table[0]]))]
    return wrong + [line for number, line in found.items() if number not in inside]


@pytest.mark.parametrize("page", sorted(set(LINKED)), ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_whole(page: Path) -> None:
    assert mistakes(page.read_text("utf-8")) == []


def test_what_is_wrong_is_found() -> None:
    assert mistakes(SPLIT) == ["| 3 | 4 |"]
    assert mistakes(LONG) == ["| 1 | 2 | 3 |"]
    assert mistakes("```text\n| no table\n```\n") == []
