"""`yadtq demo` and `yadtq dev`: start without installed services, are found from below, and leave no process."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until
from yadtq_local.crew import TOO_SOON_SECONDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("make_valkey"),  # it gives these tests the marker of tests that start a Valkey
]

SHOP = 'from yadtq_core import task\n\n\n@task\ndef price() -> int:\n    """Return it."""\n    return {}\n'


def clean_environment() -> dict[str, str]:
    """Return the environment without settings of yadtq."""
    return {name: value for name, value in os.environ.items() if not name.startswith("YADTQ_")}


def yadtq(folder: Path, *arguments: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
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
    """Run `yadtq dev` in this folder, and end it if the test has not."""
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
        process.wait(60)


def logged(folder: Path) -> str:
    return (folder / "dev.log").read_text()


def pids_of(folder: Path) -> list[int]:
    """Return the IDs of the processes that use this folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes()
            if str(folder).encode() in command or str((place / "cwd").readlink()).startswith(str(folder)):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def check_demo(told: subprocess.CompletedProcess[str]) -> None:
    """Assert that a demo printed all steps and no error."""
    assert told.returncode == 0, told.stdout + told.stderr
    assert "dies in the middle of slow_task" in told.stdout
    assert "305 of 305 tasks ended, each exactly once in its record" in told.stdout
    assert re.search(r"slow_task \[5\] +=\s5 +ran on (\w+), run 2 \((?!\1)\w+ was killed\)", told.stdout), told.stdout
    assert told.stdout.count("nothing was lost") == 1
    assert told.stderr == ""


def test_the_demo_succeeds(tmp_path: Path) -> None:
    check_demo(yadtq(tmp_path, "demo", timeout=100))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("kafka_url")  # skips if there is no Kafka
def test_the_demo_succeeds_on_a_real_kafka(tmp_path: Path) -> None:
    check_demo(yadtq(tmp_path, "demo", "--kafka", timeout=110))


