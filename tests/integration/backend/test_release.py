"""Release: a record given back without an outcome."""

from __future__ import annotations

import pytest

from tests.integration.backend.bed import SHORT, Bed, given_back, outcome, submission
from yadtq_core.model import Release, ReleaseReason, Status

UNKNOWN, DIED, BACK = ReleaseReason.UNKNOWN_TASK, ReleaseReason.CHILD_DIED, ReleaseReason.HANDED_BACK


def test_what_was_not_started_waits_at_once_and_counts_no_attempt(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one, nonce="n1")
    assert bed.backend.release([given_back(one.message.id, answer)], bed.worker) == ["ok"]

    record = bed.record(one)
    assert (record.status, record.attempt, record.fence) == (Status.QUEUED, 0, answer.fence + 1)
    assert (record.worker_id, record.started_at) == (None, None)
    assert (bed.score(one) or 0) <= bed.backend.time_ms()
    assert not {"nc", "in", "dl"} & set(bed.fields(one))
    assert bed.backend.held(bed.worker) == []
    assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["lost"]
    assert bed.finish(outcome(one.message.id, answer)) == ["fenced"]
    again = bed.run(one, nonce="n1")  # the nonce is forgotten: a lease of its own
    assert (again.attempt, again.fence > answer.fence + 1) == (1, True)


def test_a_release_whose_reply_was_lost_is_ok_again(bed: Bed) -> None:
    ones = bed.submit(3)
    answers = bed.claim(ones)
    releases = [
        given_back(ones[0].message.id, answers[0]),
        given_back(ones[1].message.id, answers[1], UNKNOWN, delay=5.0, note="unknown task 'add'"),
        given_back(ones[2].message.id, answers[2], DIED, lost=True, note="child killed by signal 9"),
    ]
    assert bed.backend.release(releases, bed.worker) == ["ok"] * 3
    before = [bed.fields(one) for one in ones]
    assert bed.backend.release(releases, bed.worker) == ["ok"] * 3
    assert [bed.fields(one) for one in ones] == before


def test_only_the_holder_of_the_fence_can_release(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.lost(one)
    bed.run(one)
    missing = submission().message.id
    assert bed.backend.release([given_back(one.message.id, answer), given_back(missing, answer)], bed.worker) == [
        "fenced",
        "missing",
    ]
    assert bed.record(one).status is Status.PROCESSING


def test_releasing_what_has_ended_changes_nothing(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)
    bed.finish(outcome(one.message.id, answer))
    assert bed.backend.release([given_back(one.message.id, answer)], bed.worker) == ["ok"]
    assert bed.record(one).status is Status.SUCCESS


def test_a_run_handed_back_keeps_its_attempt(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.backend.release([given_back(one.message.id, bed.run(one), BACK)], bed.worker)
    assert (bed.record(one).status, bed.record(one).attempt, bed.record(one).lost) == (Status.QUEUED, 1, 0)
    assert bed.run(one).attempt == 2


def test_an_unknown_task_waits_and_says_why(bed: Bed) -> None:
    one = bed.submit(task="nosuch")[0]
    bed.backend.confirm([(one.message.id, "0:7")])
    bed.backend.release(
        [given_back(one.message.id, bed.run(one), UNKNOWN, delay=30.0, note="unknown task")], bed.worker
    )

    record = bed.record(one)
    assert (record.status, record.attempt, record.note, record.position) == (Status.SCHEDULED, 0, "unknown task", "0:7")
    assert 29_000 < (bed.score(one) or 0) - bed.backend.time_ms() <= 30_000
    assert bed.claim([one])[0].verdict == "later"


def test_a_task_that_stays_unknown_becomes_a_dead_letter_that_can_be_replayed(bed: Bed) -> None:
    one = bed.submit(task="nosuch")[0]
    backend = bed.open(unknown_task_ttl=SHORT)
    bed.pass_time()
    note = "unknown task 'nosuch'; this worker knows add"
    assert backend.release([given_back(one.message.id, bed.run(one), UNKNOWN, delay=30.0, note=note)], bed.worker) == [
        "ok"
    ]
    record = bed.record(one)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert (record.error.type, record.error.message) == ("UnknownTask", note)
    found = backend.sweep(10, 0)[1]
    assert [due.delivery is not None for due in found] == [True]


def test_a_dead_child_counts_as_lost_until_the_limit(bed: Bed) -> None:
    one = bed.submit()[0]
    for times in range(1, 4):
        answer = bed.run(one)
        note = "child killed by signal 9"
        bed.backend.release([given_back(one.message.id, answer, DIED, lost=True, note=note)], bed.worker)
        record = bed.record(one)
        assert (record.status, record.lost, record.attempt, record.note) == (Status.QUEUED, times, times, note)
    answer = bed.run(one)
    assert (answer.attempt, answer.lost) == (4, 3)
    last = given_back(one.message.id, answer, DIED, lost=True, note="child killed by signal 9")
    assert bed.backend.release([last], bed.worker) == ["ok"]

    record = bed.record(one)
    assert (record.status, record.lost, record.fence) == (Status.FAILED, 4, answer.fence + 1)
    assert record.error is not None
    assert (record.error.type, record.error.message) == ("WorkerLost", "child killed by signal 9")
    assert [run.reason for run in record.history] == ["child killed by signal 9"] * 4
    assert bed.backend.release([last], bed.worker) == ["ok"]
    assert bed.backend.counts().ended == {"failed": 1}


@pytest.mark.parametrize("reason", [ReleaseReason.UNSTARTED, BACK, DIED])
def test_a_delay_makes_it_scheduled(bed: Bed, reason: ReleaseReason) -> None:
    one = bed.submit()[0]
    bed.backend.release([given_back(one.message.id, bed.run(one), reason, delay=5.0)], bed.worker)
    assert bed.record(one).status is Status.SCHEDULED


def test_a_worker_that_comes_back_gives_back_what_its_last_life_held(bed: Bed) -> None:
    ones = bed.submit(3)
    answers = bed.claim(ones)
    bed.finish(outcome(ones[0].message.id, answers[0]))
    holds = bed.backend.held(bed.worker)
    assert {hold.id for hold in holds} == {one.message.id for one in ones[1:]}
    back = [Release(hold.id, hold.fence, DIED, lost=True) for hold in holds]
    assert bed.backend.release(back, bed.worker) == ["ok", "ok"]
    assert bed.backend.held(bed.worker) == []
    assert [bed.run(one).attempt for one in ones[1:]] == [2, 2]


def test_a_marked_record_that_is_given_back_is_ended_by_the_next_sweep(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)
    bed.backend.cancel([one.message.id], "enough")
    bed.backend.release([given_back(one.message.id, answer, UNKNOWN, delay=60.0)], bed.worker)
    bed.backend.sweep(10, 10)
    assert bed.record(one).status is Status.CANCELLED


def test_a_damaged_record_is_its_own_error(bed: Bed) -> None:
    damaged, fine = bed.submit(2)
    answers = bed.claim([damaged, fine])
    bed.store.run("SET", bed.key("task", damaged), "x")
    releases = [given_back(one.message.id, answer) for one, answer in zip((damaged, fine), answers, strict=True)]
    assert bed.backend.release(releases, bed.worker) == ["error", "ok"]
    assert bed.record(fine).status is Status.QUEUED
