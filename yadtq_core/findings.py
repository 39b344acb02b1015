"""What `yadtq doctor` says of one thing it looked at: how grave it is, what was found, and what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How grave a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Tasks are safe; somebody should look at it."""
    PROBLEM = "problem"
    """Tasks or results may be lost, wait for ever, or cannot be submitted."""


class Finding(NamedTuple):
    """One thing that was looked at. `remedy` is one line that says what to do, empty where all is well."""

    check: str
    level: Level
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Return a finding that somebody should look at."""
    return Finding(check, Level.WARNING, found, remedy)


def problem(check: str, found: str, remedy: str) -> Finding:
    """Return a finding that endangers tasks."""
    return Finding(check, Level.PROBLEM, found, remedy)


def some(count: int, noun: str) -> str:
    """Return a number with its noun: `1 worker`, `2 workers`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
