"""The rows of the fault matrix that always run, each with 200 tasks: `make faults` runs all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import structs

from verification.faults.row import Row, run
from verification.faults.rows import ROWS
from verification.faults.stage import Stage

ALWAYS = ("W1", "W3", "K1", "K2", "K7", "R1", "R2", "R4", "C1")
TASKS = 200
OUTAGE_SECONDS = 8.0
PATIENCE = 3.0
"""The time limits of a row are for a machine that does nothing else: `make faults` keeps them. Here they are longer,
because other programs may take the processor; all other rules are the same."""


def patient(row: Row) -> Row:
    """Return the row with longer time limits."""
    limits = {name: getattr(row, name) for name in ("gap", "restart", "handover")}
    return structs.replace(row, **{name: PATIENCE * limit for name, limit in limits.items() if limit is not None})


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", [row for row in ROWS if row.id in ALWAYS], ids=lambda row: row.id)
def test_nothing_is_lost_and_every_invariant_holds(row: Row, stage: Stage, tmp_path: Path) -> None:
    result = run(patient(row), stage, tmp_path / row.id, tasks=TASKS, outage=OUTAGE_SECONDS)
    assert not result.trouble, f"{result.word}; {result.history}"
    assert result.said == {}, f"{result.word}; {result.history}"
    assert result.tasks >= TASKS


def test_the_rows_that_always_run_are_there() -> None:
    assert set(ALWAYS) <= {row.id for row in ROWS}


def test_the_reliability_page_has_every_row_with_its_title() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text("utf-8")
    shown = re.findall(r"^\| ([WKRC]\d+b?) \| (.*?) \| \d", page, re.MULTILINE)
    assert shown == [(row.id, row.title) for row in ROWS]
