"""The memory of a worker beside large tasks and a plugin that is far too slow for them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.distributions import write_distribution
from tests.e2e.site import Site
from tests.waiting import wait_until
from yadtq_core import call

TASKS = 200
ARGUMENT_BYTES, RESULT_BYTES = 250_000, 900_000
MOST_BYTES = 150e6
LISTENER = """
import time
from yadtq_core import hookimpl

@hookimpl
def yadtq_tasks_started(leases):
    time.sleep(30)

@hookimpl
def yadtq_tasks_finished(outcomes):
    time.sleep(30)
"""


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had resident."""
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kib) * 1024


def test_large_tasks_and_a_slow_listener_leave_a_worker_small(anywhere: Site) -> None:
    """Without budgets its events alone hold all arguments and results: 230 MB."""
    folder = anywhere.folder / "installed"
    folder.mkdir()
    write_distribution(folder, "acme-slow", "1.0", LISTENER, hooks={"acme-slow": "acme_slow"})
    anywhere.environment["PYTHONPATH"] += os.pathsep + str(folder)
    anywhere.environment["YADTQ_BLOCK_PLUGINS"] = os.environ["YADTQ_BLOCK_PLUGINS"]
    anywhere.environment["YADTQ_RESULT_TTL"] = "12"  # other tests share the store
    anywhere.client.submit_many(call("site.echo", "x" * ARGUMENT_BYTES, RESULT_BYTES) for _ in range(TASKS))
    (worker,) = anywhere.workers("only", options=("-c", "2"))
    wait_until(lambda: anywhere.client.counts().ended.get("success") == TASKS, "all tasks have succeeded", 60)
    assert peak_bytes(worker.pid) < MOST_BYTES
    wait_until(lambda: anywhere.client.workers()[0].stats.events_dropped > 0, "a heartbeat counts the dropped events")
    doctor = anywhere.run("doctor").stdout
    assert re.search(r"only has dropped \d+ calls of event hooks, because a plugin is too slow", doctor), doctor
    assert worker.log().count("plugin acme-slow (acme-slow 1.0) is too slow in yadtq_tasks_started") == 1
