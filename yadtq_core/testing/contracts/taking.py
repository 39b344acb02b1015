"""The backend's contract: take, recover and highest."""

from __future__ import annotations

from typing import Any

import pytest

from yadtq_core.model import Delivery, Epoch, Status, Verdict, new_id
from yadtq_core.model.terms import TAKE_BYTES, TAKEN_MS
from yadtq_core.testing.contracts.backend_bed import (
    SHORT,
    STATS,
    BackendBed,
    given_back,
    outcome,
    partition_of,
    submission,
    worker,
)
from yadtq_core.wire import envelope

ALL_PARTITIONS = range(256)


def ids(ones: list[Delivery]) -> set[str]:
    """Return the IDs of deliveries."""
    return {one.message.id for one in ones}


def offered(bed: BackendBed, count: int = 1, **given: Any) -> list[Delivery]:
    """Create records that are ready."""
    ones = bed.submit(count, **given)
    assert [answer.verdict for answer in bed.backend.offer(ones)] == [Verdict.OFFERED] * count
    return ones


def waiting(bed: BackendBed, count: int = 1, **given: Any) -> list[Delivery]:
    """Create records that wait in the log, at offset 7 and after."""
    ones = bed.submit(count, **given)
    bed.confirm(*ones)
    return ones


def epochs(bed: BackendBed) -> tuple[Epoch, ...]:
    """Return the epochs of all shards, as of a heartbeat now."""
    return tuple(bed.backend.heartbeat(bed.worker, STATS, ()).epochs)


def ranges(ones: list[Delivery], start: int, stop: int) -> list[tuple[int, int, int]]:
    """Return this range of offsets in each partition that has one of these messages."""
    return [(number, start, stop) for number in sorted({partition_of(one.message.id) for one in ones})]


