"""Formats the samples of a run as a Markdown table, with a line about machine and versions."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks.measures import Measure, Samples, Spread
from yadtq_core.settings import usable_cores

_DISTRIBUTIONS = ("yadtq", "kafka-python", "redis", "msgspec")


def table(samples: Samples) -> list[str]:
    """Return the rows of the table: medians, with minimum and maximum of the rounds in brackets."""
    rows = ["| measure | raw | yadtq | ratio |", "|---|--:|--:|--:|"]
    for measure in Measure:
        raw, ours = samples.spread(measure, "raw"), samples.spread(measure, "yadtq")
        if raw is not None or ours is not None:
            cells = [measure.value.title, *(_cell(side, measure.value.unit) for side in (raw, ours))]
            rows.append(f"| {' | '.join(cells)} | {_ratio(samples.ratio(measure))} |")
    return rows


def heading(services: Sequence[str], rounds: int, tasks: int, load: float) -> list[str]:
    """Return the lines above the table: date, machine and versions."""
    ours = [f"{name} {version(name)}" for name in _DISTRIBUTIONS]
    return [
        f"{date.today().isoformat()}; {rounds} rounds of {tasks:,} tasks; {usable_cores()} cores ({_processor()}), "
        f"load {load:.1f} at the start; {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {', '.join([*ours, *services])}.",
        "Medians of the rounds (minimum to maximum); the ratio is yadtq ÷ raw within each round.",
    ]


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def _cell(spread: Spread | None, unit: str) -> str:
    if spread is None:
        return "-"
    middle, least, most = (_number(value) for value in spread)
    return f"{middle} {unit}" if least == most else f"{middle} {unit} ({least} to {most})"


def _ratio(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    around = "" if spread.least == spread.most else f" ({spread.least:.2f} to {spread.most:.2f})"
    return f"**{spread.middle:.2f}**{around}"


def _number(value: float) -> str:
    """Return a number with about three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.4f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
