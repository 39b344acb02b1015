"""Workers and commands beside plugins that cannot be loaded: they refuse or go on, and name the plugin."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.distributions import write_distribution
from tests.e2e.site import Site, site
from tests.waiting import wait_until

LOUD = "print('x' * 1_000_000, flush=True)\n"
HOOK = "from yadtq_core import hookimpl\n@hookimpl\ndef yadtq_heartbeat(worker): ...\n"
TASK = "from yadtq_core import task\n@task\ndef x() -> str: return 'x'\n"
HASTE = "from yadtq_core import installed\ninstalled.IMPORT_SECONDS = 1.0\n"


@pytest.fixture
def here(tmp_path: Path, redis_url: str, namespace: str) -> Iterator[Site]:
    """A site on the streams of the store; distributions in its folder `installed` count as installed."""
    with site(tmp_path, redis_url.replace("://", "+streams://", 1), redis_url, namespace, 3.0) as made:
        (tmp_path / "installed").mkdir()
        made.environment["PYTHONPATH"] += os.pathsep + str(tmp_path / "installed")
        made.environment["YADTQ_BLOCK_PLUGINS"] = os.environ["YADTQ_BLOCK_PLUGINS"]
        made.client.provision()
        yield made


def install(here: Site, name: str, code: str, *, hook: bool = False, task: bool = False) -> None:
    """Install a distribution that offers the hooks of its module, a task, or both."""
    module = name.replace("-", "_")
    hooks = {name: module} if hook else {}
    tasks = {f"{module}.x": f"{module}:x"} if task else {}
    write_distribution(here.folder / "installed", name, "1.0", code, hooks=hooks, tasks=tasks)


def test_a_worker_refuses_broken_hooks_and_names_them(here: Site) -> None:
    install(here, "acme-bad", "1 / 0", hook=True)
    done = here.run("worker", "-c", "1")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(
        r"Error: plugin 'acme-bad' of acme-bad 1.0 \(acme_bad\) cannot be loaded: ZeroDivisionError: division by zero "
        r"\(.*/acme_bad.py, line 1\) \(YADTQ_BLOCK_PLUGINS=acme-bad leaves it out\)",
        line,
    )


def test_a_worker_refuses_a_broken_task_and_names_it(here: Site) -> None:
    install(here, "acme-bad", "1 / 0", task=True)
    done = here.run("worker", "-c", "1")
    assert done.returncode == 2
    assert "Error: task 'acme_bad.x' of acme-bad 1.0 (acme_bad:x) cannot be loaded: ZeroDivisionError" in done.stderr
    assert "(YADTQ_BLOCK_PLUGINS=acme_bad.x leaves it out)" in done.stderr


def test_a_blocked_plugin_is_as_good_as_uninstalled(here: Site) -> None:
    install(here, "acme-bad", "1 / 0", hook=True, task=True)
    here.environment["YADTQ_BLOCK_PLUGINS"] += ",acme-bad"
    here.wait_online(here.worker("w", "-c", "1"))
    assert "acme" not in here.run("doctor").stdout


def test_a_lenient_worker_starts_without_the_broken_plugin(here: Site) -> None:
    install(here, "acme-bad", LOUD + "1 / 0", hook=True, task=True)
    install(here, "acme-good", LOUD + HOOK + TASK, hook=True, task=True)
    worker = here.worker("w", "-c", "1", "--lenient")
    here.wait_online(worker)
    assert here.client.submit("acme_good.x").result(timeout=60) == "x"
    log = worker.log()
    assert "plugin 'acme-bad' of acme-bad 1.0 (acme_bad) cannot be loaded: ZeroDivisionError" in log
    assert "task 'acme_bad.x' of acme-bad 1.0 (acme_bad:x) cannot be loaded: ZeroDivisionError" in log
    assert "plugins: acme-good (acme-good 1.0)" in log
    (row,) = [row for row in here.client.workers() if row.identity.id == "w"]
    assert "acme_good.x" in row.stats.tasks
    assert "acme_bad.x" not in row.stats.tasks


def test_output_of_imports_is_not_on_a_worker_s_stdout(here: Site) -> None:
    install(here, "acme-loud", LOUD + HOOK + TASK, hook=True, task=True)
    with (here.folder / "out").open("wb") as out, (here.folder / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "yadtq_core.cli", "worker", "-c", "1", "--id", "loud"],
            env=here.environment,
            cwd=here.folder,
            stdout=out,
            stderr=log,
        )
    try:
        wait_until(lambda: any(row.online for row in here.client.workers()), "the worker is online", 60)
    finally:
        worker.terminate()
        worker.wait(60)
    assert (here.folder / "out").read_bytes() == b""
    assert (here.folder / "log").read_text().count("x" * 1_000_000) >= 2  # the worker's own, and its child's


def test_commands_go_on_with_one_line(here: Site) -> None:
    install(here, "acme-bad", "1 / 0", hook=True, task=True)
    install(here, "acme-loud", LOUD + HOOK, hook=True)
    submitted = here.run("submit", "add", "[1, 2]", "--json")
    assert submitted.returncode == 0, submitted.stderr
    task_id = json.loads(submitted.stdout)["task_id"]
    for words in (["query", task_id], ["cancel", task_id], ["monitor", "--once"], ["provision"], ["config"]):
        done = here.run(*words)
        assert done.returncode == 0
        assert "x" * 1000 not in done.stdout
        (line,) = [line for line in done.stderr.splitlines() if not line.startswith("xxx")]
        assert "WARNING plugin 'acme-bad' of acme-bad 1.0 (acme_bad) cannot be loaded: ZeroDivisionError" in line


@pytest.mark.parametrize(("kind", "named"), [("hook", "plugin 'acme-slow'"), ("task", "task 'acme_slow.x'")])
def test_an_import_that_hangs_ends_in_time_and_is_named(here: Site, kind: str, named: str) -> None:
    (here.folder / "installed" / "sitecustomize.py").write_text(HASTE)
    install(here, "acme-slow", "import time\ntime.sleep(600)", hook=kind == "hook", task=kind == "task")
    done = here.run("worker", "-c", "1")
    assert done.returncode == 2
    assert re.search(
        rf"Error: {named} of acme-slow 1.0 \(.*: its import has not ended after 1 s \(.*acme_slow.py, line 2\)",
        done.stderr,
    )
    worker = here.worker("w", "-c", "1", "--lenient")
    here.wait_online(worker)
    assert here.client.submit("add", 1, 2).result(timeout=60) == 3


STAYS = """
import threading
from yadtq_core import hookimpl

