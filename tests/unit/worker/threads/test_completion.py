"""The completion thread: what it does with the reports of the children."""

from __future__ import annotations

import pytest

from tests.unit.worker.office import Office, peer
from yadtq_core.child.pipe import Done
from yadtq_core.model import Release, ReleaseReason
from yadtq_core.worker.executor import ChildEvents
from yadtq_core.worker.rules.budget import BUDGET
from yadtq_core.worker.rules.completion import Finished


@pytest.fixture
def office() -> Office:
    return Office()


def test_the_progress_of_a_run_that_ended_in_the_same_reports_is_dropped() -> None:
    office = Office()
    office.claim(1)
    (lease,) = office.children.given
    done = Done(1, "success", b"3", "application/json", None, None, 0.1)
    office.parts.completion_thread._heard(ChildEvents([(lease, done)], progress=[("id0", "0.5 half")]))
    assert office.parts.completion.progress == {}


def test_what_a_child_cannot_begin_is_left_to_other_workers_and_waits(office: Office) -> None:
    """Also if a peer has loaded the task: two workers without a key must not pass it to and fro."""
    office.claim(2)
    office.store.rows = [peer("add")]
    office.parts.completion_thread._heard(ChildEvents(unable=[(lease, "no key") for lease in office.children.given]))
    assert office.store.released == [
        Release(f"id{n}", "default", 7, ReleaseReason.BINDING_FAILED, 5.0, note="left to other workers: no key")
        for n in (0, 1)
    ]
    assert not office.intake.runs("id0")
    assert office.low == 2
    assert office.intake.waiting == 1


def test_the_log_tells_a_lost_lease_from_a_lost_record(caplog: pytest.LogCaptureFixture) -> None:
    office = Office()
    office.claim(2)
    fenced, missing = office.children.given
    office.parts.completion_thread._written(Finished([], [], [fenced], [missing]))
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "late outcome refused for 1 task(s): another run has the record, or it was ended or requeued: id0",
        "outcome refused for 1 task(s): the record is gone, claiming the message again: id1",
    ]


def test_no_report_is_read_while_the_outcomes_that_wait_fill_the_budget() -> None:
    """The backend is away: results stay in the pipes of the children, which wait."""
    office = Office()
    office.claim(1)
    (lease,) = office.children.given
    thread = office.parts.completion_thread
    done = Done(1, "success", b"x" * BUDGET, "application/json", None, None, 0.1)
    office.children.heard = [ChildEvents([(lease, done)])]
    thread._read(0.0)
    assert office.parts.completion.full()
    office.children.heard = [ChildEvents([(lease, done)])]
    thread._read(0.0)
    assert office.parts.completion.pending == 1
    office.parts.lifecycle.stopping.set()
    thread._read(0.0)
    assert office.parts.completion.pending == 2, "a worker that stops reads the deaths of its children"
