"""Claim: the one way to run anything, each time under a larger fence."""

from __future__ import annotations

import pytest

from tests.integration.backend.bed import SHORT, STATS, Bed, delivery, given_back, outcome, submission, worker
from yadtq_core.model import Counts, Status, Verdict

DAY_MS = 86_400_000


def test_a_queued_record_runs_under_a_fence_of_now(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)

    now_ms = bed.backend.time_ms()
    assert 0 <= now_ms - answer.started_at_ms < 2000
    assert answer.fence // 1000 == answer.started_at_ms
    assert (answer.attempt, answer.lost) == (1, 0)
    record = bed.record(one)
    assert (record.status, record.worker_id, record.attempt, record.fence) == (Status.PROCESSING, "w", 1, answer.fence)
    assert record.started_at == answer.started_at_ms / 1000
    assert bed.score(one) == answer.started_at_ms + 15_000
    assert [(hold.id, hold.fence) for hold in bed.backend.held(bed.worker)] == [(one.message.id, answer.fence)]


def test_a_claim_whose_reply_was_lost_gets_the_same_lease_again(bed: Bed) -> None:
    ones = bed.submit(3)
    first = bed.claim(ones, nonce="n1")
    assert bed.claim(ones, nonce="n1") == first
    assert bed.backend.counts().queues == {"default": {"processing": 3}}

    other = bed.claim(ones, nonce="n2")
    assert [answer.verdict for answer in other] == [Verdict.BUSY] * 3
    assert all(14_000 < answer.wait_ms <= 15_000 for answer in other)


def test_the_same_claim_again_after_a_takeover_gets_nothing(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.lost(one, nonce="n1")
    bed.run(one, worker=worker("b"))
    assert bed.claim([one], nonce="n1")[0].verdict is Verdict.BUSY


def test_a_lease_that_is_over_is_taken_over_under_a_larger_fence(bed: Bed) -> None:
    one = bed.submit()[0]
    dead = worker("dead")
    first = bed.lost(one, worker=dead)
    second = bed.run(one)

    assert second.fence > first.fence
    assert (second.attempt, second.lost) == (2, 1)
    record = bed.record(one)
    assert (record.lost, record.worker_id) == (1, "w")
    assert [(run.attempt, run.worker_id, run.reason) for run in record.history] == [(1, "dead", "worker lost")]
    assert bed.backend.held(dead) == []
    assert bed.finish(outcome(one.message.id, first), worker=dead) == ["fenced"]
    assert bed.finish(outcome(one.message.id, second)) == ["ok"]


def test_past_the_limit_of_lost_workers_the_record_fails(bed: Bed) -> None:
    one = bed.submit()[0]
    for _ in range(4):
        bed.lost(one, worker=worker("dead"))
    answer = bed.claim([one])[0]

    assert (answer.verdict, answer.lost) == (Verdict.POISON, 4)
    record = bed.record(one)
    assert record.status is Status.FAILED
    assert record.error is not None
    assert (record.error.type, record.error.message) == ("WorkerLost", "worker lost 4 times")
    assert (bed.score(one) or 0) <= bed.backend.time_ms()
    assert bed.backend.messages([one.message.id])[0] is not None
    assert bed.claim([one])[0].verdict is Verdict.DONE
    assert bed.backend.counts() == Counts({}, {"failed": 1})


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILED, Status.CANCELLED])
def test_what_has_ended_is_done(bed: Bed, status: Status) -> None:
    one = bed.submit()[0]
    bed.finish(outcome(one.message.id, bed.run(one), status))
    assert bed.claim([one])[0].verdict is Verdict.DONE


def test_what_is_not_due_is_later_and_runs_when_its_time_has_come(bed: Bed) -> None:
    later, due = bed.submit(delay=60)[0], bed.submit(delay=SHORT)[0]
    bed.pass_time()
    assert [answer.verdict for answer in bed.claim([later, due])] == [Verdict.LATER, Verdict.RUN]


def test_a_message_without_a_record_rebuilds_it(bed: Bed) -> None:
    given = submission("mul", queue="fast")
    one = delivery(given, bed.backend.time_ms(), partition=2, offset=9)
    known = bed.submit()[0]
    answers = bed.claim([one, known])

    assert [answer.verdict for answer in answers] == [Verdict.RUN, Verdict.RUN]
    record = bed.record(one)
    assert (record.task, record.queue, record.status, record.position) == ("mul", "fast", Status.PROCESSING, "2:9")
    assert record.submitted_at == one.message.submitted_at_ms / 1000
    kept = bed.backend.messages([one.message.id])[0]
    assert kept is not None
    assert kept.body == one.body
    assert bed.finish(outcome(one.message.id, answers[0])) == ["ok"]
    assert bed.backend.create([given])[0].code == "exists"


