"""Why a task has not ended, and task names that no online worker has loaded."""

from __future__ import annotations

import logging
import time

import pytest

from tests.unit.client.memory import Installation
from tests.waiting import wait_until
from yadtq_core import BackendUnavailable, Client, Record, Status, WaitTimeout, call
from yadtq_core.client import names
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


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "yadtq.client")
    return caplog


def test_a_misspelt_name_is_warned_of_once(
    place: Installation, client: Client, warned: pytest.LogCaptureFixture
) -> None:
    place.backend.rows = [worker("total", "add")]
    client.submit("totl", 1)
    wait_until(lambda: warned.messages, "it is warned of")
    for number in range(5):
        client.submit("totl", number)
        client.submit("add", number)
    client.submit_many(call("totl", number) for number in range(5))
    client.close()
    assert warned.messages == [
        "task 'totl' waits for a worker that has loaded it, and none online has: did you mean 'total'?"
    ]
    assert place.backend.looks <= 2, "once a name"


def test_a_short_program_has_its_warning_too(place: Installation, warned: pytest.LogCaptureFixture) -> None:
    place.backend.rows = [worker("total")]
    with place.client() as client:
        client.submit("totl", 1)
    assert len(warned.messages) == 1


def test_a_name_is_checked_when_a_worker_is_online(
    place: Installation, client: Client, warned: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "AGAIN", 0.05)
    monkeypatch.setattr(names, "FRESH", 0.0)
    client.submit("totl", 1)
    wait_until(lambda: place.backend.looks > 2, "it is looked again")
    place.backend.rows = [worker()]
    seen = place.backend.looks
    wait_until(lambda: place.backend.looks > seen + 2, "a worker that still loads its tasks says nothing")
    assert warned.messages == []
    place.backend.rows = [worker("total")]
    wait_until(lambda: warned.messages, "it is warned of")


def test_a_look_at_the_workers_holds_up_no_submit(place: Installation, client: Client) -> None:
    def slow(*, online: bool = False) -> list[WorkerRow]:
        time.sleep(2.0)
        return []

    client.submit("total")
    place.backend.workers = slow  # type: ignore[method-assign]
    begun = time.monotonic()
    client.submit("totl")
    assert time.monotonic() - begun < 1.0
