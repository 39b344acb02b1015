"""Sweep: what nobody looks after is found by whoever looks first."""

from __future__ import annotations

from collections.abc import Sequence

from tests.integration.backend.bed import SHORT, Bed, given_back, outcome, submission, worker
from yadtq_core.model import Due, Status


def ids(found: Sequence[Due]) -> list[str]:
    """Return the IDs of what a sweep found."""
    return sorted(due.id for due in found)


def test_nothing_is_due_before_its_time(bed: Bed) -> None:
    fresh, delayed, running = bed.submit()[0], bed.submit(delay=60)[0], bed.submit()[0]
    bed.run(running)
    now_ms, found = bed.backend.sweep(100, 100)
    assert found == []
    assert abs(now_ms - bed.backend.time_ms()) < 2000
    assert [bed.record(one).status for one in (fresh, delayed, running)] == ["queued", "scheduled", "processing"]


def test_an_unconfirmed_record_comes_with_its_message_once_a_grace(bed: Bed) -> None:
    bed.backend = bed.open(publish_grace=SHORT)
    one = bed.submit(task="mul", queue="fast")[0]
    bed.pass_time()
    due = bed.open().sweep(100, 0)[1][0]

    assert (due.id, due.task, due.queue, due.status, due.position) == (
        one.message.id,
        "mul",
        "fast",
        Status.QUEUED,
        "",
    )
    assert not due.reclaimed
    assert due.delivery is not None
    assert due.delivery.body == one.body
    assert due.delivery.partition is None
    assert bed.open().sweep(100, 0)[1] == []


def test_messages_of_confirmed_records_come_only_as_far_as_they_are_asked_for(bed: Bed) -> None:
    bed.backend = bed.open(queue_check=SHORT)
    ones = bed.submit(5)
    bed.backend.confirm([(one.message.id, f"0:{number}") for number, one in enumerate(ones)])
    bed.pass_time()
    found = bed.backend.sweep(100, 2)[1]
    assert len(found) == 5
    assert sum(due.delivery is not None for due in found) == 2
    assert {due.position for due in found} == {f"0:{number}" for number in range(5)}
    rest = [due.id for due in found if due.delivery is None]
    assert all(bed.backend.messages(rest))


def test_at_most_the_limit_is_taken_and_the_longest_due_first(bed: Bed) -> None:
    bed.backend = bed.open(publish_grace=SHORT)
    first = bed.submit(3)
    bed.pass_time()
    bed.submit(3)
    bed.pass_time()
    assert ids(bed.backend.sweep(3, 3)[1]) == sorted(one.message.id for one in first)


