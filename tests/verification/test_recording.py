"""The recorder writes questions and answers as they were, and the report agrees with the history."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from verification.faults import history as h
from verification.faults.good import HANDED, KILLED, good
from verification.faults.recording import RecordedBackend
from verification.faults.report import table
from verification.faults.row import Result, recovery, repeats
from verification.faults.view import View
from yadtq_core.backends import memory
from yadtq_core.interfaces import Backend
from yadtq_core.model import Delivery, Outcome, Status, Submission, WorkerIdentity, new_id
from yadtq_core.settings import Settings
from yadtq_core.wire import envelope

WORKER = WorkerIdentity("w", "i", "host", 1, 0.0)


def test_a_life_of_a_task_is_written_down(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    backend: Backend = RecordedBackend(
        memory.open(Settings(broker="memory://", backend="memory://", namespace="recorded")), h.Writer(file, "me")
    )
    message = envelope.build("t.add", b"[[1],{}]", id=new_id())
    body = envelope.encode(message)
    backend.create([Submission(message, body)])
    (answer,) = backend.claim([Delivery(message, body)], WORKER, "nonce")
    outcome = Outcome(
        id=message.id, task=message.task, status=Status.SUCCESS, attempt=1, fence=answer.fence, worker_id="w",
        queue="default", headers={}, submitted_at=0.0, started_at=0.0, duration=0.0, result=b"1",
    )  # fmt: skip
    backend.finish([outcome], WORKER)
    backend.get([message.id])
    created, claimed, asked, finished, read = h.read(file)[0]
    assert isinstance(created, h.Created)
    assert created.got == [h.Create(message.id, message.digest, "new")]
    assert isinstance(claimed, h.Claimed)
    assert (claimed.nonce, claimed.got[0].verdict, claimed.got[0].fence) == ("nonce", "run", answer.fence)
    assert isinstance(asked, h.Asked)
    assert asked.runs == [(message.id, answer.fence, "success")]
    assert isinstance(finished, h.Finished)
    assert finished.got == [h.Code(message.id, answer.fence, "ok", "success")]
    assert isinstance(read, h.Read)
    assert read.got == [(message.id, "success", 1, answer.fence)]
    assert all(event.b <= event.a and event.who == "me" for event in (created, claimed, asked, finished, read))


@pytest.mark.parametrize(("times", "code"), [("2", -signal.SIGKILL), ("3", 0)])
def test_a_failpoint_kills_once_it_was_passed_so_often(times: str, code: int) -> None:
    program = (
        "from verification.faults.recording import Failpoint; one = Failpoint('created'); one.passed(1); one.passed(1)"
    )
    environment = os.environ | {"FAULTS_FAILPOINT": f"created:{times}"}
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], env=environment, cwd=root, check=False).returncode == code


def test_repeats_and_recovery_are_read_off_a_history() -> None:
    view = View(good())
    assert repeats(view) == 2, f"{KILLED} and {HANDED}"
    (seconds,) = recovery(view)
    assert 3.5 < seconds < 3.6


def test_the_table_has_only_measured_values() -> None:
    results = [
        Result(id="W1", title="A worker is killed", tasks=200, accepted=199, repeats=3, recovery=(1.0, 2.0, 9.0)),
        Result(id="C5", title="Clocks", skipped="no compiler"),
        Result(id="K2", title="Down", tasks=1, said={"I1": ["a is lost", "b is lost"]}),
    ]
    lines = table(results).splitlines()
    assert lines[2].split("|")[4:9] == [" 200   ", " 199      ", " 3       ", " 2.0 s        ", " 9.0 s "]
    assert "skipped: no compiler" in lines[3]
    assert "I1: a is lost (2)" in lines[4]
    assert [result.good for result in results] == [True, True, False]
