"""Offer: a claim with a lease of nothing, for whoever has a free slot."""

from __future__ import annotations

from tests.integration.backend.bed import SHORT, STATS, Bed, delivery, outcome, submission, worker
from yadtq_core.model import Status, Verdict

DAY_MS = 86_400_000


def test_an_offered_record_is_found_by_the_next_sweep_and_runs_at_once(bed: Bed) -> None:
    one = bed.submit()[0]
    assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
    assert bed.record(one).status is Status.QUEUED
    found = bed.backend.sweep(10, 10)[1]
    assert [due.id for due in found] == [one.message.id]
    assert found[0].delivery is not None
    assert bed.run(found[0].delivery).attempt == 1
    assert "rl" not in bed.fields(one)


def test_an_offer_answers_what_a_claim_would_but_never_run(bed: Bed) -> None:
    done, busy, later, due = *bed.submit(2), bed.submit(delay=60)[0], bed.submit(delay=SHORT)[0]
    answers = bed.claim([done, busy])
    bed.finish(outcome(done.message.id, answers[0]))
    bed.pass_time()
    found = bed.backend.offer([done, busy, later, due])

    expected = [Verdict.DONE, Verdict.BUSY, Verdict.LATER, Verdict.OFFERED]
    assert [answer.verdict for answer in found] == expected
    assert found[1].wait_ms > 14_000
    assert bed.record(due).status is Status.QUEUED


def test_an_offer_rebuilds_a_missing_record_as_queued(bed: Bed) -> None:
    bed.backend.heartbeat(bed.worker, STATS, ())
    bed.store.run("HSET", bed.shard_key("epoch"), "past", "")
    one = delivery(submission(), bed.backend.time_ms())
    old = delivery(submission(), bed.backend.time_ms() - DAY_MS)

    assert [answer.verdict for answer in bed.backend.offer([one, old])] == [Verdict.OFFERED, Verdict.TOO_OLD]
    record = bed.record(one)
    assert (record.status, record.position, record.attempt) == (Status.QUEUED, "0:7", 0)
    assert bed.backend.counts().queues == {"default": {"queued": 1}} == bed.scan()
    assert bed.backend.messages([one.message.id])[0] is not None


def test_an_offered_lost_run_is_accepted_until_somebody_claims(bed: Bed) -> None:
    one = bed.submit()[0]
    dead = worker("dead")
    answer = bed.lost(one, worker=dead)
    assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
    assert (bed.record(one).status, bed.record(one).lost) == (Status.QUEUED, 1)
    assert bed.finish(outcome(one.message.id, answer), worker=dead) == ["ok"]


def test_an_offer_of_poison_ends_it(bed: Bed) -> None:
    one = bed.submit()[0]
    for _ in range(4):
        bed.lost(one)
    assert bed.backend.offer([one])[0].verdict is Verdict.POISON
    assert bed.record(one).status is Status.FAILED


def test_an_offer_of_what_was_cancelled_ends_it(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.lost(one)
    bed.backend.cancel([one.message.id], "enough")
    assert bed.backend.offer([one])[0].verdict is Verdict.DONE
    assert bed.record(one).status is Status.CANCELLED


def test_a_due_retry_is_offered_under_a_raised_fence(bed: Bed) -> None:
    one = bed.submit()[0]
    retry = outcome(one.message.id, bed.run(one), Status.SCHEDULED, retry_in=SHORT)
    bed.finish(retry)
    bed.pass_time()
    assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
    assert bed.finish(retry) == ["fenced"]


def test_as_many_lost_workers_as_are_allowed_are_no_poison(bed: Bed) -> None:
    one = bed.submit()[0]
    for _ in range(3):
        bed.lost(one)
    assert bed.backend.offer([one])[0].verdict is Verdict.OFFERED
    assert bed.record(one).lost == 3