def test_a_dead_workers_record_is_queued_again_and_says_so(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.lost(one, worker=worker("dead"))
    due = bed.backend.sweep(100, 100)[1][0]

    assert (due.id, due.reclaimed, due.status) == (one.message.id, True, Status.QUEUED)
    record = bed.record(one)
    assert (record.status, record.lost, record.fence, record.attempt) == (Status.QUEUED, 1, answer.fence, 1)
    assert [run.reason for run in record.history] == ["worker lost"]
    assert bed.backend.counts().queues == {"default": {"queued": 1}}
    assert due.delivery is not None
    again = bed.run(due.delivery)
    assert (again.attempt, again.lost) == (2, 1)


def test_after_the_sweep_a_late_extend_takes_the_record_back(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.lost(one)
    bed.backend.sweep(100, 100)
    assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["ok"]
    assert bed.record(one).status is Status.PROCESSING
    assert bed.backend.counts().queues == {"default": {"processing": 1}}
    assert bed.claim([one], worker=worker("b"))[0].verdict == "busy"
    assert bed.finish(outcome(one.message.id, answer)) == ["ok"]


def test_after_the_sweep_a_late_finish_counts_until_somebody_claims(bed: Bed) -> None:
    early, late, retried = bed.submit(3)
    answers = [bed.lost(one) for one in (early, late, retried)]
    bed.backend.sweep(100, 100)
    bed.run(late, worker=worker("b"))
    codes = bed.finish(
        outcome(early.message.id, answers[0]),
        outcome(late.message.id, answers[1]),
        outcome(retried.message.id, answers[2], Status.SCHEDULED),
    )
    assert codes == ["ok", "fenced", "ok"]
    assert bed.record(retried).status is Status.SCHEDULED
    assert bed.backend.counts().queues == {"default": {"processing": 1, "scheduled": 1}} == bed.scan()


def test_past_the_limit_the_sweep_ends_a_record_as_poison(bed: Bed) -> None:
    one = bed.submit()[0]
    for _ in range(3):
        bed.lost(one, worker=worker("dead"))
        bed.backend.sweep(100, 100)
    last = bed.lost(one, worker=worker("dead"))
    due = bed.backend.sweep(100, 0)[1][0]

    assert (due.status, due.reclaimed) == (Status.FAILED, True)
    assert due.delivery is not None
    record = bed.record(one)
    assert (record.status, record.lost, record.fence) == (Status.FAILED, 4, last.fence + 1)
    assert record.error is not None
    assert record.error.message == "worker lost 4 times"
    assert bed.finish(outcome(one.message.id, last)) == ["fenced"]


def test_a_due_retry_is_queued_under_a_raised_fence(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)
    retry = outcome(one.message.id, answer, Status.SCHEDULED, retry_in=SHORT)
    bed.finish(retry)
    bed.pass_time()
    due = bed.backend.sweep(100, 0)[1][0]

    assert (due.status, due.position, due.reclaimed) == (Status.QUEUED, "", False)
    assert due.delivery is not None
    assert bed.record(one).fence == answer.fence + 1
    assert bed.finish(retry) == ["fenced"]
    assert bed.run(due.delivery).attempt == 2


def test_a_delayed_record_is_queued_when_its_time_has_come(bed: Bed) -> None:
    one = bed.submit(delay=SHORT)[0]
    bed.pass_time()
    due = bed.backend.sweep(100, 100)[1][0]
    assert due.delivery is not None
    assert bed.record(one).status is Status.QUEUED
    assert bed.run(due.delivery).attempt == 1


def test_a_released_record_is_found_at_once(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.backend.confirm([(one.message.id, "0:7")])
    bed.backend.release([given_back(one.message.id, bed.run(one))], bed.worker)
    due = bed.backend.sweep(100, 100)[1][0]
    assert (due.id, due.position) == (one.message.id, "0:7")


def test_a_sweeper_takes_as_many_released_as_it_has_room_for_and_leaves_the_rest_to_others(bed: Bed) -> None:
    ones = bed.submit(5)
    bed.backend.confirm([(one.message.id, "0:7") for one in ones])
    bed.backend.release(
        [given_back(one.message.id, answer) for one, answer in zip(ones, bed.claim(ones), strict=True)], bed.worker
    )
    first, second = bed.backend.sweep(100, 2)[1], bed.backend.sweep(100, 2)[1]
    assert (len(first), len(second)) == (2, 2)
    assert len(set(ids(first) + ids(second))) == 4

    last = next(one for one in ones if one.message.id not in ids(first) + ids(second))
    before = bed.score(last)
    assert bed.backend.sweep(100, 0)[1] == []
    assert bed.score(last) == before
    assert ids(bed.backend.sweep(1, 0)[1]) == [last.message.id]  # so many that they would hide what is behind them
    assert bed.backend.time_ms() < (bed.score(last) or 0) <= bed.backend.time_ms() + 1_000


def test_a_reclaimed_record_is_looked_at_every_second_until_somebody_has_a_slot(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.lost(one)
    now_ms, found = bed.backend.sweep(100, 0)
    assert ids(found) == [one.message.id]
    assert now_ms < (bed.score(one) or 0) <= now_ms + 1_100
    bed.backend.confirm([(one.message.id, "0:7")])
    assert (bed.score(one) or 0) <= bed.backend.time_ms() + 1_000
    bed.run(one)
    assert "rl" not in bed.fields(one)


def test_a_score_that_lies_is_set_right(bed: Bed) -> None:
    running, delayed, ended, ghost = bed.submit()[0], bed.submit(delay=60)[0], bed.submit()[0], submission().message.id
    bed.run(running)
    bed.finish(outcome(ended.message.id, bed.run(ended)))
    right = bed.score(running), bed.score(delayed)
    for task_id in (running.message.id, delayed.message.id, ended.message.id, ghost):
        bed.store.run("ZADD", bed.shard_key("open"), 1, task_id)
    assert bed.backend.sweep(100, 100)[1] == []
    assert (bed.score(running), bed.score(delayed)) == right
    assert (bed.score(ended), bed.score(ghost)) == (None, None)


def test_a_damaged_record_is_passed_over_and_looked_at_later(bed: Bed) -> None:
    bed.backend = bed.open(publish_grace=SHORT)
    wrong_type, wrong_status, fine = bed.submit(3)
    bed.store.run("SET", bed.key("task", wrong_type), "x")
    bed.store.run("HSET", bed.key("task", wrong_status), "st", "sleeping")
    bed.pass_time()
    assert ids(bed.backend.sweep(100, 100)[1]) == [fine.message.id]
    for one in (wrong_type, wrong_status):
        assert (bed.score(one) or 0) - bed.backend.time_ms() > 29 * 60_000


def test_a_kept_message_that_cannot_be_read_is_none(bed: Bed) -> None:
    bed.backend = bed.open(publish_grace=SHORT)
    one = bed.submit()[0]
    bed.store.run("SET", bed.key("message", one), b"{nonsense")
    bed.pass_time()
    assert bed.backend.sweep(100, 100)[1][0].delivery is None
    assert bed.backend.messages([one.message.id]) == [None]
