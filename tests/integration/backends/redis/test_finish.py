"""Extend and finish: only under the record's current fence."""

from __future__ import annotations

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import Status
from yadtq_core.testing.contracts.backend_bed import outcome, worker


def test_a_successful_record_leaves_the_index_and_expires_after_the_result_ttl(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.finish(outcome(one.message.id, bed.run(one), result=b'{"sum":3}'))
    assert bed.score(one) is None
    assert 86_000_000 < int(bed.store.run("PTTL", bed.key("task", one))) <= 86_400_000


def test_a_retry_is_indexed_at_its_due_time(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.finish(outcome(one.message.id, bed.run(one), Status.SCHEDULED, retry_in=60.0))
    assert bed.indexes(one) == {"scheduled": round((bed.record(one).due_at or 0) * 1000)}


def test_a_failed_record_expires_only_after_its_dead_letter_is_acknowledged(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.finish(outcome(one.message.id, bed.run(one), Status.FAILED))
    assert int(bed.store.run("PTTL", bed.key("task", one))) == -1
    now_ms = bed.sweep().now_ms
    assert (bed.score(one) or 0) >= now_ms + 10_000, "the next sweep is later"
    bed.backend.buried([one.message.id])
    assert bed.score(one) is None
    assert int(bed.store.run("PTTL", bed.key("task", one))) > 86_000_000


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


def test_the_lease_of_a_damaged_record_is_lost(bed: Bed) -> None:
    damaged = bed.submit()[0]
    answer = bed.run(damaged)
    bed.store.run("DEL", bed.key("task", damaged))
    bed.store.run("SET", bed.key("task", damaged), "x")
    assert bed.backend.extend([bed.hold(damaged, answer)], bed.worker) == ["lost"]


def test_the_outcome_of_a_damaged_record_is_an_error_and_others_are_written(bed: Bed) -> None:
    damaged, fine = bed.submit(2)
    answers = bed.claim([damaged, fine])
    bed.store.run("SET", bed.key("task", damaged), "x")
    assert bed.finish(outcome(damaged.message.id, answers[0]), outcome(fine.message.id, answers[1])) == ["error", "ok"]
    assert bed.record(fine).status is Status.SUCCESS


def test_a_late_outcome_is_refused_and_removes_only_the_lost_lease(bed: Bed) -> None:
    taken, again = bed.submit(2)
    first, second = bed.lost(taken), bed.lost(again)
    bed.run(taken, worker=worker("b"))
    newer = bed.run(again)
    bed.store.run("HSET", bed.shard_key(f"held:{bed.worker.incarnation}"), taken.message.id, first.fence)
    assert bed.finish(outcome(taken.message.id, first), outcome(again.message.id, second)) == ["fenced", "fenced"]
    assert bed.backend.held(bed.worker) == [bed.hold(again, newer)]
