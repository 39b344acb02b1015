"""The backend's contract: claim and offer."""

from __future__ import annotations

import pytest

from yadtq_core.model import Counts, Status, Verdict
from yadtq_core.testing.contracts.backend_bed import (
    SHORT,
    STATS,
    BackendBed,
    delivery,
    given_back,
    outcome,
    submission,
    worker,
)

DAY_MS = 86_400_000


class ClaimingContract:
    """A claim is the only way to run a task, each time under a larger fence; an offer leaves it to other workers."""

    def test_a_queued_record_runs_under_a_fence(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        assert 0 <= bed.backend.time_ms() - answer.started_at_ms < 30_000
        assert (answer.attempt, answer.lost) == (1, 0)
        record = bed.record(one)
        assert (record.status, record.worker_id, record.attempt) == (Status.PROCESSING, "w", 1)
        assert (record.fence, record.started_at) == (answer.fence, answer.started_at_ms / 1000)
        assert list(bed.backend.held(bed.worker)) == [bed.hold(one, answer)]

    def test_a_claim_past_the_lost_limit_fails_the_record(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        for _ in range(4):
            bed.lost(one, worker=worker("dead"))
        answer = bed.claim([one])[0]
        assert (answer.verdict, answer.lost) == (Verdict.POISON, 4)
        record = bed.record(one)
        assert record.status is Status.FAILED
        assert record.error is not None
        assert (record.error.type, record.error.message) == ("WorkerLost", "worker lost 4 times")
        assert bed.failed() == [one.message.id]
        assert bed.backend.messages([one.message.id])[0] is not None
        assert bed.claim([one])[0].verdict is Verdict.DONE
        assert bed.backend.counts() == Counts({}, {"failed": 1})

    def test_an_old_message_without_a_record_is_too_old(self, bed: BackendBed) -> None:
        bed.backend.heartbeat(bed.worker, STATS, ())
        later = delivery(submission(), bed.backend.time_ms() + 1)
        bed.pass_time()
        backend = bed.open(result_ttl=SHORT)
        assert bed.claim([later], backend=backend)[0].verdict is Verdict.TOO_OLD
        assert backend.offer([later])[0].verdict is Verdict.TOO_OLD
        assert bed.backend.get([later.message.id]) == [None]

    def test_an_old_message_runs_if_the_store_may_have_lost_its_record(self, bed: BackendBed) -> None:
        bed.backend.heartbeat(bed.worker, STATS, ())
        before_the_first_epoch = delivery(submission(), bed.backend.time_ms() - 3 * DAY_MS)
        bed.run(before_the_first_epoch)

    def test_an_offered_record_can_be_taken_at_once(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.confirm(one)
        assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
        assert bed.record(one).status is Status.QUEUED
        assert bed.backend.highest("default", range(256)) == {}, "it no longer waits in the log"
        (taken,) = bed.backend.take({"default": 9}, ()).deliveries
        assert taken.message == one.message
        assert bed.run(taken).attempt == 1
        assert bed.ready() == 0

    def test_a_claim_from_the_log_takes_an_offered_record(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.backend.offer([one])
        bed.run(one)
        assert bed.take() == []
        assert bed.ready() == 0

    def test_a_claimed_record_waits_in_the_log_no_more(self, bed: BackendBed) -> None:
        one = bed.submit(queue="fast")[0]
        bed.confirm(one)
        bed.run(one)
        assert bed.backend.highest("fast", range(256)) == {}

    def test_an_offer_rebuilds_a_missing_record_as_queued(self, bed: BackendBed) -> None:
        one = delivery(submission(), bed.backend.time_ms())
        assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
        record = bed.record(one)
        assert (record.status, record.position, record.attempt) == (Status.QUEUED, "0:7", 0)
        assert bed.backend.counts().queues == {"default": {"queued": 1}}
        assert bed.backend.messages([one.message.id])[0] is not None
        assert bed.take() == [one.message.id]

    def test_a_claim_whose_reply_was_lost_gets_the_same_lease_again(self, bed: BackendBed) -> None:
        ones = bed.submit(3)
        first = bed.claim(ones, nonce="n1")
        assert bed.claim(ones, nonce="n1") == first
        assert bed.backend.counts().queues == {"default": {"processing": 3}}

        other = bed.claim(ones, nonce="n2")
        assert [answer.verdict for answer in other] == [Verdict.BUSY] * 3
        assert all(5_000 < answer.wait_ms <= 15_000 for answer in other)

    def test_the_same_claim_again_after_a_takeover_gets_nothing(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.lost(one, nonce="n1")
        bed.run(one, worker=worker("b"))
        assert bed.claim([one], nonce="n1")[0].verdict is Verdict.BUSY

    def test_an_ended_lease_is_taken_over_under_a_larger_fence(self, bed: BackendBed) -> None:
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

    @pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILED, Status.CANCELLED])
    def test_a_claim_of_an_ended_record_is_done(self, bed: BackendBed, status: Status) -> None:
        one = bed.submit()[0]
        bed.finish(outcome(one.message.id, bed.run(one), status))
        assert bed.claim([one])[0].verdict is Verdict.DONE

    def test_a_scheduled_record_is_later_until_it_is_due(self, bed: BackendBed) -> None:
        later, due = bed.submit(delay=60)[0], bed.submit(delay=SHORT)[0]
        bed.pass_time()
        assert [answer.verdict for answer in bed.claim([later, due])] == [Verdict.LATER, Verdict.RUN]

    def test_a_message_without_a_record_rebuilds_it(self, bed: BackendBed) -> None:
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
        assert kept == one.body
        assert bed.finish(outcome(one.message.id, answers[0])) == ["ok"]
        assert bed.backend.create([given])[0].code == "exists"

    def test_a_message_with_other_arguments_than_its_record_is_not_run(self, bed: BackendBed) -> None:
        forgotten, known = submission(), bed.submit()[0]
        standing = bed.submit(id=forgotten.message.id, arguments=b"[[7],{}]")[0]
        stale = delivery(forgotten, bed.backend.time_ms())
        answers = bed.claim([stale, known])
        assert [answer.verdict for answer in answers] == [Verdict.BUSY, Verdict.RUN]
        assert "other arguments" in answers[0].error
        answer = bed.run(standing)
        assert bed.claim([stale])[0].verdict is Verdict.BUSY
        bed.finish(outcome(standing.message.id, answer))
        assert bed.claim([stale])[0].verdict is Verdict.DONE

    def test_a_rebuild_whose_reply_was_lost_gets_the_same_lease_again(self, bed: BackendBed) -> None:
        one = delivery(submission(), bed.backend.time_ms())
        assert bed.claim([one], nonce="n1") == bed.claim([one], nonce="n1")

    def test_a_message_without_a_submit_time_counts_as_new(self, bed: BackendBed) -> None:
        bed.backend.heartbeat(bed.worker, STATS, ())
        one = delivery(submission(), 0)
        bed.run(one)
        assert abs(bed.record(one).submitted_at - bed.backend.time_ms() / 1000) < 30

    def test_an_old_message_runs_while_there_is_no_epoch(self, bed: BackendBed) -> None:
        bed.submit()  # notes the time of the first record, which is not an epoch
        bed.run(delivery(submission(), bed.backend.time_ms() - 2 * DAY_MS))

    def test_a_live_lease_answers_busy_with_the_time_left(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.run(one, backend=bed.open(lease=5.0))
        answer = bed.claim([one])[0]
        assert answer.verdict is Verdict.BUSY
        assert 0 < answer.wait_ms <= 5_000

    def test_after_an_outage_an_ended_lease_counts_as_live(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.lost(one)
        calm = bed.backend.claim([one], worker("b"), "n", nothing_stale=True)[0]
        assert (calm.verdict, calm.wait_ms) == (Verdict.BUSY, 15_000)
        assert bed.record(one).lost == 0
        assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["ok"]

    def test_an_offer_answers_as_a_claim_but_never_run(self, bed: BackendBed) -> None:
        done, busy, later, due = *bed.submit(2), bed.submit(delay=60)[0], bed.submit(delay=SHORT)[0]
        answers = bed.claim([done, busy])
        bed.finish(outcome(done.message.id, answers[0]))
        bed.pass_time()
        found = bed.backend.offer([done, busy, later, due])

        expected = [Verdict.DONE, Verdict.BUSY, Verdict.LATER, Verdict.OFFERED]
        assert [answer.verdict for answer in found] == expected
        assert found[1].wait_ms > 5_000
        assert bed.record(due).status is Status.QUEUED

    def test_after_an_offer_a_late_outcome_counts_until_another_claim(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        dead = worker("dead")
        answer = bed.lost(one, worker=dead)
        assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
        assert (bed.record(one).status, bed.record(one).lost) == (Status.QUEUED, 1)
        assert bed.finish(outcome(one.message.id, answer), worker=dead) == ["ok"]
        assert (bed.record(one).lost, bed.record(one).history) == (0, ()), "the run was not lost"
        assert bed.take() == []

    def test_after_an_offer_a_late_extend_takes_its_loss_back(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.lost(one)
        for _ in range(5):  # more often than the limit
            bed.backend.offer([one])
            assert bed.record(one).lost == 1
            assert bed.open(lease=SHORT).extend([bed.hold(one, answer)], bed.worker) == ["ok"]
            assert (bed.record(one).lost, bed.record(one).history) == (0, ())
            bed.pass_time()

    def test_an_offer_of_a_poison_task_fails_it(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        for _ in range(4):
            bed.lost(one)
        assert bed.backend.offer([one])[0].verdict is Verdict.POISON
        assert bed.record(one).status is Status.FAILED

    def test_an_offer_of_a_cancelled_task_ends_it(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.lost(one)
        bed.backend.cancel([one.message.id], "enough")
        assert bed.backend.offer([one])[0].verdict is Verdict.DONE
        assert bed.record(one).status is Status.CANCELLED

    def test_a_due_retry_is_offered_under_a_raised_fence(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        retry = outcome(one.message.id, bed.run(one), Status.SCHEDULED, retry_in=SHORT)
        bed.finish(retry)
        bed.pass_time()
        assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
        assert bed.finish(retry) == ["fenced"]

    def test_a_record_at_the_lost_limit_is_not_poison(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        for _ in range(3):
            bed.lost(one)
        assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
        assert bed.record(one).lost == 3

    @pytest.mark.parametrize("count", [0, 1, 501])
    def test_ended_is_true_for_records_that_have_ended_and_for_no_other(self, bed: BackendBed, count: int) -> None:
        success, failed, cancelled, retried, running, requeued, queued = bed.submit(7)
        for one, status in ((success, Status.SUCCESS), (failed, Status.FAILED), (retried, Status.SCHEDULED)):
            assert bed.finish(outcome(one.message.id, bed.run(one), status)) == ["ok"]
        bed.backend.cancel([cancelled.message.id], "enough")
        bed.run(running)
        bed.backend.release([given_back(requeued.message.id, bed.run(requeued))], bed.worker)
        never = submission().message.id
        ids = [one.message.id for one in (success, retried, failed, running, cancelled, requeued, queued)]
        before, counts = bed.backend.get(ids), bed.backend.counts()
        asked = [*ids, never, *[success.message.id, never] * count]
        expected = [True, False, True, False, True, False, False, False, *[True, False] * count]
        assert list(bed.backend.ended(asked)) == expected
        assert (bed.backend.get([*ids, never]), bed.backend.counts()) == ([*before, None], counts)
