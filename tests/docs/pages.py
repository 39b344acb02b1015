"""The Markdown pages as data: their blocks of code, headings, links, and the directives for the tests in comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
RUN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""The pages whose blocks are run."""
LINKED = [*RUN, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"))]
LINKED += sorted([*ROOT.glob("*/README.md"), *ROOT.glob("plugins/*/README.md"), *ROOT.glob("examples/*/README.md")])
"""The pages whose links are followed; one may stand here twice."""

_FENCE = re.compile(r"```(\w*)\s*$")
_NAMED = re.compile(r"`([\w./-]+\.\w+)`:$")
_TOLD = re.compile(r"<!-- test: (.+) -->$")
_HEADING = re.compile(r"(#+) (.+?)\s*$")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A block of code, or (`language` is "test") a comment that says what a person does here.

    `line` is its first, from 1; `lead` is the last line of text before it.
    """

    page: Path
    line: int
    language: str
    text: str
    lead: str

    @property
    def file(self) -> str | None:
        """The file that the block is, where the text before it ends with `NAME`: in backticks."""
        found = _NAMED.search(self.lead)
        return found[1] if found else None

    @property
    def place(self) -> str:
        """The page and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    lead, language, begun, inside = "", None, 0, []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if language is not None and line.rstrip() == "```":
            yield Block(page, begun, language, "\n".join(inside) + "\n", lead)
            language, lead = None, ""
        elif language is not None:
            inside.append(line)
        elif fence:
            language, begun, inside = fence[1], number, []
        elif told := _TOLD.match(line):
            yield Block(page, number, "test", told[1], lead)
        elif line.strip():
            lead = line.rstrip()
    assert language is None, f"{page}:{begun}: the block has no end"


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> list[str]:
    """Return the text of a page's headings, as written."""
    return [found[2] for line in prose(page).splitlines() if (found := _HEADING.match(line))]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    found: dict[str, int] = {}
    for heading in headings(page):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        times = found.get(anchor, 0)
        found[anchor] = times + 1
        if times:
            found[f"{anchor}-{times}"] = 1
    return set(found)


def links(page: Path) -> list[str]:
    """Return where a page's links lead."""
    return _LINK.findall(prose(page))
