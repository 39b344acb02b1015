"""The rules of intake, one story a test. Times are made up, and no test sleeps or does I/O."""

from __future__ import annotations

import pytest
from msgspec import Raw, structs

from yadtq_core.model import (
    Answer,
    Delivery,
    Epoch,
    Lease,
    Message,
    Partition,
    Unreadable,
    Verdict,
    WorkerIdentity,
    WorkerRow,
)
from yadtq_core.testing.contracts.backend_bed import STATS
from yadtq_core.worker.rules.budget import BUDGET
from yadtq_core.worker.rules.intake import Intake
from yadtq_core.worker.rules.offers import FreePeers
from yadtq_core.worker.rules.partition import MAX_SPAN, MAX_UNSETTLED, Rewind

P0, P1 = Partition("default", 0), Partition("default", 1)


def delivery(offset: int, partition: Partition | None = P0, id: str = "") -> Delivery:
    where = "s" if partition is None else f"{partition.number}"
    message = Message(v=1, id=id or f"{where}-{offset:06x}", task="add", arguments=Raw(b"[[],{}]"))
    return Delivery(message, b"", partition, offset)


def large(offset: int) -> Delivery:
    """Four of these fill the budget."""
    return structs.replace(delivery(offset), body=b"x" * (BUDGET // 4))


def unreadable(offset: int, partition: Partition = P0) -> Unreadable:
    return Unreadable(b"?", partition, offset, "not JSON")


def run(fence: int = 7) -> Answer:
    return Answer(Verdict.RUN, fence, 1)


def busy(wait_ms: int = 5_000) -> Answer:
    return Answer(Verdict.BUSY, wait_ms=wait_ms)


DONE = Answer(Verdict.DONE)


class Worker:
    """An intake that owns partition 0 from offset 0 on, and shorthand for its calls."""

    def __init__(self, count: int = 0, committed: int = 0) -> None:
        self.intake = Intake()
        self.intake.gained(P0, committed)
        self.poll(range(committed, committed + count))

    def poll(self, offsets: range, partition: Partition = P0, now: float = 0.0) -> None:
        assert self.intake.polled([delivery(offset, partition) for offset in offsets], now) == []

    def claim(self, *answers: Answer, now: float = 0.0) -> list[Lease]:
        """Take a batch as large as there are answers, and answer it."""
        batch = self.intake.next_batch(len(answers), now, {}, room=2**40)
        return self.intake.claimed(batch, answers, now)

    def offsets(self, window: int = 1000, now: float = 0.0) -> list[int]:
        """What would be claimed now; it is taken."""
        return [delivery.offset for delivery in self.intake.next_batch(window, now, {})]

    def end(self, leases: list[Lease], now: float = 0.0) -> None:
        """Runs ended and were written."""
        self.intake.stopped([lease.id for lease in leases], now)
        for lease in leases:
            self.intake.settled(lease.delivery)

    @property
    def low(self) -> int | None:
        """The offset that would be committed, were nothing committed yet."""
        found = dict(self.intake.to_commit()).get(P0)
        return None if found is None else found[0]


# Polled


def test_messages_are_claimed_in_the_order_in_which_they_came() -> None:
    worker = Worker()
    worker.intake.gained(P1, 0)
    worker.poll(range(2))
    worker.poll(range(2), P1)
    worker.poll(range(2, 4))
    assert worker.intake.waiting == 6
    assert [(d.partition, d.offset) for d in worker.intake.next_batch(9, 0.0, {})] == [
        (P0, 0),
        (P0, 1),
        (P1, 0),
        (P1, 1),
        (P0, 2),
        (P0, 3),
    ]


def test_repeated_fetches_and_partitions_of_others_are_ignored() -> None:
    worker = Worker(3)
    worker.poll(range(1, 4))
    worker.poll(range(5), P1)
    assert worker.offsets() == [0, 1, 2, 3]


def test_a_recreated_log_is_read_and_committed_from_its_start() -> None:
    worker = Worker(3)
    worker.intake.settled(delivery(0))
    worker.intake.settled(delivery(1))
    worker.poll(range(2))
    assert worker.intake.log_restarts() == [P0]
    assert worker.intake.log_restarts() == []
    assert worker.offsets() == [0, 1]
    worker.intake.settled(delivery(0))
    assert worker.low == 1


def test_unreadable_messages_hold_the_watermark_until_they_are_dead_lettered() -> None:
    worker = Worker()
    found = worker.intake.polled([delivery(0), unreadable(1), unreadable(1), delivery(2), unreadable(3)], 0.0)
    assert [entry.offset for entry in found] == [1, 3]
    assert worker.offsets() == [0, 2]
    for offset in (0, 2, 3):
        worker.intake.done(P0, offset)
    assert worker.low == 1
    worker.intake.done(P0, 1)
    worker.intake.done(P1, 0)  # no longer ours: nothing to note
    assert worker.low == 4


def test_an_unreadable_message_of_a_lost_partition_is_dropped() -> None:
    worker = Worker()
    assert worker.intake.polled([unreadable(0, P1)], 0.0) == []


# The window


def test_the_window_is_at_least_the_free_slots() -> None:
    intake = Intake()
    assert intake.window(free=4, now=0.0) == 4
    assert intake.window(free=1000, now=0.0) == 200
    assert intake.window(free=0, now=0.0) == 0


def test_the_window_follows_the_ends_of_the_last_200_ms() -> None:
    worker = Worker(1000)
    leases = worker.claim(*[run()] * 60)
    worker.end(leases[:50], now=10.0)
    assert worker.intake.window(free=0, now=10.1) == 50 - 10
    worker.end(leases[50:55], now=10.15)
    assert worker.intake.window(free=0, now=10.15) == 55 - 5
    assert worker.intake.window(free=0, now=10.21) == 0  # the fifty are too long ago
    assert worker.intake.window(free=2, now=10.21) == 2
    assert worker.intake.window(free=0, now=11.0) == 0


def test_the_window_never_lets_more_than_200_run() -> None:
    worker = Worker(1000)
    for _ in range(5):
        worker.end(worker.claim(*[run()] * 150, now=1.0), now=1.0)
    assert worker.intake.window(free=3, now=1.0) == 200


def test_without_room_for_more_bytes_only_free_slots_are_filled() -> None:
    worker = Worker(1000)
    worker.end(worker.claim(*[run()] * 100, now=1.0), now=1.0)
    assert worker.intake.window(free=3, now=1.0) == 100
    assert worker.intake.window(free=3, now=1.0, ahead=False) == 3


def test_a_batch_ends_with_the_delivery_that_fills_the_room() -> None:
    worker = Worker()
    worker.intake.polled([large(offset) for offset in range(4)], 0.0)
    room = BUDGET // 2
    assert [one.offset for one in worker.intake.next_batch(9, 0.0, {}, room=room)] == [0, 1]
    assert worker.offsets() == [2, 3]


def test_large_messages_that_wait_stop_the_polls() -> None:
    worker = Worker()
    worker.intake.polled([large(offset) for offset in range(3)], 0.0)
    assert worker.intake.appetite(1) > 0
    worker.intake.polled([large(3)], 0.0)
    assert worker.intake.appetite(1) == 0
    worker.offsets(1)
    assert worker.intake.appetite(1) > 0


def test_requeued_runs_do_not_count_for_the_window() -> None:
    """It would be claimed again at once, wait behind the same long runs, and be given back again."""
    worker = Worker(100)
    leases = worker.claim(*[run()] * 50)
    worker.intake.stopped([lease.id for lease in leases], 1.0, ended=False)
    assert worker.intake.window(free=0, now=1.0) == 0
    assert not worker.intake.runs(leases[0].id)


def test_a_run_that_was_not_started_here_cannot_end_here() -> None:
    worker = Worker(1)
    worker.intake.stopped(["x", "y"], 0.0)
    assert worker.intake.window(free=0, now=0.0) == 0


# Batches and answers


def test_a_batch_has_no_id_twice() -> None:
    worker = Worker()
    worker.intake.polled([delivery(offset, id="abac"[offset]) for offset in range(4)], 0.0)
    assert worker.offsets() == [0, 1, 3]
    assert worker.intake.next_parked() == 1.0
    assert worker.offsets(now=0.9) == []
    assert worker.offsets(now=1.0) == [2]


def test_a_running_task_is_not_claimed_again_until_it_ended() -> None:
    worker = Worker()
    worker.intake.polled([delivery(0, id="a"), delivery(1, id="a")], 0.0)
    (lease,) = worker.claim(run())
    assert worker.intake.runs("a")
    assert worker.offsets(now=0.0) == []
    assert worker.offsets(now=1.0) == []  # looked at, still runs: parked for another second
    worker.end([lease], now=1.5)
    assert worker.offsets(now=2.0) == [1]


def test_leases_carry_the_answers_of_the_claim() -> None:
    worker = Worker(2)
    leases = worker.claim(Answer(Verdict.RUN, 7, 3, started_at_ms=99), Answer(Verdict.RUN, 8, 1))
    assert [(lease.id, lease.fence, lease.attempt) for lease in leases] == [("0-000000", 7, 3), ("0-000001", 8, 1)]
    assert leases[0].started_at_ms == 99
    assert worker.low is None or worker.low == 0


@pytest.mark.parametrize("verdict", [Verdict.DONE, Verdict.LATER, Verdict.POISON, Verdict.TOO_OLD, Verdict.ERROR])
def test_verdicts_that_settle(verdict: Verdict) -> None:
    worker = Worker(2)
    assert worker.claim(Answer(verdict)) == []
    assert worker.low == 1


def test_a_busy_one_is_parked_with_its_offset_open_until_the_lease_ends() -> None:
    worker = Worker(3)
    worker.claim(busy(5_000), DONE, DONE, now=10.0)
    assert worker.low is None  # 0 is committed already, and holds the rest
    parked = worker.intake.next_parked()
    assert parked is not None
    assert 15.0 < parked < 15.1
    assert worker.offsets(now=15.0) == []
    worker.poll(range(3, 5))
    assert worker.offsets(now=parked) == [0, 3, 4]  # parked ones come first


def test_a_busy_one_from_a_sweep_is_left_to_the_next_sweep() -> None:
    worker = Worker()
    worker.intake.claimed([delivery(0, None)], [busy()], 0.0)
    assert worker.intake.next_parked() is None


def test_a_swept_message_settles_no_offset() -> None:
    worker = Worker(1)
    (lease,) = worker.intake.claimed([delivery(0, None)], [run()], 0.0)
    worker.end([lease])
    assert worker.low is None


def test_a_window_of_nothing_takes_nothing() -> None:
    worker = Worker(3)
    assert worker.offsets(0) == []
    assert worker.offsets(-5) == []
    assert worker.intake.waiting == 3


def test_requeued_messages_come_next_in_their_order() -> None:
    worker = Worker(6)
    batch = worker.intake.next_batch(3, 0.0, {})
    worker.intake.put_back(batch)
    assert worker.offsets(4) == [0, 1, 2, 3]


def test_a_requeued_swept_record_is_claimed_with_the_polled_message() -> None:
    worker = Worker(1)
    worker.intake.put_back([delivery(9, None), delivery(5, P1)])
    assert worker.offsets() == [9, 0]  # partition 1 is not ours


# Partitions come and go


def test_a_lost_partition_is_forgotten() -> None:
    worker = Worker(3)
    worker.intake.gained(P1, 0)
    worker.poll(range(3), P1)
    worker.claim(busy(1000), DONE)
    worker.intake.lost(P0)
    assert worker.intake.partitions() == [P1]
    assert [(d.partition, d.offset) for d in worker.intake.next_batch(9, 100.0, {})] == [(P1, 0), (P1, 1), (P1, 2)]
    assert worker.intake.next_parked() is None
    assert P0 not in worker.intake.to_commit()
    worker.intake.settled(delivery(2))
    worker.intake.lost(P0)


def test_a_run_goes_on_when_its_partition_is_lost() -> None:
    worker = Worker(1)
    (lease,) = worker.claim(run())
    worker.intake.lost(P0)
    assert worker.intake.runs(lease.id)
    worker.end([lease])
    assert not worker.intake.runs(lease.id)
    assert worker.low is None


def test_an_answer_that_comes_after_the_loss_parks_nothing() -> None:
    worker = Worker(2)
    batch = worker.intake.next_batch(2, 0.0, {})
    worker.intake.lost(P0)
    worker.intake.claimed(batch, [busy(), DONE], 0.0)
    assert worker.intake.next_parked() is None


def test_a_regained_partition_begins_at_its_committed_offset() -> None:
    worker = Worker(5)
    (lease, *_) = worker.claim(run())
    worker.intake.lost(P0)
    worker.intake.gained(P0, 0)
    worker.poll(range(5))
    assert worker.offsets() == [1, 2, 3, 4]  # offset 0 runs here still
    worker.end([lease])
    assert worker.low == 1


def test_without_a_committed_offset_nothing_is_committed_before_something_came() -> None:
    intake = Intake()
    intake.gained(P0, None)
    assert intake.to_commit() == {}
    intake.polled([delivery(40)], 0.0)  # the log begins there
    assert intake.to_commit() == {P0: (40, "")}
    intake.done(P0, 40)
    assert intake.to_commit() == {P0: (41, "")}


# Commits


def test_only_changed_watermarks_are_committed() -> None:
    worker = Worker(3, committed=10)
    assert worker.intake.to_commit() == {}
    worker.claim(DONE)
    assert worker.intake.to_commit() == {P0: (11, "")}
    assert worker.intake.to_commit() == {}


def test_a_commit_never_passes_an_open_message() -> None:
    worker = Worker(4)
    leases = worker.claim(*[run()] * 4)
    worker.end(leases[1:])
    assert worker.low is None
    worker.end(leases[:1])
    assert worker.low == 4


def test_metadata_names_the_epoch_its_mark_and_the_watermark_of_two_heartbeats_ago() -> None:
    worker = Worker(10)
    metadata = []
    for beat in range(5):
        worker.claim(DONE)
        worker.intake.beat((Epoch("e", 1000 + beat),))
        metadata.append(worker.intake.to_commit()[P0])
    assert metadata == [
        (1, "1 e 1000 0 10"),
        (2, "1 e 1001 0 10"),
        (3, "1 e 1002 1 10"),
        (4, "1 e 1003 2 10"),
        (5, "1 e 1004 3 10"),
    ]


def test_a_heartbeat_alone_is_committed_too() -> None:
    worker = Worker(committed=10)
    worker.intake.beat((Epoch("e", 1),))
    assert worker.intake.to_commit() == {P0: (10, "1 e 1 10")}
    worker.intake.beat((Epoch("e", 2),))
    assert worker.intake.to_commit() == {P0: (10, "1 e 2 10")}


def test_each_partition_has_the_epoch_of_its_shard() -> None:
    intake = Intake()
    for number in range(3):
        intake.gained(Partition("q", number), 5)
    intake.beat((Epoch("even", 1), Epoch("odd", 2)))
    metadata = list(intake.to_commit().values())
    assert metadata == [(5, "1 even 1 5"), (5, "1 odd 2 5"), (5, "1 even 1 5")]


# Pausing


def test_a_partition_pauses_at_10_000_open_messages_and_resumes_at_half() -> None:
    worker = Worker(MAX_UNSETTLED - 1)
    assert worker.intake.to_pause() == ([], [])
    worker.poll(range(MAX_UNSETTLED - 1, MAX_UNSETTLED))
    assert worker.intake.to_pause() == ([P0], [])
    assert worker.intake.to_pause() == ([], [])
    for offset in range(MAX_UNSETTLED // 2):
        worker.intake.done(P0, offset)
    assert worker.intake.to_pause() == ([], [])
    worker.intake.done(P0, MAX_UNSETTLED // 2)
    assert worker.intake.to_pause() == ([], [P0])


def test_parked_messages_pause_their_partition_too() -> None:
    worker = Worker(MAX_UNSETTLED)
    worker.claim(*[busy()] * MAX_UNSETTLED)
    assert worker.intake.waiting == 0
    assert worker.intake.to_pause() == ([P0], [])


def test_a_partition_pauses_when_a_million_offsets_may_have_to_be_read_again() -> None:
    worker = Worker(1)
    worker.poll(range(MAX_SPAN - 2, MAX_SPAN - 1))
    assert worker.intake.to_pause() == ([], [])
    worker.poll(range(MAX_SPAN - 1, MAX_SPAN))
    assert worker.intake.to_pause() == ([P0], [])
    worker.intake.done(P0, 0)
    assert worker.intake.to_pause() == ([], [P0])


@pytest.mark.slow
def test_a_task_of_an_hour_delays_none_of_200_000_behind_it() -> None:
    """Virtual time: one slot of two is taken for an hour, the other runs a task each 10 ms."""
    worker, behind, now, polled, ended, beat = Worker(1), 200_000, 0.0, 1, 0, 0
    (long,) = worker.claim(run())
    while ended < behind:
        now += 0.01
        if worker.intake.appetite(1) and polled <= behind:
            worker.poll(range(polled, min(polled + 500, behind + 1)), now=now)
            polled = min(polled + 500, behind + 1)
        worker.end(worker.claim(run(), now=now), now)
        ended += 1
        assert worker.intake.to_pause() == ([], [])
        if now > beat:
            beat += 5
            worker.intake.beat((Epoch("e", beat),))
            (offset, metadata) = worker.intake.to_commit()[P0]
            assert (offset, len(metadata) < 1000) == (0, True)
    assert now < 3600
    worker.end([long], 3600.0)
    assert worker.low == behind + 1


# Messages that are read again


def test_what_was_read_before_a_rewind_is_asked_about_before_it_is_claimed() -> None:
    worker = Worker(1000)
    rewind = Rewind(P0, 0, 0, Epoch("e", 1))
    worker.intake.rewound(rewind, 0)
    worker.poll(range(700))
    assert (worker.intake.waiting, worker.intake.appetite(9)) == (0, 0)
    assert [one.offset for one in worker.intake.read_again.first()] == list(range(500))
    worker.intake.asked([offset != 7 for offset in range(500)])
    assert worker.low == 7
    assert [one.offset for one in worker.intake.read_again.first()] == list(range(500, 700))
    worker.intake.asked([True] * 200)
    assert worker.intake.read_again.first() == []
    assert worker.offsets() == [7]
    worker.poll(range(700, 1002))
    assert [one.offset for one in worker.intake.read_again.first()] == list(range(700, 1000))
    assert worker.offsets() == [1000, 1001]  # new ones are claimed as usual


def test_a_lost_partition_is_not_asked_about() -> None:
    worker = Worker(10)
    worker.intake.rewound(Rewind(P0, 0, 0, Epoch("e", 1)), 0)
    worker.poll(range(10))
    worker.intake.lost(P0)
    assert worker.intake.read_again.first() == []


# Saturation and offers


PEER = WorkerRow(WorkerIdentity("w2", "i2", "host", 2, 0.0), STATS, 0.0, online=True)


def peers(slots: int) -> FreePeers:
    """Return one peer that serves the default queue, has loaded `add`, and has this number of free slots."""
    stats = structs.replace(STATS, free=slots, queues=("default",), tasks=("add",))
    return FreePeers([structs.replace(PEER, stats=stats)])


def offered(worker: Worker, slots: int, *answers: Answer) -> list[int]:
    """Offer to a peer with this number of free slots; the first ones get these answers, the others OFFERED."""
    batch = worker.intake.to_offer(peers(slots))
    rest = [Answer(Verdict.OFFERED)] * (len(batch) - len(answers))
    worker.intake.offered(batch, [*answers, *rest], 0.0)
    return [entry.delivery.offset for entry in batch]


def test_the_longest_waiting_are_offered_to_free_slots_elsewhere_and_wait_on() -> None:
    worker = Worker(10)
    assert offered(worker, 3) == [0, 1, 2]
    assert worker.intake.waiting == 10
    assert worker.offsets(5) == [0, 1, 2, 3, 4]


def test_with_no_free_slot_elsewhere_nothing_is_offered() -> None:
    assert offered(Worker(10), 0) == []


def test_at_most_200_are_offered() -> None:
    assert offered(Worker(500), 1000) == list(range(200))


def test_the_answers_of_a_requeue_request_settle_or_park() -> None:
    worker = Worker(4)
    offered(worker, 3, DONE, busy(2_000))
    assert worker.low == 1
    assert worker.offsets(now=0.0) == [2, 3]
    assert worker.offsets(now=3.0) == [1]


def test_a_running_task_is_not_offered_and_takes_no_place() -> None:
    worker = Worker()
    worker.intake.polled([delivery(0, id="a"), delivery(1, id="a"), delivery(2, id="b"), delivery(3, id="b")], 0.0)
    worker.claim(run())
    assert offered(worker, 1) == [2]


def test_messages_never_offered_come_before_those_offered_once() -> None:
    worker = Worker(4)
    leases = worker.claim(run(), run())
    worker.intake.stopped([lease.id for lease in leases], 0.0, ended=False)
    worker.intake.put_back([lease.delivery for lease in leases], requeued=True)
    assert {2, 3} <= set(offered(worker, 2))
    assert worker.offsets() == [0, 1, 2, 3]


# On a broker that cannot replay


def streams(*messages: Delivery | Unreadable, now: float = 0.0) -> Intake:
    """An intake whose broker is not replayable, after these have come."""
    intake = Intake(replayable=False)
    intake.polled(messages, now)
    return intake


def test_every_answered_claim_is_spent_whatever_the_answer() -> None:
    answers = [run(), busy(), *(Answer(verdict) for verdict in Verdict if verdict not in (Verdict.RUN, Verdict.BUSY))]
    intake = streams(*map(delivery, range(len(answers))), delivery(99, None))
    batch = intake.next_batch(100, 0.0, {})
    assert intake.spent() == []
    leases = intake.claimed(batch, [*answers, run()], 0.0)
    assert [lease.delivery.offset for lease in leases] == [0, 99]
    assert intake.spent() == [(P0, offset) for offset in range(len(answers))]
    assert intake.spent() == []
    assert (intake.waiting, intake.next_parked()) == (0, None)


def test_a_second_copy_of_a_claimed_or_running_task_is_settled() -> None:
    intake = streams(delivery(0, id="a"), delivery(1, id="a"))
    batch = intake.next_batch(9, 0.0, {})
    assert [one.offset for one in batch] == [0]
    assert intake.spent() == [(P0, 1)]
    intake.claimed(batch, [run()], 0.0)
    intake.polled([delivery(2, id="a")], 0.0)
    assert intake.next_batch(9, 0.0, {}) == []
    assert intake.spent() == [(P0, 0), (P0, 2)]


def test_intake_polls_no_more_than_it_may_claim_unless_tasks_are_short() -> None:
    intake = streams()
    assert intake.appetite(intake.window(3, 0.0)) == 3
    assert intake.appetite(intake.window(0, 0.0)) == 0
    intake.polled(map(delivery, range(200)), 0.0)
    leases = intake.claimed(intake.next_batch(200, 0.0, {}), [run()] * 200, 0.0)
    intake.stopped([lease.id for lease in leases], 0.1)
    assert intake.appetite(intake.window(1, 0.1)) == 400  # 200 now, and 200 that take a fifth of a second
    assert intake.appetite(intake.window(1, 0.5)) == 1


def test_polled_messages_are_claimed_although_the_window_has_shrunk() -> None:
    intake = streams(*map(delivery, range(50)))
    assert intake.window(0, 0.0) == 50
    assert len(intake.next_batch(50, 0.0, {})) == 50
    assert intake.window(0, 0.0) == 0


def test_polled_messages_are_claimed_although_there_is_no_room_for_their_bytes() -> None:
    """No other worker would get them before a lease is over."""
    intake = streams(*map(large, range(5)))
    assert intake.appetite(9) == 0
    assert intake.window(0, 0.0, ahead=False) == 5
    assert len(intake.next_batch(5, 0.0, {})) == 4, "one call carries no more"


def test_a_refused_outcome_is_claimed_again_and_a_released_run_is_not() -> None:
    intake = streams()
    intake.put_back([delivery(0), delivery(1)])
    intake.put_back([delivery(2)], requeued=True)
    assert [one.offset for one in intake.next_batch(9, 0.0, {})] == [0, 1]


def test_an_unreadable_message_is_done_once_it_was_sent() -> None:
    intake = Intake(replayable=False)
    (bad,) = intake.polled([unreadable(4)], 0.0)
    assert intake.spent() == []
    intake.done(bad.partition, bad.offset)
    assert intake.spent() == [(P0, 4)]


def test_there_is_nothing_to_commit_rewind_or_pause() -> None:
    intake = streams(delivery(0))
    intake.beat((Epoch("a", 1),))
    intake.beat((Epoch("b", 2),))
    assert (intake.to_rewind(), intake.to_commit(), intake.to_pause()) == ([], {}, ([], []))
