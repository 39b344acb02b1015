"""The completion thread: what it does with the reports of the children."""

from __future__ import annotations

from tests.unit.worker.office import Office
from yadtq_core.child.pipe import Done
from yadtq_core.worker.executor import ChildEvents


def test_the_progress_of_a_run_that_ended_in_the_same_reports_is_dropped() -> None:
    office = Office()
    office.claim(1)
    (lease,) = office.children.given
    done = Done(1, "success", b"3", "application/json", None, None, 0.1)
    office.parts.completion_thread._heard(ChildEvents([(lease, done)], [("id0", "0.5 half")]))
    assert office.parts.completion.progress == {}
