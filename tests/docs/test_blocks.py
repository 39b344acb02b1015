"""Every block of code in README.md and docs/ is run, as a reader would, or is listed here with the reason why not."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from configparser import RawConfigParser
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from ruamel.yaml import YAML

from tests.docs.pages import ROOT, RUN, Block, blocks
from tests.docs.terminal import Terminal

CANNOT_RUN = {
    "make setup": "it makes the environment that this test runs in",
    "make demo": "it makes that environment too; the demo has its tests elsewhere",
    "make test": "this test is a part of it",
    ". .venv/bin/activate": "there is no environment in the test's folder; its commands are on the path already",
    "python3 -m venv .venv && . .venv/bin/activate": "an environment like that is made for the page, by links",
    "pip install PATH/TO/yadtq pytest build hatchling": "the same; it would fetch what is here already",
    "docker compose up -d --wait": "it wants Docker; tests/unit/test_compose.py holds the file against its schema",
}
"""Commands that are not run, and why; the page need not show what they print."""


class Command(NamedTuple):
    """A line after `$ `, and what the page shows below it."""

    text: str
    shown: str
    line: int


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a console block."""
    typed, shown, at = "", "", 0
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            if typed:
                yield Command(typed, shown, at)
            typed, shown, at = line[2:], "", number
        elif typed.endswith("\\"):
            typed += "\n" + line
        else:
            assert typed, f"{block.place}: a console block begins with `$ `"
            shown += line + "\n"
    yield Command(typed, shown, at)


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_the_blocks_of_a_page(page: Path, kafka_url: str, redis_url: str, namespace: str, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    services = {"YADTQ_BROKER": kafka_url, "YADTQ_BACKEND": redis_url, "YADTQ_NAMESPACE": namespace}
    found = [*blocks(page), Block(page, 0, "end", "", "")]
    with Terminal(folder, services) as terminal:
        for block, following in pairwise(found):
            run(block, following, terminal)


def run(block: Block, following: Block, terminal: Terminal) -> None:
    """Do with a block what its language says."""
    if block.language == "test":
        tell(block, terminal)
    elif block.language == "console":
        type_all(block, terminal)
    elif block.file is not None:
        check_syntax(block)
        path = terminal.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    elif block.language == "python":
        script = terminal.folder / f"lines_{block.line}.py"
        script.write_text(block.text)
        terminal.type(f"python {script.name}", printed(following), block.place)
    else:
        check_syntax(block)


def printed(following: Block) -> str:
    """Return what the page says that a script prints."""
    return following.text if following.language == "text" and following.lead.endswith("prints:") else ""


def tell(block: Block, terminal: Terminal) -> None:
    """Do what a comment says that the reader does."""
    if block.text == "ctrl-C":
        terminal.interrupt()
    elif block.text == "no services":
        terminal.without_services()
    elif block.text.startswith("installs "):
        terminal.unblock(block.text.split()[1:])
    elif block.text == "a new environment":
        terminal.activate_new()
    else:
        pytest.fail(f"{block.place}: what is `{block.text}`?")


def type_all(block: Block, terminal: Terminal) -> None:
    """Type the commands of a block, but for those that are listed."""
    typed = list(commands(block))
    for number, command in enumerate(typed):
        if command.text not in CANNOT_RUN:
            asks = number + 1 < len(typed) and typed[number + 1].text == "echo $?"
            place = f"{block.page.relative_to(ROOT)}:{command.line}"
            terminal.type(command.text, command.shown, place, may_fail=asks)


def check_syntax(block: Block) -> None:
    """Raise for a block that is not of its language, or of one that this test does not know."""
    if block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "json":
        for line in block.text.splitlines():
            json.loads(line)
    elif block.language == "yaml":
        YAML(typ="safe").load(block.text)
    elif block.language == "ini":
        RawConfigParser(strict=False).read_string(block.text)
    elif block.language == "python":
        compile(block.text, block.place, "exec")
    else:
        assert block.language == "text", f"{block.place}: how is a block of {block.language or 'nothing'} checked?"


def test_blocks_that_cannot_run_still_exist() -> None:
    typed = {c.text for page in RUN for block in blocks(page) if block.language == "console" for c in commands(block)}
    assert sorted(set(CANNOT_RUN) - typed) == []
