"""Sweep, take and recover: a score that lies, a damaged record, an entry of another queue."""

from __future__ import annotations

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import Delivery, Epoch, Placed, Status
from yadtq_core.testing.contracts.backend_bed import (
    SHORT,
    STATS,
    delivery,
    given_back,
    outcome,
    partition_of,
    position_of,
    submission,
)


def epochs(bed: Bed) -> tuple[Epoch, ...]:
    return tuple(bed.backend.heartbeat(bed.worker, STATS, ()).epochs)


def twice(bed: Bed) -> tuple[Delivery, Delivery]:
    """Submit an ID to `fast` and, after the store has lost that record, to `default`; return both deliveries."""
    given = submission(queue="fast")
    first = delivery(given, 1)
    second = bed.submit(id=given.message.id)[0]
    assert first.message.digest == second.message.digest
    return first, second


def test_a_score_that_lies_is_set_right(bed: Bed) -> None:
    running, delayed, ended, ghost = bed.submit()[0], bed.submit(delay=60)[0], bed.submit()[0], submission().message.id
    bed.run(running)
    bed.finish(outcome(ended.message.id, bed.run(ended)))
    right = bed.indexes(running), bed.indexes(delayed)
    assert [list(found) for found in right] == [["open"], ["scheduled"]]
    for index in ("open", "scheduled"):
        for task_id in (running.message.id, delayed.message.id, ended.message.id, ghost):
            bed.store.run("ZADD", bed.shard_key(index), 1, task_id)
        found = bed.sweep()
        assert (found.reclaimed, found.failed, found.ready) == ([], [], {"default": 0})
        assert (bed.indexes(running), bed.indexes(delayed)) == right
        assert (bed.indexes(ended), bed.indexes(ghost)) == ({}, {})


def test_a_sweep_skips_a_damaged_record_until_later(bed: Bed) -> None:
    bed.backend = bed.open(publish_grace=SHORT)
    wrong_type, wrong_status, fine = bed.submit(3)
    bed.store.run("SET", bed.key("task", wrong_type), "x")
    bed.store.run("HSET", bed.key("task", wrong_status), "st", "sleeping")
    bed.pass_time()
    assert bed.ready() == 1
    assert bed.take() == [fine.message.id]
    for one in (wrong_type, wrong_status):
        assert list(bed.indexes(one)) == ["open"]
        assert (bed.score(one) or 0) - bed.backend.time_ms() > 29 * 60_000


def test_a_damaged_record_is_not_taken_and_hides_nothing(bed: Bed) -> None:
    damaged, fine = bed.submit(2)
    bed.backend.offer([damaged])
    bed.pass_time()
    bed.backend.offer([fine])
    bed.store.run("SET", bed.key("task", damaged), "x")
    assert bed.take(2) == [fine.message.id]
    assert (bed.score(damaged) or 0) - bed.backend.time_ms() > 29 * 60_000


def test_a_stale_entry_is_dropped_by_a_take(bed: Bed) -> None:
    waiting, running, ended = ones = bed.submit(3)
    bed.confirm(waiting)
    bed.run(running)
    bed.finish(outcome(ended.message.id, bed.run(ended)))
    before = [bed.indexes(one) for one in ones]
    ghost = submission().message.id
    for task_id in (ghost, *(one.message.id for one in ones)):
        bed.store.run("ZADD", bed.shard_key("ready:default"), 1, task_id)
    assert bed.take() == []
    assert [bed.indexes(one) for one in ones] == before
    assert bed.indexes(ghost) == {}


def test_a_record_is_in_one_index_at_each_step(bed: Bed) -> None:
    one = bed.submit()[0]
    steps = [list(bed.indexes(one))]

    def note() -> None:
        steps.append(list(bed.indexes(one)))

    bed.confirm(one)
    note()
    bed.backend.recover("default", [(partition_of(one.message.id), 0, 100)], epochs(bed))
    note()
    bed.take()
    note()
    answer = bed.run(one)
    note()
    bed.finish(outcome(one.message.id, answer, Status.SCHEDULED, retry_in=SHORT))
    note()
    bed.pass_time()
    bed.sweep()
    note()
    bed.lost(one)
    note()
    bed.sweep()
    note()
    bed.backend.release([given_back(one.message.id, bed.run(one), delay=60)], bed.worker)
    note()
    bed.backend.cancel([one.message.id], "enough")
    note()
    waits, ready, opened, scheduled = ["waiting:default"], ["ready:default"], ["open"], ["scheduled"]
    assert steps == [opened, waits, ready, opened, opened, scheduled, ready, opened, ready, scheduled, []]


def test_an_entry_that_stays_in_another_queue_is_dropped_where_it_is_met(bed: Bed) -> None:
    in_fast, in_default = twice(bed)
    bed.confirm(in_default)
    answer = bed.run(in_fast)  # the worker of the other queue was first
    assert bed.indexes(in_default) == {"open": answer.started_at_ms + 15_000, "waiting:default": score(in_default, 7)}
    assert bed.claim([in_default])[0].verdict == "busy"
    ranges = [(partition_of(in_default.message.id), 0, 100)]
    assert bed.backend.recover("default", ranges, epochs(bed)) == 0
    assert list(bed.indexes(in_default)) == ["open"]
    assert bed.finish(outcome(in_fast.message.id, answer, queue="fast")) == ["ok"]
    assert bed.indexes(in_default) == {}


def test_an_id_of_two_queues_is_lost_by_neither(bed: Bed) -> None:
    in_fast, in_default = twice(bed)
    bed.backend.confirm([Placed(in_fast.message.id, "fast", position_of(in_fast.message.id, 3))])
    assert list(bed.indexes(in_default)) == ["open"], "a position in another queue says nothing"
    bed.backend.release([given_back(in_fast.message.id, bed.run(in_fast), queue="fast")], bed.worker)
    bed.backend.offer([in_default])
    assert list(bed.indexes(in_default)) == ["ready:default", "ready:fast"]
    assert bed.take(queue="fast") == [in_fast.message.id]
    answer = bed.lost(in_fast)
    assert bed.take() == []
    assert list(bed.indexes(in_default)) == ["open"]
    bed.sweep()
    assert list(bed.indexes(in_default)) == ["ready:default"], "the record's own queue"
    assert bed.finish(outcome(in_fast.message.id, answer, queue="fast")) == ["ok"]
    assert bed.take() == []
    assert bed.indexes(in_default) == {}


def test_a_kept_message_that_cannot_be_read_is_a_body_and_no_delivery(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.backend.offer([one])
    bed.store.run("SET", bed.key("message", one), b"{nonsense")
    assert bed.take() == []
    assert list(bed.indexes(one)) == ["open"]
    assert (bed.backend.messages([one.message.id])[0] or b"").endswith(b",nonsense")


def score(one: Delivery, offset: int) -> int:
    """Return its score in `waiting`."""
    return partition_of(one.message.id) * 2**38 + offset
