"""Restart recovery: a worker requeues the tasks of the workers that it replaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.waiting import wait_until
from yadtq_core.backends.memory import MemoryStore
from yadtq_core.errors import BackendUnavailable
from yadtq_core.model import Status, WorkerIdentity, WorkerRow
from yadtq_core.records import StoreBackend
from yadtq_core.settings import Settings
from yadtq_core.testing.contracts.backend_bed import STATS, BackendBed, worker
from yadtq_core.worker.restart import predecessors, process_started, recover

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
ME = WorkerIdentity("w", "new", "host", 700, 9000.25)
ALIVE = {700: 9000.25, 600: 8000.5, 601: 0.0}
"""Process IDs and the start of each process; 0: unknown."""


def row(pid: int = 500, started: float = 100.0, *, state: str = "online", running: int = 1, **who: Any) -> WorkerRow:
    """Return a row of a worker that ran as this process."""
    given: dict[str, Any] = {"id": "w", "incarnation": "old", "host": "host"} | who
    identity = WorkerIdentity(pid=pid, process_started=started, **given)
    return WorkerRow(identity, replace(STATS, state=state, running=running), last_seen=1.0, online=True)


@pytest.mark.parametrize(
    ("other", "gone"),
    [
        pytest.param(row(500), True, id="no such process"),
        pytest.param(row(500, 0.0), True, id="no such process, and its start was never known"),
        pytest.param(row(600, 8000.5), False, id="its process is alive"),
        pytest.param(row(600, 8000.25), True, id="another process has its ID"),
        pytest.param(row(600, 0.0), False, id="a process has its ID, and its start is unknown"),
        pytest.param(row(601, 8000.25), False, id="a process has its ID, and we may not read its start"),
        pytest.param(row(700, 100.0), True, id="this process has its ID: a container started again"),
        pytest.param(row(700, 9000.25), True, id="this process has its ID and, by chance after a boot, its start"),
        pytest.param(row(500, id="v"), False, id="another name"),
        pytest.param(row(500, host="elsewhere"), False, id="another host: its processes cannot be seen here"),
        pytest.param(row(700, 9000.25, incarnation="new"), False, id="this worker itself"),
        pytest.param(row(500, state="stopping"), True, id="killed while it was stopping"),
        pytest.param(row(500, state="offline", running=0), False, id="it went offline"),
        pytest.param(row(500, state="offline", running=1), True, id="it went offline while tasks ran"),
    ],
)
def test_which_workers_a_new_one_replaces(other: WorkerRow, gone: bool) -> None:
    assert predecessors([other], ME, ALIVE.get) == ([other] if gone else [])


@LINUX
def test_a_process_is_known_by_its_start() -> None:
    started = process_started(os.getpid())
    assert started is not None
    assert started > 0
    assert process_started(os.getpid()) == started


@LINUX
def test_a_zombie_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        wait_until(lambda: process_started(dead.pid) is None, "it is a zombie")
        assert Path(f"/proc/{dead.pid}").exists()
    assert process_started(dead.pid) is None


def test_without_proc_a_process_exists_or_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert process_started(os.getpid()) == 0.0
    assert process_started(1) == 0.0
    assert process_started(2**40) is None


@pytest.fixture
def bed() -> BackendBed:
    """One namespace in memory."""
    store = MemoryStore()
    return BackendBed(lambda **given: StoreBackend(store, Settings(**given)))


def test_the_tasks_of_a_predecessor_are_requeued_and_it_is_offline(bed: BackendBed) -> None:
    gone, me = replace(worker("w"), pid=2**40), replace(worker("w"), pid=os.getpid())
    bed.backend.heartbeat(gone, replace(STATS, running=2), ())
    running, waiting = bed.submit(2)
    bed.claim([running], worker=gone)
    recover(bed.backend, me)

    record = bed.record(running)
    assert (record.status, record.lost, record.history[0].reason) == (Status.QUEUED, 1, "worker lost")
    assert bed.record(waiting).lost == 0
    assert bed.backend.held(gone) == []
    assert [one.message.id for one in bed.backend.take({"default": 9}, ()).deliveries] == [running.message.id]
    (row,) = bed.backend.workers()
    assert (row.stats.state, row.stats.running, row.stats.free, row.online) == ("offline", 0, 0, False)
    assert predecessors([row], me, lambda _: None) == [], "the next start ignores it"


def test_a_task_that_kills_its_worker_again_and_again_fails(bed: BackendBed) -> None:
    one = bed.submit()[0]
    for life in range(4):
        gone = replace(worker("w"), pid=2**40 + life)
        bed.backend.heartbeat(gone, replace(STATS, running=1), ())
        bed.run(one, worker=gone)
        recover(bed.backend, replace(worker("w"), pid=os.getpid()))
    record = bed.record(one)
    assert record.error is not None
    assert (record.status, record.error.message) == (Status.FAILED, "worker lost 4 times")


def test_a_worker_starts_while_the_backend_is_away(caplog: pytest.LogCaptureFixture) -> None:
    class Away(StoreBackend):
        def workers(self, *, online: bool = False) -> list[WorkerRow]:
            raise BackendUnavailable("no answer from here")

    recover(Away(MemoryStore(), Settings()), ME)
    assert "wait until their leases end: no answer from here" in caplog.text
