"""The backend's contract: release and held."""

from __future__ import annotations

import pytest

from yadtq_core.model import Release, ReleaseReason, Status, Verdict
from yadtq_core.testing.contracts.backend_bed import SHORT, BackendBed, given_back, outcome, submission, worker

UNKNOWN, DIED, BACK = ReleaseReason.UNKNOWN_TASK, ReleaseReason.CHILD_DIED, ReleaseReason.HANDED_BACK
NOT_HERE = [ReleaseReason.UNKNOWN_TASK, ReleaseReason.BINDING_FAILED]


class ReleasingContract:
    """A record is requeued without an outcome, only under its current fence; a death counts once."""

    def test_an_unstarted_release_is_queued_and_counts_no_attempt(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one, nonce="n1")
        assert bed.backend.release([given_back(one.message.id, answer)], bed.worker) == ["ok"]
        record = bed.record(one)
        assert (record.status, record.attempt, record.fence) == (Status.QUEUED, 0, answer.fence + 1)
        assert (record.worker_id, record.started_at) == (None, None)
        assert bed.backend.held(bed.worker) == []
        assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["lost"]
        assert bed.finish(outcome(one.message.id, answer)) == ["fenced"]
        again = bed.run(one, nonce="n1")  # the nonce is cleared, so this is a new lease
        assert (again.attempt, again.fence > answer.fence + 1) == (1, True)

    def test_a_repeated_release_is_ok(self, bed: BackendBed) -> None:
        ones = bed.submit(3)
        answers = bed.claim(ones)
        releases = [
            given_back(ones[0].message.id, answers[0]),
            given_back(ones[1].message.id, answers[1], UNKNOWN, delay=5.0, note="unknown task 'add'"),
            given_back(ones[2].message.id, answers[2], DIED, lost=True, note="child killed by signal 9"),
        ]
        assert bed.backend.release(releases, bed.worker) == ["ok"] * 3
        before = [bed.record(one) for one in ones]
        assert bed.backend.release(releases, bed.worker) == ["ok"] * 3
        assert [bed.record(one) for one in ones] == before

    def test_an_unknown_task_is_scheduled_with_a_note(self, bed: BackendBed) -> None:
        one = bed.submit(task="nosuch")[0]
        back = given_back(one.message.id, bed.run(one), UNKNOWN, delay=30.0, note="unknown task")
        before_ms = bed.backend.time_ms()
        bed.backend.release([back], bed.worker)
        record = bed.record(one)
        assert (record.status, record.attempt, record.note) == (Status.SCHEDULED, 0, "unknown task")
        assert record.due_at is not None
        waits_ms = round(record.due_at * 1000) - 5_000
        assert before_ms <= waits_ms <= bed.backend.time_ms(), "the store decides how long, from the first release on"
        assert bed.claim([one])[0].verdict is Verdict.LATER

    def test_a_claim_clears_the_note_of_a_release(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        back = given_back(one.message.id, bed.run(one), DIED, lost=True, note="child killed by signal 9")
        bed.backend.release([back], bed.worker)
        assert bed.record(one).note == "child killed by signal 9"
        bed.run(one)
        assert bed.record(one).note is None

    def test_a_release_under_an_old_fence_is_fenced(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.lost(one)
        bed.run(one)
        missing = submission().message.id
        assert bed.backend.release([given_back(one.message.id, answer), given_back(missing, answer)], bed.worker) == [
            "fenced",
            "missing",
        ]
        assert bed.record(one).status is Status.PROCESSING

    def test_a_release_of_an_ended_record_changes_nothing(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        bed.finish(outcome(one.message.id, answer))
        assert bed.backend.release([given_back(one.message.id, answer)], bed.worker) == ["ok"]
        assert bed.record(one).status is Status.SUCCESS

    def test_a_requeued_run_keeps_its_attempt(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.backend.release([given_back(one.message.id, bed.run(one), BACK)], bed.worker)
        assert (bed.record(one).status, bed.record(one).attempt, bed.record(one).lost) == (Status.QUEUED, 1, 0)
        assert bed.run(one).attempt == 2

    def test_an_unknown_task_that_a_peer_has_loaded_is_ready_at_once(self, bed: BackendBed) -> None:
        one = bed.submit(task="nosuch")[0]
        bed.backend.release([given_back(one.message.id, bed.run(one), UNKNOWN)], bed.worker)
        assert (bed.record(one).status, bed.record(one).attempt) == (Status.QUEUED, 0)
        assert bed.take() == [one.message.id]

    @pytest.mark.parametrize("reason", NOT_HERE)
    def test_a_task_that_this_worker_cannot_run_waits_for_another_and_counts_no_attempt(
        self, bed: BackendBed, reason: ReleaseReason
    ) -> None:
        later, at_once = bed.submit(2)
        answers = bed.claim([later, at_once])
        backs = [
            given_back(one.message.id, answer, reason, delay=delay)
            for one, answer, delay in zip((later, at_once), answers, (300.0, 0.0), strict=True)
        ]
        bed.backend.release(backs, bed.worker)
        assert [bed.record(one).status for one in (later, at_once)] == [Status.SCHEDULED, Status.QUEUED]
        assert [bed.record(one).attempt for one in (later, at_once)] == [0, 0]
        due_at = bed.record(later).due_at
        assert due_at is not None
        assert due_at - bed.backend.time_ms() / 1000 <= 5.0
        assert bed.take() == [at_once.message.id]

    @pytest.mark.slow
    def test_an_unknown_task_fails_after_its_ttl_and_keeps_its_message(self, bed: BackendBed) -> None:
        one = bed.submit(task="nosuch")[0]
        bed.backend = bed.open(unknown_task_ttl=SHORT)
        bed.pass_time()
        note = "unknown task 'nosuch'; this worker knows add"

        def release() -> Status:
            back = given_back(one.message.id, bed.run(one), UNKNOWN, delay=30.0, note=note)
            assert bed.backend.release([back], bed.worker) == ["ok"]
            return bed.record(one).status

        assert release() is Status.SCHEDULED, "the TTL counts from the first release, not from the submit"
        bed.pass_time(5_000)
        assert release() is Status.FAILED
        error = bed.record(one).error
        assert error is not None
        assert (error.type, error.message) == ("UnknownTask", note)
        assert bed.failed() == [one.message.id]
        assert bed.backend.messages([one.message.id]) == [one.body]

    def test_a_dead_child_counts_as_lost_up_to_the_limit(self, bed: BackendBed) -> None:
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
    def test_a_release_with_a_delay_is_scheduled(self, bed: BackendBed, reason: ReleaseReason) -> None:
        one = bed.submit()[0]
        bed.backend.release([given_back(one.message.id, bed.run(one), reason, delay=5.0)], bed.worker)
        assert bed.record(one).status is Status.SCHEDULED
        assert bed.take() == []

    def test_a_released_record_can_be_taken_at_once(self, bed: BackendBed) -> None:
        one = bed.submit(queue="fast")[0]
        bed.confirm(one)
        back = given_back(one.message.id, bed.run(one), queue="fast")
        bed.backend.release([back], bed.worker)
        assert bed.take(queue="fast") == [one.message.id]

    @pytest.mark.parametrize("reason", [BACK, ReleaseReason.UNSTARTED])
    def test_a_release_that_is_not_lost_takes_back_the_loss_of_a_sweep(
        self, bed: BackendBed, reason: ReleaseReason
    ) -> None:
        one = bed.submit()[0]
        answer = bed.lost(one)
        assert [due.id for due in bed.sweep().reclaimed] == [one.message.id]
        assert bed.backend.release([given_back(one.message.id, answer, reason)], bed.worker) == ["ok"]
        record = bed.record(one)
        assert (record.lost, record.history, record.fence) == (0, (), answer.fence + 1)
        assert bed.take() == [one.message.id]

    def test_a_death_counts_once_however_often_it_is_reported(self, bed: BackendBed) -> None:
        """Found by a critic: two deaths failed a task as lost four times."""
        one = bed.submit()[0]
        for times in (1, 2, 3):
            answer = bed.lost(one, worker=worker("dead"))
            bed.sweep()
            back = given_back(one.message.id, answer, ReleaseReason.WORKER_LOST, lost=True)
            assert bed.backend.release([back], bed.worker) == ["ok"]
            record = bed.record(one)
            assert (record.status, record.lost, len(record.history)) == (Status.QUEUED, times, times)

    def test_restart_recovery_requeues_what_the_last_incarnation_held(self, bed: BackendBed) -> None:
        ones = bed.submit(3)
        answers = bed.claim(ones)
        bed.finish(outcome(ones[0].message.id, answers[0]))
        holds = bed.backend.held(bed.worker)
        assert {hold.id for hold in holds} == {one.message.id for one in ones[1:]}
        back = [Release(hold.id, hold.queue, hold.fence, ReleaseReason.WORKER_LOST, lost=True) for hold in holds]
        assert bed.backend.release(back, bed.worker) == ["ok", "ok"]
        assert bed.backend.held(bed.worker) == []
        assert bed.backend.release(back, bed.worker) == ["ok", "ok"]
        assert [bed.record(one).lost for one in ones[1:]] == [1, 1]
        assert [bed.run(one).attempt for one in ones[1:]] == [2, 2]
        assert bed.backend.release(back, bed.worker) == ["fenced", "fenced"]

    def test_held_is_per_incarnation(self, bed: BackendBed) -> None:
        bed.run(bed.submit()[0])
        assert bed.backend.held(worker(bed.worker.id)) == []

    def test_restart_recovery_after_every_run_fails_the_record(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        for _ in range(4):
            answer = bed.run(one)
            back = given_back(one.message.id, answer, ReleaseReason.WORKER_LOST, lost=True)
            assert bed.backend.release([back], bed.worker) == ["ok"]
        record = bed.record(one)
        assert record.error is not None
        assert (record.status, record.lost, record.error.message) == (Status.FAILED, 4, "worker lost 4 times")
        assert [run.reason for run in record.history] == ["worker lost"] * 4

    def test_a_requeued_record_to_be_cancelled_is_ended_by_the_next_sweep(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        bed.backend.cancel([one.message.id], "enough")
        bed.backend.release([given_back(one.message.id, answer, UNKNOWN, delay=60.0)], bed.worker)
        assert bed.take() == []
        bed.sweep()
        assert bed.record(one).status is Status.CANCELLED
