"""The pytest plugin, in a test file as an author of tasks and plugins writes it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TEST_FILE = """
import pytest

from yadtq_core import Retry, call, hookimpl, task

runs = []


@task(retries=3)
def resize(path: str, width: int = 800) -> str:
    runs.append(path)
    if path == "slow.png" and len(runs) < 3:
        raise Retry(delay=3600)
    return f"{path}-{width}"


class Loud:
    @hookimpl
    def yadtq_before_submit(self, messages):
        for message in messages:
            message.headers["loud"] = "yes"


@pytest.fixture
def yadtq_plugins():
    return [Loud()]


def test_a_result(yadtq_client, run_until_idle):
    handle = yadtq_client.submit(resize, "a.png", width=640)
    assert str(handle.status()) == "queued"
    run_until_idle()
    assert handle.result(timeout=0) == "a.png-640"


def test_a_retry_in_an_hour_takes_no_hour(yadtq_engine, yadtq_client, run_until_idle):
    runs.clear()
    handle = yadtq_client.submit(resize, "slow.png")
    before = yadtq_engine.now
    outcomes = run_until_idle()
    assert [str(one.status) for one in outcomes] == ["scheduled", "scheduled", "success"]
    assert yadtq_engine.now - before == pytest.approx(7200, abs=1)


def test_what_was_submitted_and_told(yadtq_engine, yadtq_client, run_until_idle, yadtq_events):
    yadtq_client.submit_many([call(resize, "a.png"), call(resize, "b.png")])
    yadtq_engine.assert_submitted(resize, "a.png")
    assert yadtq_engine.submitted[0].headers == {"loud": "yes"}
    with pytest.raises(AssertionError, match="c.png.* was not submitted"):
        yadtq_engine.assert_submitted(resize, "c.png")
    run_until_idle()
    assert len(yadtq_events.of("tasks_finished")) == 2


def test_this_one_fails(yadtq_client):
    yadtq_client.submit(resize, 5, 6, 7)
"""

RAISING = """
import pytest

from yadtq_core import hookimpl, task


@task
def nothing() -> None: ...


class Bad:
    @hookimpl
    def yadtq_tasks_finished(self, outcomes):
        raise RuntimeError("out of order")


@pytest.fixture
def yadtq_plugins():
    return [Bad()]


def test_a_plugin_that_raises_is_an_error_of_its_test(yadtq_client, run_until_idle):
    yadtq_client.submit(nothing)
    run_until_idle()
"""


def pytest_of(folder: Path, code: str) -> tuple[int, str]:
    (folder / "test_mine.py").write_text(code)
    (folder / "pytest.ini").write_text("[pytest]\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey", "-rfE"],
        cwd=folder, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stdout + ran.stderr


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    assert [one.value for one in entry_points(group="pytest11", name="yadtq")] == ["yadtq_core.testing.fixtures"]


def test_the_fixtures_in_a_users_test_file(tmp_path: Path) -> None:
    code, output = pytest_of(tmp_path, TEST_FILE)
    assert "3 passed" in output, output
    assert "FAILED test_mine.py::test_this_one_fails" in output
    assert "InvalidArguments" in output
    assert code == 1


def test_an_event_hook_that_raises_is_an_error_of_the_test(tmp_path: Path) -> None:
    code, output = pytest_of(tmp_path, RAISING)
    assert "1 passed, 1 error" in output, output
    assert "event hooks raised" in output
    assert "Bad: yadtq_tasks_finished (1)" in output
    assert code == 1