@hookimpl
def yadtq_worker_started(worker):
    threading.Thread(target=threading.Event().wait, args=(600,), name="acme-stays", daemon=False).start()
"""


def test_a_thread_that_a_plugin_leaves_behind_does_not_keep_a_worker_from_ending(here: Site) -> None:
    install(here, "acme-stays", STAYS, hook=True)
    worker = here.worker("w", "-c", "1")
    here.wait_online(worker)
    assert worker.terminate(60) == 0
    assert "ending without waiting for threads of plugins: acme-stays" in worker.log()


BINDS = """
from yadtq_core import hookimpl

@hookimpl
def {hook}(task):
    if {when}:
        raise ConnectionError("out of order")
"""


def test_a_task_whose_binding_fails_is_left_to_other_workers_and_the_rest_runs(here: Site) -> None:
    """500 such tasks failed within 4 s, at their first attempt and with nothing in the log."""
    install(here, "acme-good", TASK + "@task(retries=2)\ndef y() -> str: return 'y'\n", task=True)
    install(here, "acme-odd", BINDS.format(hook="yadtq_task_context", when="task.name == 'acme_good.x'"), hook=True)
    odd = here.worker("odd", "-c", "1")
    here.wait_online(odd)
    (row,) = here.client.workers()
    assert "acme_good.x" not in row.stats.tasks
    assert "add" in row.stats.tasks
    left = [here.client.submit("acme_good.x") for _ in range(50)]
    assert here.client.submit("add", 1, 2).result(timeout=60) == 3

    def all_wait() -> bool:
        records = here.client.query([one.id for one in left])
        return all(record is not None and record.status == "scheduled" for record in records)

    wait_until(all_wait, "every task waits for another worker", 60)
    said = "plugin acme-odd (acme-odd 1.0): yadtq_task_context failed: ConnectionError: out of order ("
    for record in here.client.query([one.id for one in left]):
        assert record is not None
        assert (record.note or "").startswith(f"left to other workers: {said}")
        assert record.attempt == 0
    assert odd.log().count(f"task acme_good.x is left to other workers: {said}") == 1

    here.environment["YADTQ_BLOCK_PLUGINS"] += ",acme-odd"
    here.wait_online(here.worker("fine", "-c", "1"))
    assert [one.result(timeout=60) for one in left] == ["x"] * 50
    assert {record.attempt for record in here.client.query([one.id for one in left]) if record} == {1}


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    "hook", ["yadtq_task_context", "yadtq_task_runner", "yadtq_result_serializer", "yadtq_retry_policy"]
)
def test_a_worker_that_can_bind_no_task_does_not_start(here: Site, hook: str, lenient: bool) -> None:
    install(here, "acme-odd", BINDS.format(hook=hook, when="True"), hook=True)
    done = here.run("worker", "-c", "1", *(["--lenient"] if lenient else []))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert re.fullmatch(
        rf"Error: no task can be bound to the plugins; add: plugin acme-odd \(acme-odd 1.0\): {hook} failed: "
        r"ConnectionError: out of order \(.*acme_odd.py, line 7\)",
        line,
    )
    assert "Traceback" not in done.stderr


CODEC = """
from yadtq_core import hookimpl

class Codec:
    name = "odd"
    def encode(self, data, task_id): raise LookupError("no key")
    def decode(self, data, task_id): return data

@hookimpl
def yadtq_codecs(): return [Codec()]
"""


def test_a_worker_that_cannot_encode_a_result_does_not_start(here: Site) -> None:
    install(here, "acme-odd", CODEC, hook=True)
    here.environment["YADTQ_CODECS"] = "odd"
    done = here.run("worker", "-c", "1")
    assert done.returncode == 2
    assert "Error: results cannot be encoded here: codec 'odd': LookupError: no key (" in done.stderr
