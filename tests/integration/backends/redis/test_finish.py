"""Extend and finish: only under the record's current fence."""

from __future__ import annotations

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import Error, Hold, Status
from yadtq_core.testing.contracts.backend_bed import outcome, submission, worker


def test_success_keeps_the_result_and_lets_go_of_the_rest(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)
    assert bed.finish(outcome(one.message.id, answer, result=b'{"sum":3}')) == ["ok"]

    record = bed.record(one)
    assert (record.status, record.result, record.content_type) == (Status.SUCCESS, b'{"sum":3}', "application/json")
    assert (record.worker_id, record.attempt, record.fence) == ("w", 1, answer.fence)
    assert record.finished_at is not None
    assert bed.score(one) is None
    assert bed.backend.held(bed.worker) == []
    assert bed.backend.messages([one.message.id]) == [None]
    assert 86_000_000 < int(bed.store.run("PTTL", bed.key("task", one))) <= 86_400_000
    assert bed.backend.counts().ended == {"success": 1}
    assert bed.backend.counts().queues == {}


def test_a_retry_waits_its_time_without_a_position_and_without_its_fence_growing(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.backend.confirm([(one.message.id, "0:7")])
    answer = bed.run(one)
    before_ms = bed.backend.time_ms()
    bed.finish(outcome(one.message.id, answer, Status.SCHEDULED, retry_in=60.0, error=Error("KeyError", "'é'\n")))

    record = bed.record(one)
    assert (record.status, record.position, record.attempt) == (Status.SCHEDULED, None, 1)
    assert record.fence == answer.fence
    assert bed.score(one) == round((record.due_at or 0) * 1000)
    assert record.due_at is not None
    assert before_ms <= round(record.due_at * 1000) - 60_000 <= bed.backend.time_ms() + 1
    assert [(run.attempt, run.worker_id, run.reason) for run in record.history] == [(1, "w", "KeyError: 'é'\n")]
    assert abs(record.history[0].ended_at - bed.backend.time_ms() / 1000) < 30
    assert bed.backend.counts().queues == {"default": {"scheduled": 1}}
    assert bed.backend.messages([one.message.id])[0] is not None


def test_a_failure_stays_until_its_dead_letter_is_buried(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)
    error = Error("ValueError", 'no "good"', "Traceback …")
    bed.finish(outcome(one.message.id, answer, Status.FAILED, error=error))
    assert bed.record(one).error == error
    assert int(bed.store.run("PTTL", bed.key("task", one))) == -1

    now_ms, found = bed.backend.sweep(10, 0)
    assert [(due.id, due.status) for due in found] == [(one.message.id, Status.FAILED)]
    assert found[0].delivery is not None
    assert (bed.score(one) or 0) >= now_ms + 10_000
    assert bed.backend.sweep(10, 0)[1] == []

    bed.backend.buried([one.message.id])
    bed.backend.buried([one.message.id])
    assert bed.score(one) is None
    assert bed.backend.messages([one.message.id]) == [None]
    assert int(bed.store.run("PTTL", bed.key("task", one))) > 86_000_000
    assert bed.record(one).error == error


def test_extending_moves_the_end_of_the_lease_and_keeps_progress(bed: Bed) -> None:
    one = bed.submit()[0]
    answer = bed.run(one)
    before = bed.score(one) or 0
    bed.pass_time()
    assert bed.backend.extend([bed.hold(one, answer, "0.5 half")], bed.worker) == ["ok"]
    assert (bed.score(one) or 0) > before
    assert bed.record(one).progress == "0.5 half"
    bed.backend.extend([bed.hold(one, answer)], bed.worker)
    assert bed.record(one).progress == "0.5 half"


def test_extending_what_is_not_held_is_lost(bed: Bed) -> None:
    taken, ended, damaged, queued = bed.submit(4)
    first, done, broken = bed.lost(taken), bed.run(ended), bed.run(damaged)
    bed.run(taken, worker=worker("b"))
    bed.finish(outcome(ended.message.id, done))
    bed.store.run("DEL", bed.key("task", damaged))
    bed.store.run("SET", bed.key("task", damaged), "x")
    holds = [bed.hold(taken, first), bed.hold(ended, done), bed.hold(damaged, broken)]
    holds += [Hold(queued.message.id, 0), Hold(submission().message.id, 1)]
    assert bed.backend.extend(holds, bed.worker) == ["lost"] * 5


def test_a_damaged_record_is_its_own_error(bed: Bed) -> None:
    damaged, fine = bed.submit(2)
    answers = bed.claim([damaged, fine])
    bed.store.run("SET", bed.key("task", damaged), "x")
    assert bed.finish(outcome(damaged.message.id, answers[0]), outcome(fine.message.id, answers[1])) == ["error", "ok"]
    assert bed.record(fine).status is Status.SUCCESS


def test_a_refused_finish_forgets_what_others_hold_and_only_that(bed: Bed) -> None:
    taken, again = bed.submit(2)
    first, second = bed.lost(taken), bed.lost(again)
    bed.run(taken, worker=worker("b"))
    newer = bed.run(again)
    bed.store.run("HSET", bed.shard_key(f"held:{bed.worker.incarnation}"), taken.message.id, first.fence)
    assert bed.finish(outcome(taken.message.id, first), outcome(again.message.id, second)) == ["fenced", "fenced"]
    assert bed.backend.held(bed.worker) == [bed.hold(again, newer)]
