"""How many promises of the seams each implementation was held to, and how it went: counted in a real run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

SUITES = Path(__file__).parents[1] / "integration" / "contracts"
HEAD = "| contract suite | passed | not of this kind | failed |\n|---|--:|--:|--:|"


def contract_table() -> tuple[str, int]:
    """Run the contract suites; return the table and how many tests failed."""
    with tempfile.TemporaryDirectory(prefix="contracts") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", str(SUITES)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        counts = counted(report)
    rows = [
        f"| {suite} | {count['passed']} | {count['skipped']} | {count['failed']} |"
        for suite, count in sorted(counts.items())
    ]
    return "\n".join([HEAD, *rows]), sum(count["failed"] for count in counts.values())


def counted(report: Path) -> dict[str, Counter[str]]:
    """Return for each suite how many tests passed, were skipped and failed."""
    counts: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        module, _, suite = case.get("classname", "").rpartition(".")
        seam = module.rpartition("test_")[2]
        name = f"{seam}: {suite.removeprefix('Test')}"
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts.setdefault(name, Counter())[outcome] += 1
    return counts
