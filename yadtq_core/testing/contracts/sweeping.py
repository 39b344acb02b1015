"""The backend's contract: sweep."""

from __future__ import annotations

import pytest

from yadtq_core.model import Delivery, Status, new_id
from yadtq_core.testing.contracts.backend_bed import SHORT, BackendBed, outcome, worker


class SweepingContract:
    """A sweep finds every record that is due: it becomes ready for any worker, or it ends."""

    def test_after_a_sweep_a_late_outcome_counts_until_another_claim(self, bed: BackendBed) -> None:
        early, late, retried = bed.submit(3)
        answers = [bed.lost(one) for one in (early, late, retried)]
        bed.sweep()
        bed.run(late, worker=worker("b"))
        codes = bed.finish(
            outcome(early.message.id, answers[0]),
            outcome(late.message.id, answers[1]),
            outcome(retried.message.id, answers[2], Status.SCHEDULED),
        )
        assert codes == ["ok", "fenced", "ok"]
        assert bed.record(retried).status is Status.SCHEDULED
        assert bed.backend.counts().queues == {"default": {"processing": 1, "scheduled": 1}}
        assert [bed.record(one).lost for one in (early, late, retried)] == [0, 1, 0], "these two runs were not lost"
        assert bed.record(early).history == ()
        assert [run.reason for run in bed.record(retried).history] == ["ValueError: no"]
        assert bed.take() == []

    def test_a_lost_run_to_be_cancelled_is_ended_by_the_next_sweep(self, bed: BackendBed) -> None:
        one, dead = bed.submit()[0], worker("dead")
        bed.lost(one, worker=dead)
        bed.backend.cancel([one.message.id], "enough")
        found = bed.sweep()
        assert (found.reclaimed, found.failed, found.ready) == ([], [], {"default": 0})
        assert bed.record(one).status is Status.CANCELLED
        assert bed.backend.held(dead) == []
        assert bed.backend.counts().ended == {"cancelled": 1}

    def test_nothing_is_due_before_its_time(self, bed: BackendBed) -> None:
        fresh, delayed, running = bed.submit()[0], bed.submit(delay=60)[0], bed.submit()[0]
        bed.run(running)
        found = bed.sweep()
        assert (found.reclaimed, found.failed, found.ready, found.more) == ([], [], {"default": 0}, False)
        assert abs(found.now_ms - bed.backend.time_ms()) < 30_000
        assert [bed.record(one).status for one in (fresh, delayed, running)] == ["queued", "scheduled", "processing"]

    def test_a_sweep_looks_at_most_at_the_limit_the_longest_due_first(self, bed: BackendBed) -> None:
        bed.backend = bed.open(publish_grace=SHORT)

        def three() -> list[Delivery]:
            return [bed.submit(id=new_id()[:-2] + "00")[0] for _ in range(3)]  # of one shard: the limit is per shard

        first = three()
        bed.pass_time()
        three()
        bed.pass_time()
        found = bed.backend.sweep(3, ["default"])
        assert (found.ready, found.more) == ({"default": 3}, True)
        assert set(bed.take()) == {one.message.id for one in first}
        assert bed.backend.sweep(4, ["default"]).more is False

    def test_a_flood_of_due_delays_does_not_stand_before_an_ended_lease(self, bed: BackendBed) -> None:
        lost, *delayed = (bed.submit(id=new_id()[:-2] + "00", delay=delay)[0] for delay in (0.0, *[SHORT] * 5))
        bed.pass_time()
        bed.lost(lost)
        found = bed.backend.sweep(3, ["default"])
        assert [due.id for due in found.reclaimed] == [lost.message.id]
        assert (found.ready, found.more) == ({"default": 3}, True)
        found = bed.backend.sweep(3, ["default"])
        assert (found.reclaimed, found.ready) == ([], {"default": 6})
        assert len(delayed) == 5

    def test_a_sweep_reclaims_the_record_of_a_dead_worker(self, bed: BackendBed) -> None:
        one = bed.submit(queue="fast")[0]
        answer = bed.lost(one, worker=worker("dead"))
        found = bed.sweep("fast")
        assert [(due.id, due.task, due.queue) for due in found.reclaimed] == [(one.message.id, "add", "fast")]
        assert (found.failed, found.ready) == ([], {"fast": 1})
        record = bed.record(one)
        assert (record.status, record.lost, record.fence, record.attempt) == (Status.QUEUED, 1, answer.fence, 1)
        assert [run.reason for run in record.history] == ["worker lost"]
        assert bed.backend.counts().queues == {"fast": {"queued": 1}}
        assert bed.sweep("fast").reclaimed == []
        (taken,) = bed.backend.take({"fast": 9}, ()).deliveries
        again = bed.run(taken)
        assert (again.attempt, again.lost) == (2, 1)

    def test_a_sweep_serves_queues_that_its_worker_does_not(self, bed: BackendBed) -> None:
        one = bed.submit(queue="fast")[0]
        bed.lost(one)
        found = bed.sweep("default")
        assert [due.queue for due in found.reclaimed] == ["fast"]
        assert found.ready == {"default": 0}
        assert bed.take(queue="fast") == [one.message.id]

    def test_after_a_sweep_a_late_extend_renews_the_lease(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.lost(one)
        bed.sweep()
        assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["ok"]
        assert bed.record(one).status is Status.PROCESSING
        assert bed.take() == []
        assert bed.backend.counts().queues == {"default": {"processing": 1}}
        assert bed.claim([one], worker=worker("b"))[0].verdict == "busy"
        assert bed.finish(outcome(one.message.id, answer)) == ["ok"]

    @pytest.mark.parametrize("taken", [False, True])
    def test_a_worker_that_is_only_slow_loses_nothing(self, bed: BackendBed, taken: bool) -> None:
        """Found by a critic: a worker paused four times failed a healthy run."""
        one = bed.submit()[0]
        answer = bed.lost(one)
        for _ in range(5):
            assert [due.id for due in bed.sweep().reclaimed] == [one.message.id]
            assert bed.record(one).lost == 1
            if taken:
                assert bed.take() == [one.message.id]
            assert bed.open(lease=SHORT).extend([bed.hold(one, answer)], bed.worker) == ["ok"]
            assert (bed.record(one).lost, bed.record(one).history) == (0, ())
            bed.pass_time()
        assert bed.finish(outcome(one.message.id, answer)) == ["ok"]

    def test_a_sweep_past_the_lost_limit_fails_the_record(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        for _ in range(3):
            bed.lost(one, worker=worker("dead"))
            bed.sweep()
        last = bed.lost(one, worker=worker("dead"))
        found = bed.sweep()
        assert [due.id for due in found.failed] == [due.id for due in found.reclaimed] == [one.message.id]
        assert found.ready == {"default": 0}
        record = bed.record(one)
        assert (record.status, record.lost, record.fence) == (Status.FAILED, 4, last.fence + 1)
        assert record.error is not None
        assert record.error.message == "worker lost 4 times"
        assert bed.finish(outcome(one.message.id, last)) == ["fenced"]
        assert bed.backend.messages([one.message.id]) == [one.body]
        assert bed.failed() == [], "the next sweep asks again after the publish grace only"

    def test_a_due_retry_is_ready_under_a_raised_fence(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        retry = outcome(one.message.id, answer, Status.SCHEDULED, retry_in=SHORT)
        bed.finish(retry)
        bed.pass_time()
        found = bed.sweep()
        assert (found.reclaimed, found.failed, found.ready) == ([], [], {"default": 1})
        assert (bed.record(one).status, bed.record(one).fence) == (Status.QUEUED, answer.fence + 1)
        assert bed.finish(retry) == ["fenced"]
        (taken,) = bed.backend.take({"default": 9}, ()).deliveries
        assert bed.run(taken).attempt == 2

    def test_a_delayed_record_is_ready_when_it_is_due(self, bed: BackendBed) -> None:
        one = bed.submit(delay=SHORT)[0]
        bed.pass_time()
        assert bed.ready() == 1
        assert bed.record(one).status is Status.QUEUED
        (taken,) = bed.backend.take({"default": 9}, ()).deliveries
        assert bed.run(taken).attempt == 1
