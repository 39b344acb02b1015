"""The command: `python -m benchmarks [--tasks N] [--rounds N] [--svg FILE] [--quick]`, or `make bench`.

The table goes to standard output, the progress to standard error. Kafka and Redis are those of YADTQ_TEST_KAFKA and
YADTQ_TEST_REDIS if these are set, else local ones that end with the run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import chart, report
from benchmarks.rounds import Run, Scale
from benchmarks.services import REDIS_VARIABLE, running
from yadtq_core.errors import YadtqError

TASKS, ROUNDS = 20_000, 3
MOST_TASKS = 100_000
"""With more, the worker is paused for so long that its group removes it."""
QUICK_TASKS, QUICK_ROUNDS = 500, 1
_SHARED = f"The Redis of {REDIS_VARIABLE} may have other clients; their script calls are counted too."
_BARS = "Longer is better; the dashed line is raw. Right: yadtq ÷ raw. The thin line is the spread."


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit code."""
    given = _parser().parse_args(arguments)
    tasks = given.tasks or (QUICK_TASKS if given.quick else TASKS)
    rounds = given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS)
    scale = _quick(tasks, rounds) if given.quick else _full(tasks, rounds)
    try:
        _measure(scale, given.svg)
    except (YadtqError, RuntimeError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, YadtqError) else 1
    return 0


def _full(tasks: int, rounds: int) -> Scale:
    return Scale(tasks, rounds, single=1_000, threaded=8_000, round_trips=300)


def _quick(tasks: int, rounds: int) -> Scale:
    return Scale(tasks, rounds, single=50, threaded=200, round_trips=20)


def _measure(scale: Scale, svg: Path | None) -> None:
    load = report.load()
    with ExitStack() as at_end:
        services = at_end.enter_context(running(_tell))
        folder = Path(at_end.enter_context(TemporaryDirectory(prefix="yadtq-bench-logs-")))
        run = Run(services, scale, folder, at_end, _tell)
        samples = run.measure()
        heading = report.heading(services.versions(), scale.rounds, scale.tasks, load)
    remarks = run.remarks if services.ours else [*run.remarks, _SHARED]
    print("\n".join([*heading, "", *report.table(samples), *(f"\n{remark}" for remark in remarks)]))
    if svg is not None:
        svg.write_text(chart.svg(chart.bars(samples), _BARS), "utf-8")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure yadtq beside the raw limit.")
    parser.add_argument("--tasks", type=_number(MOST_TASKS), help=f"tasks of each round in bulk (default {TASKS:,})")
    parser.add_argument("--rounds", type=_number(100), help=f"rounds; the table has their medians (default {ROUNDS})")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw the ratios into this file")
    parser.add_argument(
        "--quick", action="store_true", help="one round with few tasks: a test that it runs, without useful rates"
    )
    return parser


class _number:  # noqa: N801  argparse names the type in its messages
    """A whole number from 1 to `most`."""

    def __init__(self, most: int) -> None:
        self._most = most

    def __call__(self, text: str) -> int:
        number = int(text)
        if not 1 <= number <= self._most:
            raise argparse.ArgumentTypeError(f"takes 1 to {self._most:,}, got {text}")
        return number

    def __repr__(self) -> str:
        return "whole number"


if __name__ == "__main__":
    sys.exit(main())
