"""The table of what came of the rows, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence

from verification.faults.row import Result

HEAD = ("row", "fault", "queue", "tasks", "accepted", "repeats", "recovery p50", "max", "checker")


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table, which a terminal shows well enough."""
    lines = [HEAD, *(_cells(result) for result in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD) - 1)]
    shown = [" | ".join(_padded(line, widths)) for line in lines]
    rule = "|".join(["-" * (width + 2) for width in widths] + ["---"])
    return "\n".join([f"| {shown[0]} |", f"|{rule}|", *(f"| {line} |" for line in shown[1:])])


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the cells at the widths of their columns; the last is as long as it is."""
    return [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]


def _cells(result: Result) -> tuple[str, ...]:
    most = max(result.recovery, default=None)
    return (
        result.id,
        result.title,
        result.peer,
        str(result.tasks or "-"),
        str(result.accepted or "-"),
        str(result.repeats) if result.tasks else "-",
        _seconds(result.p50),
        _seconds(most),
        result.word.replace("|", "/"),
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
