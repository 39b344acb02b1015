"""Cancel: what has not started ends, what runs is told."""

from __future__ import annotations

from tests.integration.backend.bed import Bed, outcome, submission, worker
from yadtq_core.model import Status, Verdict


def test_what_has_not_started_never_will(bed: Bed) -> None:
    queued, delayed = bed.submit()[0], bed.submit(delay=60)[0]
    ids = [queued.message.id, delayed.message.id]
    assert bed.backend.cancel(ids, "enough") == ["cancelled", "cancelled"]
    for one in (queued, delayed):
        record = bed.record(one)
        assert (record.status, record.note, record.fence) == (Status.CANCELLED, "enough", 1)
        assert record.finished_at is not None
        assert bed.score(one) is None
        assert bed.claim([one])[0].verdict is Verdict.DONE
        assert int(bed.store.run("PTTL", bed.key("task", one))) > 86_000_000
    assert bed.backend.messages(ids) == [None, None]
    assert bed.backend.counts().ended == {"cancelled": 2}
    assert bed.backend.counts().queues == {}


def test_what_has_ended_stays_as_it_is(bed: Bed) -> None:
    one, never = bed.submit()[0], submission().message.id
    bed.finish(outcome(one.message.id, bed.run(one)))
    assert bed.backend.cancel([one.message.id, never], "late") == ["ended", "missing"]
    assert bed.record(one).status is Status.SUCCESS
    cancelled = bed.submit()[0]
    assert bed.backend.cancel([cancelled.message.id], "one") == ["cancelled"]
    assert bed.backend.cancel([cancelled.message.id], "two") == ["ended"]
    assert bed.record(cancelled).note == "one"


def test_a_running_task_is_told_and_may_end_as_it_likes(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)
    assert bed.backend.cancel([one.message.id], "enough") == ["requested"]
    assert bed.backend.cancel([one.message.id], "again") == ["requested"]
    assert bed.record(one).cancel_requested
    assert bed.fields(one)["ca"] == "enough"
    assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["cancel"]
    assert bed.finish(outcome(one.message.id, answer)) == ["ok"]
    assert bed.record(one).status is Status.SUCCESS


def test_a_cancelled_outcome_carries_the_reason_of_the_cancel(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)
    bed.backend.cancel([one.message.id], "enough")
    assert bed.finish(outcome(one.message.id, answer, Status.CANCELLED)) == ["ok"]
    assert (bed.record(one).status, bed.record(one).note) == (Status.CANCELLED, "enough")


def test_a_marked_run_is_not_repeated(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)
    bed.backend.cancel([one.message.id], "enough")
    retry = outcome(one.message.id, answer, Status.SCHEDULED)
    assert bed.finish(retry) == ["ok"]
    assert bed.record(one).status is Status.CANCELLED
    assert bed.finish(retry) == ["already"]
    assert bed.score(one) is None


def test_a_marked_record_whose_worker_is_lost_is_ended_by_the_next_claim(bed: Bed) -> None:
    one, other = bed.submit(2)
    dead = worker("dead")
    answer = bed.lost(one, worker=dead)
    bed.backend.cancel([one.message.id], "enough")
    assert [found.verdict for found in bed.claim([one, other])] == [Verdict.DONE, Verdict.RUN]
    record = bed.record(one)
    assert (record.status, record.fence) == (Status.CANCELLED, answer.fence + 1)
    assert bed.backend.messages([one.message.id]) == [None]
    assert bed.backend.held(dead) == []
    assert bed.finish(outcome(one.message.id, answer), worker=dead) == ["fenced"]


def test_a_marked_record_whose_worker_is_lost_is_ended_by_the_next_sweep(bed: Bed) -> None:
    one = bed.submit()[0]
    dead = worker("dead")
    bed.lost(one, worker=dead)
    bed.backend.cancel([one.message.id], "enough")
    assert bed.backend.sweep(100, 100)[1] == []
    assert bed.record(one).status is Status.CANCELLED
    assert bed.score(one) is None
    assert bed.backend.held(dead) == []
    assert bed.backend.counts().ended == {"cancelled": 1}


def test_what_a_sweep_took_back_is_cancelled_at_once_and_its_late_outcome_refused(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.lost(one)
    bed.backend.sweep(100, 100)
    assert bed.backend.cancel([one.message.id], "enough") == ["cancelled"]
    assert bed.finish(outcome(one.message.id, answer)) == ["fenced"]
    assert bed.backend.held(bed.worker) == []


def test_a_failure_that_waits_for_its_burial_has_ended(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.fail(one)
    assert bed.backend.cancel([one.message.id], "late") == ["ended"]
    assert bed.score(one) is not None


def test_a_damaged_record_is_its_own_error(bed: Bed) -> None:
    damaged, fine = bed.submit(2)
    bed.store.run("SET", bed.key("task", damaged), "x")
    assert bed.backend.cancel([damaged.message.id, fine.message.id], "enough") == ["ended", "cancelled"]
