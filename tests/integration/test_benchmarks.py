"""The benchmark runs and says all that it is meant to say; how fast anything is, no test asserts."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import chart, processes, report
from benchmarks.measures import Measure, Samples, percentile
from tests import services

NEEDS_PROC = {
    Measure.EXECUTE_CPU_PARENT,
    Measure.EXECUTE_CPU_CHILDREN,
    Measure.WORKER_MEMORY,
    Measure.CHILD_MEMORY,
    Measure.WORKER_MEMORY_AFTER,
}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_quick_run_has_a_row_for_every_measure(kafka_url: str, redis_url: str, tmp_path: Path) -> None:
    drawing = tmp_path / "ratios.svg"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--tasks", "300", "--svg", str(drawing)],
        env={**os.environ, services.KAFKA_VARIABLE: kafka_url, services.REDIS_VARIABLE: redis_url},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = {measure.value.title for measure in Measure if processes.AVAILABLE or measure not in NEEDS_PROC}
    assert rows(done.stdout) == expected
    assert ET.parse(drawing).getroot().tag.endswith("svg")


def test_a_ratio_is_that_of_each_round_and_the_median_of_all() -> None:
    samples = Samples()
    for raw, ours in ((100.0, 50.0), (10.0, 8.0), (200.0, 140.0)):
        samples.add(Measure.SUBMIT_MANY, "raw", raw)
        samples.add(Measure.SUBMIT_MANY, "yadtq", ours)
    assert samples.ratio(Measure.SUBMIT_MANY) == (0.7, 0.5, 0.8)
    (row,) = report.table(samples)[2:]
    assert row.endswith("| 100 tasks/s (10.0 to 200) | 50.0 tasks/s (8.00 to 140) | **0.70** (0.50 to 0.80) |")


def test_a_bar_is_longer_where_less_is_better_and_there_is_less() -> None:
    samples = Samples()
    samples.add(Measure.ROUND_TRIP_50, "raw", 2.0)
    samples.add(Measure.ROUND_TRIP_50, "yadtq", 4.0)
    (bar,) = chart.bars(samples)
    assert (bar.ratio, bar.share.middle) == (2.0, 0.5)


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(1, 301)]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (150.0, 297.0)


def rows(printed: str) -> set[str]:
    """The first column of the table, without its heading."""
    table = [line for line in printed.splitlines() if line.startswith("| ")]
    return {line.split("|")[1].strip() for line in table[1:]}
