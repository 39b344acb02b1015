"""Why a task has not ended."""

from __future__ import annotations

import pytest

from tests.unit.client.memory import Installation
from yadtq_core import BackendUnavailable, Client, Record, Status, WaitTimeout
from yadtq_core.client.fleet import why_open
from yadtq_core.model import WorkerIdentity, WorkerRow, WorkerStats

GIVEN = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"


def worker(*tasks: str, queue: str = "default", free: int = 1, online: bool = True) -> WorkerRow:
    """Return a worker with one slot that has loaded these tasks."""
    stats = WorkerStats("online", 0, 1 - free, 1, free, (queue,), tasks)
    return WorkerRow(WorkerIdentity("w1", "1", "here", 1, 1.0), stats, 0.0, online)


def record(status: Status = Status.QUEUED, due_at: float | None = None, note: str | None = None) -> Record:
    return Record(GIVEN, "total", status, "default", 0.0, worker_id="w1", due_at=due_at, note=note)


@pytest.mark.parametrize(
    ("open_record", "workers", "reason"),
    [
        (record(), [], "no worker is online: start one with `yadtq worker`"),
        (
            record(),
            [worker("total", queue="slow")],
            "no online worker serves queue default: start one with `yadtq worker -Q default`",
        ),
        (
            record(),
            [worker("totals")],
            "no online worker of queue default has loaded task 'total': did you mean 'totals'?",
        ),
        (record(), [worker("add")], "no online worker of queue default has loaded task 'total'"),
        (record(), [worker("total", free=0)], "all slots of the workers of queue default are taken"),
        (record(), [worker("total")], ""),
        (record(note="worker w2 was lost"), [worker("total")], "worker w2 was lost"),
        (record(note="worker w2 was lost"), None, "worker w2 was lost"),
        (record(Status.PROCESSING), [worker("total", free=0)], "worker w1 runs it"),
    ],
)
def test_why_a_task_has_not_ended(open_record: Record, workers: list[WorkerRow] | None, reason: str) -> None:
    assert why_open(open_record, workers) == reason


def test_a_scheduled_task_waits_for_its_time_and_perhaps_for_a_worker_too() -> None:
    reason = why_open(record(Status.SCHEDULED, due_at=1_795_000_323.25), [])
    assert reason.startswith("it is due at 2026-11-18 ")
    assert reason.endswith("; no worker is online: start one with `yadtq worker`")


def test_a_wait_that_times_out_says_why(place: Installation, client: Client) -> None:
    place.backend.rows = [worker("totals"), worker("total", queue="slow", online=False)]
    with pytest.raises(WaitTimeout, match=r"still queued after 0 s: no online worker .* 'totals'") as caught:
        client.submit("total").result(timeout=0)
    assert caught.value.status == "queued"
    assert caught.value.reason.startswith("no online worker of queue default has loaded task 'total'")


def test_a_wait_that_times_out_needs_no_list_of_workers(place: Installation, client: Client) -> None:
    def away(*, online: bool = False) -> list[WorkerRow]:
        raise BackendUnavailable("away")

    place.backend.workers = away  # type: ignore[method-assign]
    with pytest.raises(WaitTimeout, match="still queued after 0 s; it goes on"):
        client.submit("total").result(timeout=0)
