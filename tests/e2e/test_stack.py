"""`yadtq demo` and `yadtq dev`: nothing to install, found from below, and gone without a trace in every way to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until

SHOP = 'from yadtq_core import task\n\n\n@task\ndef price() -> int:\n    """Return it."""\n    return {}\n'


def clean_environment() -> dict[str, str]:
    """Return our environment without an address."""
    return {name: value for name, value in os.environ.items() if not name.startswith("YADTQ_")}


def yadtq(folder: Path, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "yadtq_core.cli", *arguments],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@contextmanager
def dev(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `yadtq dev` in this folder; end it if the test has not."""
    with (folder / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "yadtq_core.cli", "dev", *arguments],
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(20)


def logged(folder: Path) -> str:
    return (folder / "dev.log").read_text()


def pids_of(folder: Path) -> list[int]:
    """Return the processes that work in this folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes()
            if str(folder).encode() in command or str((place / "cwd").readlink()).startswith(str(folder)):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def test_the_demo_tells_its_story_and_ends_well(tmp_path: Path) -> None:
    told = yadtq(tmp_path, "demo", timeout=40)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "kill -9" in told.stdout
    assert "305 of 305 tasks ended, each exactly once in its record" in told.stdout
    assert "run 2" in told.stdout
    assert told.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_the_demo_cleans_up_when_it_is_interrupted(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "yadtq_core.cli", "demo"],
        env={**clean_environment(), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert demo.stdout is not None
    with demo.stdout as lines:
        assert any("300 more" in line for line in lines)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 130
    wait_until(lambda: pids_of(tmp_path) == [], "its processes are gone", 10)
    assert list(tmp_path.iterdir()) == []


def test_a_task_of_ones_own_is_run_found_from_below_and_started_anew_when_it_changes(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "shop.py").write_text(SHOP.format(1))
    with dev(tmp_path, "shop"):
        wait_until(lambda: "tasks: add" in logged(tmp_path), "the worker is up", 20)
        first = yadtq(below, "submit", "shop.price", "[]", "--wait", "--json", "--timeout", "20")
        assert json.loads(first.stdout)["result"] == 1
        assert first.stderr == f"using the local stack in {tmp_path}\n"
        (tmp_path / "shop.py").write_text(SHOP.format(20))
        wait_until(lambda: logged(tmp_path).count("tasks: add") == 2, "the worker was started anew", 20)
        second = yadtq(below, "submit", "shop.price", "[]", "--wait", "--json", "--timeout", "20")
        assert json.loads(second.stdout)["result"] == 20
        refused = yadtq(tmp_path, "dev")
        assert refused.returncode == 3
        assert "a local stack runs in" in refused.stderr


def test_a_module_that_breaks_is_told_once_and_runs_again_when_mended(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("this is not Python\n")
    with dev(tmp_path, "shop"):
        wait_until(lambda: "mend its module" in logged(tmp_path), "it is told", 20)
        (tmp_path / "shop.py").write_text(SHOP.format(7))
        wait_until(lambda: "tasks: add" in logged(tmp_path), "the worker is up", 20)
    assert logged(tmp_path).count("mend its module") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_whichever_way_it_ends_and_the_data_stay(tmp_path: Path, number: signal.Signals) -> None:
    with dev(tmp_path) as process:
        wait_until(lambda: "tasks: add" in logged(tmp_path), "the worker is up", 20)
        task_id = json.loads(yadtq(tmp_path, "submit", "add", "[1, 2]", "--wait", "--json").stdout)["task_id"]
        process.send_signal(number)
        process.wait(20)
        wait_until(lambda: pids_of(tmp_path) == [], "its processes are gone", 15)
    assert (tmp_path / ".yadtq" / "stack.json").exists() == (number == signal.SIGKILL)
    assert yadtq(tmp_path, "query", task_id).returncode == 3  # a stack that is gone is not believed
    with dev(tmp_path, "--workers", "0"):
        wait_until(lambda: "backend" in logged(tmp_path), "it is up again", 20)
        assert json.loads(yadtq(tmp_path, "query", task_id, "--json").stdout)["result"] == 3


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    with dev(tmp_path, "--workers", "0"):
        wait_until((tmp_path / ".yadtq" / "stack.json").exists, "the stack is up", 20)
        assert (tmp_path / ".yadtq").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / ".yadtq" / "stack.json").stat().st_mode & 0o777 == 0o600
