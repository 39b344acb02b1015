"""The whole table: every case tried, held against what it must answer, and shown."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.answers import asking, plugin, service, setting, submitting
from tests.answers.bed import TASKS, Answer, Bed, Case, bed
from yadtq_core.cli.output import escape


def _place(case: Case) -> tuple[bool, int]:
    """Return what sorts a case by its number in the catalogue, those of services last."""
    return not case.row.isdigit(), int(case.row) if case.row.isdigit() else 0


CASES = sorted((*submitting.CASES, *asking.CASES, *setting.CASES, *plugin.CASES, *service.CASES), key=_place)
AT_A_TIME = 4
"""Most of a case is the start of programs, some of it waiting for what will not come."""


class Tried(NamedTuple):
    """The answer to a case, its duration, and the faults found in it."""

    case: Case
    answer: Answer
    seconds: float
    faults: list[str]


class Beds:
    """Two beds: in one of them nothing may be left of any case."""

    def __init__(self, clean: Bed, written: Bed) -> None:
        self.clean = clean
        self.written = written

    def attempt(self, case: Case) -> Tried:
        """Try one case."""
        began = time.monotonic()
        answer = case.ask(self.written if case.writes else self.clean)
        seconds = time.monotonic() - began
        return Tried(case, answer, seconds, list(faults(case, answer, seconds)))

    def left(self) -> list[str]:
        """Return what cases have left that must leave nothing: keys, and messages as the doctor sees them."""
        shown = self.clean.run("doctor").out
        messages = [] if "the group is 0 messages behind" in shown else [shown]
        return [*self.clean.records(), *messages]

    def shown(self, tried: Tried) -> str:
        """Return the lines that matter of an answer, without what differs from run to run."""
        found = re.search(tried.case.text, tried.answer.text)
        start, end = found.span() if found else (0, len(tried.answer.text))
        text = tried.answer.text
        whole = text[text.rfind("\n", 0, start) + 1 : (text.find("\n", end) + 1 or len(text) + 1) - 1]
        for one in (self.clean, self.written):
            whole = whole.replace(str(one.folder), "…").replace(one.namespace, "main")
        whole = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "ID", whole.replace(str(TASKS), "…"))
        whole = re.sub(r"((?:127\.0\.0\.1|localhost)['\"]?[:,] ?)\d{2,}", r"\1PORT", whole)
        return " / ".join(line.removeprefix("Error: ") for line in whole.splitlines())


def faults(case: Case, answer: Answer, seconds: float) -> Iterator[str]:
    """Yield what is wrong with an answer."""
    if answer.code != case.code:
        yield f"exit code {answer.code}, not {case.code}"
    if not re.search(case.text, answer.text):
        yield f"no {case.text!r}"
    if "Traceback (most recent call last)" in answer.text:
        yield "a traceback"
    if any(ord(character) < 32 and character != "\n" for character in answer.text):
        yield "a control character"
    if seconds > case.within:
        yield f"{seconds:.0f} s, not within {case.within:g}"


@contextmanager
def beds(folder: Path, kafka_url: str) -> Iterator[Beds]:
    """Yield the beds; end what runs in them afterwards."""
    name = f"a{secrets.token_hex(3)}"
    for part in ("clean", "written"):
        (folder / part).mkdir()
    with (
        bed(folder / "clean", kafka_url, f"{name}c") as clean,
        bed(folder / "written", kafka_url, f"{name}x") as written,
    ):
        yield Beds(clean, written)


@contextmanager
def under_way(tried_in: Beds, cases: Iterable[Case]) -> Iterator[dict[Case, Future[Tried]]]:
    """Begin to try cases, a few at a time; yield where each one's outcome will be. The slowest go first."""
    with ThreadPoolExecutor(AT_A_TIME, "answers") as pool:
        yield {case: pool.submit(tried_in.attempt, case) for case in sorted(cases, key=lambda case: -case.within)}


def row(tried_in: Beds, tried: Tried) -> str:
    """Return one row of the Markdown table."""
    case = tried.case
    place = case.row if case.row == "service" else f"№ {case.row}"
    cells = [place, case.name, f"`{case.done}`", str(tried.answer.code), tried_in.shown(tried)[:300]]
    if tried.faults:
        cells[3] += " **wrong**"
        cells[4] += " — " + "; ".join(tried.faults)
    return "| " + " | ".join(escape(cell).replace("|", "\\|") for cell in cells) + " |"