def test_a_rebuild_whose_reply_was_lost_gets_the_same_lease_again(bed: Bed) -> None:
    one = delivery(submission(), bed.backend.time_ms())
    assert bed.claim([one], nonce="n1") == bed.claim([one], nonce="n1")


def test_a_message_that_bears_no_time_counts_as_new(bed: Bed) -> None:
    bed.backend.heartbeat(bed.worker, STATS, ())
    one = delivery(submission(), 0)
    bed.run(one)
    assert abs(bed.record(one).submitted_at - bed.backend.time_ms() / 1000) < 5


def test_fences_grow_even_after_everything_was_lost(bed: Bed) -> None:
    one = bed.submit()[0]
    first = bed.run(one)
    bed.lose_everything()
    second = bed.run(one)

    assert second.fence > first.fence
    assert bed.finish(outcome(one.message.id, first)) == ["fenced"]
    assert bed.finish(outcome(one.message.id, second)) == ["ok"]


@pytest.mark.parametrize("ahead", [9_000_000_000_000_001, 0])
def test_a_clock_that_goes_back_still_gives_a_larger_fence(bed: Bed, ahead: int) -> None:
    one = bed.submit()[0]
    ahead = ahead or bed.backend.time_ms() * 1000 + 2_000_000
    bed.backend.release([given_back(one.message.id, bed.run(one))], bed.worker)
    bed.store.run("HSET", bed.key("task", one), "fe", ahead)
    answer = bed.run(one)

    assert answer.fence == ahead + 1
    assert bed.fields(one)["fe"] == str(ahead + 1)
    assert bed.finish(outcome(one.message.id, answer)) == ["ok"]


def test_an_old_message_without_a_record_may_have_run_and_expired(bed: Bed) -> None:
    bed.backend.heartbeat(bed.worker, STATS, ())
    bed.store.run("HSET", bed.shard_key("epoch"), "past", "")
    old = delivery(submission(), bed.backend.time_ms() - DAY_MS)
    young = delivery(submission(), bed.backend.time_ms() - DAY_MS + 60_000)

    assert [answer.verdict for answer in bed.claim([old, young])] == [Verdict.TOO_OLD, Verdict.RUN]
    assert bed.backend.get([old.message.id]) == [None]
    assert bed.score(old) is None


def test_an_old_message_runs_while_no_epoch_stands(bed: Bed) -> None:
    bed.submit()  # sets `born`, which is no epoch
    bed.run(delivery(submission(), bed.backend.time_ms() - 2 * DAY_MS))


def test_an_old_message_runs_if_the_store_may_have_lost_its_record(bed: Bed) -> None:
    bed.backend.heartbeat(bed.worker, STATS, ())
    now_ms = bed.backend.time_ms()
    lost = f"a:0:{now_ms - 3 * DAY_MS}:{now_ms - 2 * DAY_MS};b:5:0:7;"
    bed.store.run("HSET", bed.shard_key("epoch"), "past", lost)
    inside = delivery(submission(), now_ms - 2 * DAY_MS)
    outside = delivery(submission(), now_ms - 2 * DAY_MS + 1)

    assert [answer.verdict for answer in bed.claim([inside, outside])] == [Verdict.RUN, Verdict.TOO_OLD]


def test_a_damaged_record_is_its_own_error_and_nobody_elses(bed: Bed) -> None:
    wrong_type, wrong_status, fine = bed.submit(3)
    bed.store.run("SET", bed.key("task", wrong_type), "x")
    bed.store.run("HSET", bed.key("task", wrong_status), "st", "sleeping")
    answers = bed.claim([wrong_type, wrong_status, fine])

    assert [answer.verdict for answer in answers] == [Verdict.ERROR, Verdict.ERROR, Verdict.RUN]
    assert "WRONGTYPE" in answers[0].error
    assert "sleeping" in answers[1].error
    assert bed.score(fine) is not None


def test_a_lease_is_live_to_its_last_moment(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.run(one, backend=bed.open(lease=0.5))
    answer = bed.claim([one])[0]
    assert answer.verdict is Verdict.BUSY
    assert 0 < answer.wait_ms <= 500


def test_after_an_outage_a_lease_that_ended_is_still_its_workers(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.lost(one)
    calm = bed.backend.claim([one], worker("b"), "n", nothing_stale=True)[0]
    assert (calm.verdict, calm.wait_ms) == (Verdict.BUSY, 15_000)
    assert bed.record(one).lost == 0
    assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["ok"]
