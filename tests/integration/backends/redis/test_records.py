"""Get, and what is left behind: memory and keys."""

from __future__ import annotations

from tests.integration.backends.redis.bed import LEFT_TO_STAND, Bed
from yadtq_core.model import ReleaseReason, Status
from yadtq_core.testing.contracts.backend_bed import STATS, given_back, outcome, worker

DAY_MS = 86_400_000


def test_a_damaged_record_names_the_damage(bed: Bed) -> None:
    wrong_type, wrong_status, no_status, wrong_number, wrong_error, wrong_text = ones = bed.submit(6)
    bed.store.run("SET", bed.key("task", wrong_type), "x")
    bed.store.run("HSET", bed.key("task", wrong_status), "st", "sleeping")
    bed.store.run("HDEL", bed.key("task", no_status), "st")
    bed.store.run("HSET", bed.key("task", wrong_number), "at", "many")
    bed.store.run("HSET", bed.key("task", wrong_error), "er", "{")
    bed.store.run("HSET", bed.key("task", wrong_text), "tk", b"\xff")
    found = [bed.record(one) for one in ones]

    assert {record.status for record in found} == {Status.FAILED}
    reasons = [record.error.message if record.error else "" for record in found]
    assert all(reason.startswith("record is damaged: ") for reason in reasons)
    for sign, reason in zip(("WRONGTYPE", "sleeping", "'st'", "many", "", ""), reasons, strict=True):
        assert sign in reason


def test_a_small_finished_record_takes_at_most_three_hundred_bytes(bed: Bed) -> None:
    one = bed.submit()[0]
    by = worker("worker-host-1234")
    bed.confirm(one, offset=123456)
    bed.finish(outcome(one.message.id, bed.run(one, worker=by)), worker=by)
    assert int(bed.store.run("MEMORY", "USAGE", bed.key("task", one))) <= 300


def test_no_key_without_an_end_survives_when_all_is_over(bed: Bed) -> None:
    """Every way through the house, from one worker that dies and one that lives."""
    dead = worker("dead")
    success, failed, cancelled, taken_over, retried, poison, released, swept, unknown = ones = bed.submit(9)
    bed.confirm(*ones)
    for by in (dead, bed.worker):
        bed.backend.heartbeat(by, STATS, ())
    bed.finish(outcome(success.message.id, bed.run(success)))
    bed.fail(failed)
    bed.backend.cancel([cancelled.message.id], "enough")
    bed.lost(taken_over, worker=dead)
    bed.finish(outcome(taken_over.message.id, bed.run(taken_over)))
    bed.finish(outcome(retried.message.id, bed.run(retried), Status.SCHEDULED, retry_in=0.001))
    bed.pass_time()
    bed.finish(outcome(retried.message.id, bed.run(retried)))
    for _ in range(4):
        bed.lost(poison, worker=dead)
    bed.claim([poison])
    bed.backend.release([given_back(released.message.id, bed.run(released))], bed.worker)
    bed.finish(outcome(released.message.id, bed.run(released)))
    bed.lost(swept, worker=dead)
    bed.sweep()
    bed.finish(outcome(swept.message.id, bed.run(swept)))
    late = given_back(unknown.message.id, bed.run(unknown), ReleaseReason.UNKNOWN_TASK, delay=5.0)
    bed.store.run("HSET", bed.key("task", unknown), "un", bed.backend.time_ms() - DAY_MS)
    bed.backend.release([late], bed.worker)
    bed.backend.buried([one.message.id for one in (failed, poison, unknown)])

    eternal = [name for name in bed.names() if int(bed.store.run("PTTL", name)) == -1]
    assert {name.rpartition(":")[2] for name in eternal} <= LEFT_TO_STAND, eternal
    assert bed.backend.counts().queues == {}
    assert sum(bed.backend.counts().ended.values()) == 9
