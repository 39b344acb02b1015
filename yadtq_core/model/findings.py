"""Findings: the results of the checks of `yadtq doctor`."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Tasks are safe, but the installation needs attention."""
    PROBLEM = "problem"
    """Tasks or results may be lost, may wait without end, or cannot be submitted."""


class Finding(NamedTuple):
    """The result of one check of `yadtq doctor`: `remedy` is one line that says what to do, empty for OK."""

    check: str
    level: Level
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Return a finding that needs attention while tasks are safe."""
    return Finding(check, Level.WARNING, found, remedy)


def problem(check: str, found: str, remedy: str) -> Finding:
    """Return a finding that endangers tasks."""
    return Finding(check, Level.PROBLEM, found, remedy)


def some(count: int, noun: str) -> str:
    """Return a number with its noun: `1 worker`, `2 workers`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
