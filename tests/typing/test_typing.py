"""mypy and pyright know a task's arguments and result through submit, call and the handle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).with_name("sample.py")
ROOT = SAMPLE.parents[2]
STRICT = {
    "typeCheckingMode": "strict",
    "enableTypeIgnoreComments": False,
    "reportUnnecessaryTypeIgnoreComment": "error",
    "reportUnusedExpression": False,
    "pythonVersion": "3.11",
}


def check(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_mypy_finds_what_the_sample_says() -> None:
    pytest.importorskip("mypy")
    assert "no issues found in 1 source file" in check("mypy", "--strict", str(SAMPLE))


def test_pyright_finds_what_the_sample_says(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    project = tmp_path / "pyrightconfig.json"
    project.write_text(
        json.dumps({**STRICT, "include": [os.path.relpath(SAMPLE, tmp_path)], "extraPaths": [str(ROOT)]})
    )
    found = json.loads(check("pyright", "-p", str(project), "--pythonpath", sys.executable, "--outputjson"))
    assert found["summary"]["filesAnalyzed"] == 1, "pyright passes over an include that it does not like"
