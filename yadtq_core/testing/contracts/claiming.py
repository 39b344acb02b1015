"""The backend's contract: claim and offer."""

from __future__ import annotations

import pytest

from yadtq_core.model import Counts, Status, Verdict
from yadtq_core.testing.contracts.records import SHORT, STATS, Records, delivery, outcome, submission, worker

DAY_MS = 86_400_000


class ClaimingContract:
    """The one way to run anything, each time under a larger fence; and leaving it to others."""

    def test_a_queued_record_runs_under_a_fence(self, bed: Records) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        assert 0 <= bed.backend.time_ms() - answer.started_at_ms < 30_000
        assert (answer.attempt, answer.lost) == (1, 0)
        record = bed.record(one)
        assert (record.status, record.worker_id, record.attempt) == (Status.PROCESSING, "w", 1)
        assert (record.fence, record.started_at) == (answer.fence, answer.started_at_ms / 1000)
        assert [(hold.id, hold.fence) for hold in bed.backend.held(bed.worker)] == [(one.message.id, answer.fence)]

    def test_past_the_limit_of_lost_workers_the_record_fails(self, bed: Records) -> None:
        one = bed.submit()[0]
        for _ in range(4):
            bed.lost(one, worker=worker("dead"))
        answer = bed.claim([one])[0]
        assert (answer.verdict, answer.lost) == (Verdict.POISON, 4)
        record = bed.record(one)
        assert record.status is Status.FAILED
        assert record.error is not None
        assert (record.error.type, record.error.message) == ("WorkerLost", "worker lost 4 times")
        assert bed.due() == [one.message.id]
        assert bed.backend.messages([one.message.id])[0] is not None
        assert bed.claim([one])[0].verdict is Verdict.DONE
        assert bed.backend.counts() == Counts({}, {"failed": 1})

    def test_an_old_message_without_a_record_may_have_run_and_expired(self, bed: Records) -> None:
        bed.backend.heartbeat(bed.worker, STATS, ())
        later = delivery(submission(), bed.backend.time_ms() + 1)
        bed.pass_time()
        backend = bed.open(result_ttl=SHORT)
        assert bed.claim([later], backend=backend)[0].verdict is Verdict.TOO_OLD
        assert backend.offer([later])[0].verdict is Verdict.TOO_OLD
        assert bed.backend.get([later.message.id]) == [None]

    def test_an_old_message_runs_if_its_record_may_have_been_lost_with_the_store(self, bed: Records) -> None:
        bed.backend.heartbeat(bed.worker, STATS, ())
        before_the_first_epoch = delivery(submission(), bed.backend.time_ms() - 3 * DAY_MS)
        bed.run(before_the_first_epoch)

    def test_an_offered_record_is_found_by_the_next_sweep_and_runs_at_once(self, bed: Records) -> None:
        one = bed.submit()[0]
        assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
        assert bed.record(one).status is Status.QUEUED
        found = bed.backend.sweep(10, 10)[1]
        assert [due.id for due in found] == [one.message.id]
        assert found[0].delivery is not None
        assert bed.run(found[0].delivery).attempt == 1

    def test_an_offer_rebuilds_a_missing_record_as_queued(self, bed: Records) -> None:
        one = delivery(submission(), bed.backend.time_ms())
        assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
        record = bed.record(one)
        assert (record.status, record.position, record.attempt) == (Status.QUEUED, "0:7", 0)
        assert bed.backend.counts().queues == {"default": {"queued": 1}}
        assert bed.backend.messages([one.message.id])[0] is not None

    def test_a_claim_whose_reply_was_lost_gets_the_same_lease_again(self, bed: Records) -> None:
        ones = bed.submit(3)
        first = bed.claim(ones, nonce="n1")
        assert bed.claim(ones, nonce="n1") == first
        assert bed.backend.counts().queues == {"default": {"processing": 3}}

        other = bed.claim(ones, nonce="n2")
        assert [answer.verdict for answer in other] == [Verdict.BUSY] * 3
        assert all(5_000 < answer.wait_ms <= 15_000 for answer in other)

    def test_the_same_claim_again_after_a_takeover_gets_nothing(self, bed: Records) -> None:
        one = bed.submit()[0]
        bed.lost(one, nonce="n1")
        bed.run(one, worker=worker("b"))
        assert bed.claim([one], nonce="n1")[0].verdict is Verdict.BUSY

    def test_a_lease_that_is_over_is_taken_over_under_a_larger_fence(self, bed: Records) -> None:
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
    def test_what_has_ended_is_done(self, bed: Records, status: Status) -> None:
        one = bed.submit()[0]
        bed.finish(outcome(one.message.id, bed.run(one), status))
        assert bed.claim([one])[0].verdict is Verdict.DONE

    def test_what_is_not_due_is_later_and_runs_when_its_time_has_come(self, bed: Records) -> None:
        later, due = bed.submit(delay=60)[0], bed.submit(delay=SHORT)[0]
        bed.pass_time()
        assert [answer.verdict for answer in bed.claim([later, due])] == [Verdict.LATER, Verdict.RUN]

    def test_a_message_without_a_record_rebuilds_it(self, bed: Records) -> None:
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

    def test_a_message_with_other_arguments_than_its_record_is_not_run(self, bed: Records) -> None:
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

    def test_a_rebuild_whose_reply_was_lost_gets_the_same_lease_again(self, bed: Records) -> None:
        one = delivery(submission(), bed.backend.time_ms())
        assert bed.claim([one], nonce="n1") == bed.claim([one], nonce="n1")

    def test_a_message_that_bears_no_time_counts_as_new(self, bed: Records) -> None:
        bed.backend.heartbeat(bed.worker, STATS, ())
        one = delivery(submission(), 0)
        bed.run(one)
        assert abs(bed.record(one).submitted_at - bed.backend.time_ms() / 1000) < 30

    def test_an_old_message_runs_while_no_epoch_stands(self, bed: Records) -> None:
        bed.submit()  # sets `born`, which is no epoch
        bed.run(delivery(submission(), bed.backend.time_ms() - 2 * DAY_MS))

    def test_a_lease_is_live_to_its_last_moment(self, bed: Records) -> None:
        one = bed.submit()[0]
        bed.run(one, backend=bed.open(lease=5.0))
        answer = bed.claim([one])[0]
        assert answer.verdict is Verdict.BUSY
        assert 0 < answer.wait_ms <= 5_000

    def test_after_an_outage_a_lease_that_ended_is_still_its_workers(self, bed: Records) -> None:
        one = bed.submit()[0]
        answer = bed.lost(one)
        calm = bed.backend.claim([one], worker("b"), "n", nothing_stale=True)[0]
        assert (calm.verdict, calm.wait_ms) == (Verdict.BUSY, 15_000)
        assert bed.record(one).lost == 0
        assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["ok"]

    def test_an_offer_answers_what_a_claim_would_but_never_run(self, bed: Records) -> None:
        done, busy, later, due = *bed.submit(2), bed.submit(delay=60)[0], bed.submit(delay=SHORT)[0]
        answers = bed.claim([done, busy])
        bed.finish(outcome(done.message.id, answers[0]))
        bed.pass_time()
        found = bed.backend.offer([done, busy, later, due])

        expected = [Verdict.DONE, Verdict.BUSY, Verdict.LATER, Verdict.OFFERED]
        assert [answer.verdict for answer in found] == expected
        assert found[1].wait_ms > 5_000
        assert bed.record(due).status is Status.QUEUED

    def test_an_offered_lost_run_is_accepted_until_somebody_claims(self, bed: Records) -> None:
        one = bed.submit()[0]
        dead = worker("dead")
        answer = bed.lost(one, worker=dead)
        assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
        assert (bed.record(one).status, bed.record(one).lost) == (Status.QUEUED, 1)
        assert bed.finish(outcome(one.message.id, answer), worker=dead) == ["ok"]

    def test_an_offer_of_poison_ends_it(self, bed: Records) -> None:
        one = bed.submit()[0]
        for _ in range(4):
            bed.lost(one)
        assert bed.backend.offer([one])[0].verdict is Verdict.POISON
        assert bed.record(one).status is Status.FAILED

    def test_an_offer_of_what_was_cancelled_ends_it(self, bed: Records) -> None:
        one = bed.submit()[0]
        bed.lost(one)
        bed.backend.cancel([one.message.id], "enough")
        assert bed.backend.offer([one])[0].verdict is Verdict.DONE
        assert bed.record(one).status is Status.CANCELLED

    def test_a_due_retry_is_offered_under_a_raised_fence(self, bed: Records) -> None:
        one = bed.submit()[0]
        retry = outcome(one.message.id, bed.run(one), Status.SCHEDULED, retry_in=SHORT)
        bed.finish(retry)
        bed.pass_time()
        assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
        assert bed.finish(retry) == ["fenced"]

    def test_as_many_lost_workers_as_are_allowed_are_no_poison(self, bed: Records) -> None:
        one = bed.submit()[0]
        for _ in range(3):
            bed.lost(one)
        assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
        assert bed.record(one).lost == 3