def test_the_demo_ignores_settings_around_it_and_ends_at_once_on_ctrl_c(tmp_path: Path) -> None:
    around, temporary = tmp_path / "around", tmp_path / "temporary"
    around.mkdir()
    temporary.mkdir()
    (around / "yadtq.toml").write_text('imports = ["nowhere"]\nqueues = ["other"]\nbackend_password = "x"\n')
    ours, theirs = pty.openpty()
    demo = subprocess.Popen(
        [sys.executable, "-m", "yadtq_core.cli", "demo"],
        cwd=around,
        env={**clean_environment(), "YADTQ_QUEUES": "other", "TMPDIR": str(temporary), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    while b"dies in the middle of slow_task" not in seen:
        seen += os.read(ours, 1000)
    assert b"all tasks:" in seen
    assert len(pids_of(temporary)) > 3
    demo.send_signal(signal.SIGINT)
    assert demo.wait(30) == 130
    os.close(ours)
    wait_until(lambda: pids_of(temporary) == [], "its processes are gone")
    assert list(temporary.iterdir()) == []


def test_a_module_is_run_found_from_below_and_restarted_when_it_changes(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "shop.py").write_text(SHOP.format(1))
    with dev(tmp_path, "shop"):
        wait_until(lambda: "tasks: add" in logged(tmp_path), "the worker is up", 60)
        first = yadtq(below, "submit", "shop.price", "[]", "--wait", "--json", "--timeout", "60")
        assert json.loads(first.stdout)["result"] == 1
        assert first.stderr == f"using the local stack in {tmp_path}\n"
        (tmp_path / "shop.py").write_text(SHOP.format(20))
        wait_until(lambda: logged(tmp_path).count("tasks: add") == 2, "the worker restarted", 60)
        second = yadtq(below, "submit", "shop.price", "[]", "--wait", "--json", "--timeout", "60")
        assert json.loads(second.stdout)["result"] == 20
        refused = yadtq(tmp_path, "dev")
        assert refused.returncode == 3
        assert "a local stack runs in" in refused.stderr


def test_a_broken_module_is_reported_once_and_runs_again_when_corrected(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("this is not Python\n")
    with dev(tmp_path, "shop"):
        wait_until(lambda: "correct its module" in logged(tmp_path), "it is reported", 60)
        (tmp_path / "shop.py").write_text(SHOP.format(7))
        wait_until(lambda: "tasks: add" in logged(tmp_path), "the worker is up", 60)
    assert logged(tmp_path).count("correct its module") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_after_any_signal_and_the_data_stay(tmp_path: Path, number: signal.Signals) -> None:
    with dev(tmp_path) as process:
        wait_until(lambda: "tasks: add" in logged(tmp_path), "the worker is up", 60)
        task_id = json.loads(yadtq(tmp_path, "submit", "add", "[1, 2]", "--wait", "--json").stdout)["task_id"]
        process.send_signal(number)
        process.wait(60)
        wait_until(lambda: pids_of(tmp_path) == [], "its processes are gone")
    assert (tmp_path / ".yadtq" / "stack.json").exists() == (number == signal.SIGKILL)
    assert yadtq(tmp_path, "query", task_id).returncode == 3  # a stack that is gone is not believed
    with dev(tmp_path, "--workers", "0"):
        wait_until(lambda: "backend" in logged(tmp_path), "it is up again", 60)
        assert json.loads(yadtq(tmp_path, "query", task_id, "--json").stdout)["result"] == 3


def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    with dev(tmp_path, "--workers", "0"):
        wait_until((tmp_path / ".yadtq" / "stack.json").exists, "the stack is up", 60)
        assert (tmp_path / ".yadtq").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / ".yadtq" / "stack.json").stat().st_mode & 0o777 == 0o600


def test_a_second_ctrl_c_requeues_running_tasks_at_once(tmp_path: Path) -> None:
    with dev(tmp_path, "-c", "1") as process:
        wait_until(lambda: "tasks: add" in logged(tmp_path), "the worker is up", 60)
        task_id = json.loads(yadtq(tmp_path, "submit", "slow_task", "[60]", "--json").stdout)["task_id"]
        wait_until(lambda: '"processing"' in yadtq(tmp_path, "query", task_id, "--json").stdout, "it runs", 40)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: "stopping: runs may go on" in logged(tmp_path), "the worker drains")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0  # and not after the grace of 25 s
    with dev(tmp_path, "--workers", "0"):
        wait_until(lambda: "backend" in logged(tmp_path), "it is up again", 60)
        assert json.loads(yadtq(tmp_path, "query", task_id, "--json").stdout)["status"] == "queued"


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with dev(tmp_path, "-c", "1"):
        wait_until(lambda: "tasks: add" in logged(tmp_path), "the worker is up", 60)
        (row,) = json.loads(yadtq(tmp_path, "monitor", "--once", "--json").stdout)["workers"]
        time.sleep(TOO_SOON_SECONDS)
        os.kill(row["pid"], signal.SIGKILL)
        wait_until(lambda: logged(tmp_path).count("tasks: add") == 2, "another is up", 60)
        assert "worker dev1 ended with exit code 137\n" in logged(tmp_path)


def test_a_stack_that_was_killed_can_be_started_again_at_once(tmp_path: Path) -> None:
    with dev(tmp_path, "-c", "1") as process:
        wait_until(lambda: "tasks: add" in logged(tmp_path), "the worker is up", 60)
        process.kill()
        process.wait(30)
    with dev(tmp_path, "--workers", "0"):
        wait_until(lambda: "backend" in logged(tmp_path), "it is up again", 60)


def test_a_folder_that_cannot_be_used_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".yadtq").touch()
    refused = yadtq(tmp_path, "dev")
    assert refused.returncode == 3
    assert refused.stderr == (f"Error: the local stack cannot keep its data in {tmp_path / '.yadtq'}: File exists\n")


def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with dev(tmp_path, "--workers", "0"):
        wait_until((tmp_path / ".yadtq" / "stack.json").exists, "the stack is up", 60)
    (manifest,) = (tmp_path / ".yadtq" / "valkey" / "appendonlydir").glob("*.manifest")
    manifest.write_text("spoilt\n")
    refused = yadtq(tmp_path, "dev")
    assert refused.returncode == 3
    first, second, *rest = refused.stderr.splitlines()
    assert (first, second) == (
        "Error: Valkey ended while it started.",
        f"The end of {tmp_path}/.yadtq/valkey/server.log:",
    )
    assert any("FATAL AOF MANIFEST" in line for line in rest)