class TakingContract:
    """Workers take the ready records of their queues; a record whose message is missing in the log becomes ready."""

    def test_each_ready_record_is_taken_once(self, bed: BackendBed) -> None:
        ones = offered(bed, 5)
        first = bed.backend.take({"default": 2}, ())
        assert (len(first.deliveries), first.ready) == (2, {"default": 3})
        second = bed.backend.take({"default": 200}, ())
        assert (len(second.deliveries), second.ready) == (3, {"default": 0})
        taken = [*first.deliveries, *second.deliveries]
        assert ids(taken) == ids(ones)
        assert all(one.partition is None for one in taken)
        assert {one.body for one in taken} == {one.body for one in ones}
        assert [answer.verdict for answer in bed.claim(taken)] == [Verdict.RUN] * 5

    def test_the_longest_ready_is_taken_first(self, bed: BackendBed) -> None:
        first = offered(bed)[0]
        bed.pass_time()
        offered(bed, id=first.message.id[:-4] + "ff" + first.message.id[-2:])
        assert bed.take(1) == [first.message.id]

    def test_what_was_taken_from_a_worker_comes_before_delays_that_were_due_earlier(self, bed: BackendBed) -> None:
        of_one_shard = [new_id()[:-2] + "00" for _ in range(3)]
        delayed = bed.submit(id=of_one_shard[0], delay=SHORT)[0]
        requeued, stale = [bed.submit(id=task_id)[0] for task_id in of_one_shard[1:]]
        bed.pass_time()
        bed.sweep()
        bed.lost(stale)
        bed.backend.release([given_back(requeued.message.id, bed.run(requeued))], bed.worker)
        bed.sweep()
        assert set(bed.take(2)) == {requeued.message.id, stale.message.id}
        assert bed.take() == [delayed.message.id]

    def test_only_the_queues_that_are_wanted_are_taken(self, bed: BackendBed) -> None:
        slow, fast = offered(bed), offered(bed, 2, queue="fast")
        found = bed.backend.take({"fast": 1, "empty": 3}, ())
        assert ids(list(found.deliveries)) < ids(fast)
        assert found.ready == {"fast": 1, "empty": 0}
        assert bed.take() == [slow[0].message.id]

    def test_a_task_that_a_peer_has_loaded_is_left_to_it_and_hides_nothing(self, bed: BackendBed) -> None:
        theirs = offered(bed, 3, task="theirs")
        bed.pass_time()
        mine = offered(bed)[0]
        assert bed.take(1, "theirs", "other") == [mine.message.id]
        assert bed.ready() == 3
        assert set(bed.take(3)) == ids(theirs)

    @pytest.mark.slow
    def test_a_record_that_is_taken_and_not_claimed_is_ready_again_later(self, bed: BackendBed) -> None:
        one = offered(bed)[0]
        assert bed.take() == [one.message.id]
        assert bed.take() == []
        assert bed.ready() == 0
        assert bed.record(one).status is Status.QUEUED
        bed.pass_time(TAKEN_MS)
        assert bed.ready() == 1
        assert bed.record(one).lost == 0
        assert bed.take() == [one.message.id]

    def test_a_record_that_has_ended_or_runs_is_not_taken(self, bed: BackendBed) -> None:
        ended, running, cancelled = offered(bed, 3)
        bed.finish(outcome(ended.message.id, bed.run(ended)))
        bed.run(running)
        bed.backend.cancel([cancelled.message.id], "enough")
        assert bed.take() == []
        assert bed.ready() == 0

    def test_the_bodies_of_one_answer_are_bounded(self, bed: BackendBed) -> None:
        large = b'[["%b"],{}]' % (b"x" * (TAKE_BYTES // 4))
        offered(bed, 5, arguments=large)
        first, second = (bed.backend.take({"default": 5}, ()) for _ in range(2))
        assert (len(first.deliveries), first.ready) == (3, {"default": 2})
        assert (len(second.deliveries), second.ready) == (2, {"default": 0})

    def test_a_body_that_is_larger_than_an_answer_comes_alone(self, bed: BackendBed) -> None:
        offered(bed, 2, arguments=b'[["%b"],{}]' % (b"x" * TAKE_BYTES))
        assert [len(bed.take()) for _ in range(3)] == [1, 1, 0]

    def test_a_message_that_this_worker_cannot_read_is_left_out(self, bed: BackendBed) -> None:
        newer = submission()
        body = newer.body.replace(b'"v":%d' % envelope.VERSION, b'"v":%d' % (envelope.VERSION + 1))
        bed.backend.create([type(newer)(newer.message, body)])
        bed.backend.offer([Delivery(newer.message, newer.body)])
        one = offered(bed)[0]
        assert bed.take() == [one.message.id]
        left = bed.backend.take({"default": 9}, ())
        assert (list(left.deliveries), left.ready) == ([], {"default": 1}), "a newer worker finds it at once"

    def test_a_taken_record_runs_again_after_its_worker_died(self, bed: BackendBed) -> None:
        one = offered(bed)[0]
        bed.take()
        bed.lost(one, worker=worker("dead"))
        assert [due.id for due in bed.sweep().reclaimed] == [one.message.id]
        assert bed.take() == [one.message.id]

    def test_what_a_partition_has_passed_becomes_ready(self, bed: BackendBed) -> None:
        passed, kept = waiting(bed, 3), bed.submit(2)
        bed.confirm(*kept, offset=100)
        bed.backend = bed.open(publish_grace=SHORT)
        assert bed.backend.recover("default", ranges([*passed, *kept], 0, 100), epochs(bed)) == 3
        assert bed.ready() == 3
        assert set(bed.take()) == ids(passed)
        assert [bed.record(one).lost for one in passed] == [0, 0, 0]
        assert bed.backend.recover("default", ranges(passed, 0, 100), epochs(bed)) == 0

    def test_a_range_ends_before_its_last_offset(self, bed: BackendBed) -> None:
        one = waiting(bed)
        assert bed.backend.recover("default", ranges(one, 0, 7), epochs(bed)) == 0
        assert bed.backend.recover("default", ranges(one, 8, 2**38), epochs(bed)) == 0
        assert bed.backend.recover("default", ranges(one, 7, 8), epochs(bed)) == 1

    def test_only_the_partitions_and_the_queue_asked_about_are_recovered(self, bed: BackendBed) -> None:
        one, fast = waiting(bed), waiting(bed, queue="fast")
        others = [(number, 0, 100) for number in ALL_PARTITIONS if number != partition_of(one[0].message.id)]
        assert bed.backend.recover("default", others, epochs(bed)) == 0
        assert bed.backend.recover("fast", ranges(fast, 0, 100), epochs(bed)) == 1
        assert bed.take(queue="fast") == [fast[0].message.id]

    def test_nothing_is_recovered_in_another_epoch(self, bed: BackendBed) -> None:
        one, known = waiting(bed), epochs(bed)
        other = [Epoch("elsewhere", each.mark_ms) for each in known]
        assert bed.backend.recover("default", ranges(one, 0, 100), other) == 0
        assert bed.backend.recover("default", ranges(one, 0, 100), ()) == 0
        assert bed.backend.recover("default", ranges(one, 0, 100), known) == 1

    def test_at_most_two_hundred_of_a_shard_are_recovered_in_a_call(self, bed: BackendBed) -> None:
        ones = [one for _ in range(3) for one in waiting(bed, 100)]
        partitions = ranges(ones, 0, 200)
        counts = [bed.backend.recover("default", partitions, epochs(bed)) for _ in range(3)]
        assert sum(counts) == 300
        assert counts[0] >= 200

    def test_a_late_delivery_of_a_recovered_record_runs_it_once(self, bed: BackendBed) -> None:
        one = waiting(bed)[0]
        bed.backend.recover("default", ranges([one], 0, 100), epochs(bed))
        (taken,) = bed.backend.take({"default": 1}, ()).deliveries
        answer = bed.run(one)
        assert bed.claim([taken])[0].verdict is Verdict.BUSY
        assert bed.finish(outcome(one.message.id, answer)) == ["ok"]
        assert bed.claim([taken])[0].verdict is Verdict.DONE

    def test_a_run_record_is_not_recovered(self, bed: BackendBed) -> None:
        released, offered_one, retried, ended = ones = waiting(bed, 4)
        answers = bed.claim([released, retried, ended])
        bed.backend.release([given_back(released.message.id, answers[0])], bed.worker)
        bed.finish(outcome(retried.message.id, answers[1], Status.SCHEDULED), outcome(ended.message.id, answers[2]))
        bed.backend.offer([offered_one])
        bed.confirm(*ones)  # a late confirmation brings none of them back
        assert bed.backend.recover("default", ranges(ones, 0, 100), epochs(bed)) == 0
        assert set(bed.take()) == ids([released, offered_one])

    def test_the_highest_waiting_offset_of_each_partition(self, bed: BackendBed) -> None:
        low, high, other = (bed.submit(id=submission().message.id[:-2] + end)[0] for end in ("03", "03", "04"))
        bed.confirm(high, offset=2**38 - 1)
        bed.confirm(low, other, offset=41)
        assert bed.backend.highest("default", ALL_PARTITIONS) == {3: 2**38 - 1, 4: 42}
        assert bed.backend.highest("default", [4, 5]) == {4: 42}
        assert bed.backend.highest("fast", [3, 4]) == {}
        bed.run(high)
        assert bed.backend.highest("default", [3]) == {3: 41}
