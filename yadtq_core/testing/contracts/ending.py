"""The backend's contract: extend, finish, cancel, and the acknowledgement of dead letters."""

from __future__ import annotations

import pytest

from yadtq_core.model import Counts, Error, Hold, Status, Verdict
from yadtq_core.testing.contracts.backend_bed import (
    SHORT,
    BackendBed,
    delivery,
    outcome,
    submission,
    worker,
)
from yadtq_core.wire import envelope


class EndingContract:
    """A run ends only under the record's current fence."""

    def test_success_keeps_the_result_and_drops_message_and_hold(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        assert bed.finish(outcome(one.message.id, answer, result=b'{"sum":3}')) == ["ok"]
        record = bed.record(one)
        assert (record.status, record.result, record.content_type) == (Status.SUCCESS, b'{"sum":3}', "application/json")
        assert (record.worker_id, record.attempt, record.fence) == ("w", 1, answer.fence)
        assert record.finished_at is not None
        assert bed.backend.held(bed.worker) == []
        assert bed.backend.messages([one.message.id]) == [None]
        assert bed.backend.counts().ended == {"success": 1}
        assert bed.backend.counts().queues == {}

    def test_an_ended_record_is_kept_for_the_result_ttl(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.backend = bed.open(result_ttl=SHORT)
        bed.finish(outcome(one.message.id, bed.run(one)))
        bed.pass_time()
        assert bed.backend.get([one.message.id]) == [None]

    def test_a_repeated_finish_is_already(self, bed: BackendBed) -> None:
        ones = bed.submit(4)
        answers = bed.claim(ones)
        statuses = (Status.SUCCESS, Status.FAILED, Status.CANCELLED, Status.SCHEDULED)
        outcomes = [
            outcome(one.message.id, answer, status) for one, answer, status in zip(ones, answers, statuses, strict=True)
        ]
        assert bed.finish(*outcomes) == ["ok"] * 4
        before = [bed.record(one) for one in ones]
        assert [record.status for record in before] == list(statuses)
        assert bed.finish(*outcomes) == ["already"] * 4
        assert [bed.record(one) for one in ones] == before
        assert bed.backend.counts().ended == {"success": 1, "failed": 1, "cancelled": 1}

    def test_a_retry_is_scheduled_without_a_position_under_the_same_fence(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.confirm(one)
        answer = bed.run(one)
        before_ms = bed.backend.time_ms()
        bed.finish(outcome(one.message.id, answer, Status.SCHEDULED, retry_in=60.0, error=Error("KeyError", "'é'\n")))
        record = bed.record(one)
        assert (record.status, record.position, record.attempt) == (Status.SCHEDULED, None, 1)
        assert record.fence == answer.fence
        assert record.due_at is not None
        assert before_ms <= round(record.due_at * 1000) - 60_000 <= bed.backend.time_ms() + 1
        assert [(run.attempt, run.worker_id, run.reason) for run in record.history] == [(1, "w", "KeyError: 'é'\n")]
        assert abs(record.history[0].ended_at - bed.backend.time_ms() / 1000) < 30
        assert bed.backend.counts().queues == {"default": {"scheduled": 1}}
        assert bed.backend.messages([one.message.id])[0] is not None

    def test_a_failed_record_keeps_its_message_until_its_dead_letter_is_acknowledged(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        error = Error("ValueError", 'no "good"', "Traceback …")
        bed.finish(outcome(one.message.id, bed.run(one), Status.FAILED, error=error))
        assert bed.record(one).error == error
        found = bed.sweep()
        assert [(due.id, due.task, due.queue) for due in found.failed] == [(one.message.id, "add", "default")]
        assert found.reclaimed == []
        assert bed.backend.messages([one.message.id])[0] == one.body
        assert bed.failed() == [], "it is asked about again after the publish grace"
        bed.pass_time()
        assert bed.open(publish_grace=SHORT).sweep(10, ()).failed == []
        for _ in range(2):
            bed.backend.buried([one.message.id])
        assert bed.backend.messages([one.message.id]) == [None]
        assert bed.record(one).error == error

    def test_buried_changes_only_failed_records(self, bed: BackendBed) -> None:
        running = bed.submit()[0]
        bed.run(running)
        before = bed.record(running)
        bed.backend.buried([running.message.id, submission().message.id])
        assert bed.record(running) == before
        assert bed.backend.messages([running.message.id])[0] is not None

    def test_extend_renews_a_lease_and_keeps_progress(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.lost(one)
        assert bed.backend.extend([bed.hold(one, answer, "0.5 half")], bed.worker) == ["ok"]
        assert bed.record(one).progress == "0.5 half"
        assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["ok"]
        assert bed.record(one).progress == "0.5 half"
        assert bed.claim([one], worker=worker("b"))[0].verdict is Verdict.BUSY

    def test_success_keeps_the_progress_and_failure_drops_it(self, bed: BackendBed) -> None:
        done, failed = bed.submit(2)
        answers = bed.claim([done, failed])
        bed.backend.extend([bed.hold(done, answers[0], "1 all"), bed.hold(failed, answers[1], "0.5 half")], bed.worker)
        bed.finish(outcome(done.message.id, answers[0]), outcome(failed.message.id, answers[1], Status.FAILED))
        assert [bed.record(one).progress for one in (done, failed)] == ["1 all", None]

    def test_extend_without_a_lease_is_lost(self, bed: BackendBed) -> None:
        taken, ended, queued = bed.submit(3)
        first, done = bed.lost(taken), bed.run(ended)
        bed.run(taken, worker=worker("b"))
        bed.finish(outcome(ended.message.id, done))
        holds = [bed.hold(taken, first), bed.hold(ended, done), Hold(queued.message.id, "default", 0)]
        never = submission().message.id
        assert bed.backend.extend([*holds, Hold(never, "default", 1)], bed.worker) == ["lost"] * 4
        assert bed.backend.get([never]) == [None]

    def test_cancel_ends_a_record_that_has_not_started(self, bed: BackendBed) -> None:
        queued, delayed = bed.submit()[0], bed.submit(delay=60)[0]
        ids = [queued.message.id, delayed.message.id]
        assert bed.backend.cancel(ids, "enough") == ["cancelled", "cancelled"]
        for one in (queued, delayed):
            record = bed.record(one)
            assert (record.status, record.note) == (Status.CANCELLED, "enough")
            assert record.finished_at is not None
            assert bed.claim([one])[0].verdict is Verdict.DONE
        assert bed.backend.messages(ids) == [None, None]
        assert bed.backend.counts() == Counts({}, {"cancelled": 2})

    def test_a_cancelled_record_is_in_no_index(self, bed: BackendBed) -> None:
        waiting, ready, fresh, delayed = *bed.submit(3, queue="fast"), bed.submit(delay=SHORT)[0]
        bed.confirm(waiting)
        bed.backend.offer([ready])
        codes = bed.backend.cancel([one.message.id for one in (waiting, ready, fresh, delayed)], "enough")
        assert codes == ["cancelled"] * 4
        bed.pass_time()
        assert bed.open(publish_grace=SHORT).sweep(10, ["fast", "default"]).ready == {"fast": 0, "default": 0}
        assert bed.take(queue="fast") == []
        assert bed.backend.highest("fast", range(256)) == {}

    def test_cancel_of_a_running_task_is_a_request(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        for reason in ("enough", "again"):
            assert bed.backend.cancel([one.message.id], reason) == ["requested"]
        assert bed.record(one).cancel_requested
        assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["cancel"]
        assert bed.finish(outcome(one.message.id, answer)) == ["ok"]
        assert bed.record(one).status is Status.SUCCESS

    def test_a_run_to_be_cancelled_is_not_retried(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        bed.backend.cancel([one.message.id], "enough")
        retry = outcome(one.message.id, answer, Status.SCHEDULED)
        assert bed.finish(retry) == ["ok"]
        assert bed.record(one).status is Status.CANCELLED
        assert bed.finish(retry) == ["already"]

    def test_a_result_may_be_any_bytes_of_any_content_type(self, bed: BackendBed) -> None:
        raw, none, empty = bed.submit(3)
        answers = bed.claim([raw, none, empty])
        bed.finish(
            outcome(raw.message.id, answers[0], result=b"\x00\xff\r\n", content_type="application/x"),
            outcome(none.message.id, answers[1], result=None, content_type=""),
            outcome(empty.message.id, answers[2], result=b"", content_type="application/x"),
        )
        found = [bed.record(one) for one in (raw, none, empty)]
        assert [(record.result, record.content_type) for record in found] == [
            (b"\x00\xff\r\n", "application/x"),
            (None, ""),
            (b"", "application/x"),
        ]

    def test_a_number_of_a_hundred_thousand_digits_keeps_every_digit(self, bed: BackendBed) -> None:
        digits = b"9" * 99_999 + b"7"
        one = bed.submit(arguments=b"[[" + digits + b"],{}]")[0]
        kept = bed.backend.messages([one.message.id])[0]
        assert kept is not None
        assert bytes(envelope.decode(kept).arguments) == b"[[" + digits + b"],{}]"
        bed.finish(outcome(one.message.id, bed.run(one), result=digits))
        assert bed.record(one).result == digits

    def test_another_fence_is_fenced_and_a_missing_record_missing(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        wrong = outcome(one.message.id, answer.fence - 1)
        missing = outcome(submission().message.id, 5)
        assert bed.finish(wrong, missing) == ["fenced", "missing"]
        assert bed.record(one).status is Status.PROCESSING
        assert len(bed.backend.held(bed.worker)) == 1
        assert bed.backend.get([missing.id]) == [None]

    def test_a_late_outcome_is_accepted_before_another_claim(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        assert bed.finish(outcome(one.message.id, bed.lost(one))) == ["ok"]
        assert bed.record(one).lost == 0
        assert bed.sweep().reclaimed == []

    def test_history_keeps_the_last_ten(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        for attempt in range(1, 14):
            answer = bed.run(one)
            error = Error("E", f"no {attempt} " + "x" * 500)
            bed.finish(outcome(one.message.id, answer, Status.SCHEDULED, retry_in=0.001, error=error))
            bed.pass_time()
        record = bed.record(one)
        assert [run.attempt for run in record.history] == list(range(4, 14))
        assert all(len(run.reason) == 200 for run in record.history)

    @pytest.mark.parametrize("count", [1, 200, 201, 450])
    def test_batches_of_any_size_keep_their_order(self, bed: BackendBed, count: int) -> None:
        ones = [delivery(given, 1) for given in (submission() for _ in range(count))]
        bed.backend.create([submission(id=one.message.id) for one in ones[::2]])
        answers = bed.claim(ones)
        assert len(answers) == count
        codes = bed.finish(*(outcome(one.message.id, answer) for one, answer in zip(ones, answers, strict=True)))
        assert codes == ["ok"] * count
        assert [record.id for record in bed.backend.get([one.message.id for one in ones]) if record] == [
            one.message.id for one in ones
        ]

    def test_cancel_of_an_ended_record_changes_nothing(self, bed: BackendBed) -> None:
        one, never = bed.submit()[0], submission().message.id
        bed.finish(outcome(one.message.id, bed.run(one)))
        assert bed.backend.cancel([one.message.id, never], "late") == ["ended", "missing"]
        assert bed.record(one).status is Status.SUCCESS
        cancelled = bed.submit()[0]
        assert bed.backend.cancel([cancelled.message.id], "one") == ["cancelled"]
        assert bed.backend.cancel([cancelled.message.id], "two") == ["ended"]
        assert bed.record(cancelled).note == "one"

    def test_a_cancelled_outcome_carries_the_reason_of_the_cancel(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        for reason in ("enough", "again"):  # the first reason counts
            bed.backend.cancel([one.message.id], reason)
        assert bed.finish(outcome(one.message.id, answer, Status.CANCELLED)) == ["ok"]
        assert (bed.record(one).status, bed.record(one).note) == (Status.CANCELLED, "enough")

    def test_a_lost_run_to_be_cancelled_is_ended_by_the_next_claim(self, bed: BackendBed) -> None:
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

    def test_cancel_of_a_reclaimed_record_refuses_its_late_outcome(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.lost(one)
        bed.sweep()
        assert bed.backend.cancel([one.message.id], "enough") == ["cancelled"]
        assert bed.finish(outcome(one.message.id, answer)) == ["fenced"]
        assert bed.backend.held(bed.worker) == []
