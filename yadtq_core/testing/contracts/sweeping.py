"""The backend's contract: sweep, watch, heartbeat, workers and resets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from msgspec import structs

from yadtq_core.interfaces import Subscription
from yadtq_core.model import Delivery, Epoch, Past, Status, WorkerStats, new_id
from yadtq_core.testing.contracts.backend_bed import SHORT, STATS, BackendBed, given_back, outcome, submission, worker

MOST_SHARDS = 256


def beat(bed: BackendBed, *known: Epoch) -> Epoch:
    """Send a heartbeat; return the epoch of the first shard."""
    return bed.backend.heartbeat(bed.worker, STATS, known).epochs[0]


class SweepingContract:
    """A sweep finds every record that needs attention; a subscription reports the ends."""

    @pytest.fixture
    def mine(self, bed: BackendBed) -> Iterator[Subscription]:
        """A subscription of this test's backend."""
        subscription = bed.backend.subscribe()
        yield subscription
        subscription.close()

    def test_a_sweep_takes_released_records_up_to_its_free_slots(self, bed: BackendBed) -> None:
        ones = bed.submit(5)
        bed.backend.confirm([(one.message.id, "0:7") for one in ones])
        backs = [given_back(one.message.id, answer) for one, answer in zip(ones, bed.claim(ones), strict=True)]
        bed.backend.release(backs, bed.worker)
        first, second = ([due.id for due in bed.backend.sweep(100, 2)[1]] for _ in range(2))
        assert (len(first), len(second), len({*first, *second})) == (2, 2, 4)
        last = next(one.message.id for one in ones if one.message.id not in {*first, *second})
        assert bed.due() == []  # without a free slot it is left to other workers
        assert [due.id for due in bed.backend.sweep(1, 0)[1]] == [last]  # unless it may hide further records

    def test_after_a_sweep_a_late_outcome_counts_until_another_claim(self, bed: BackendBed) -> None:
        early, late, retried = bed.submit(3)
        answers = [bed.lost(one) for one in (early, late, retried)]
        bed.backend.sweep(100, 100)
        bed.run(late, worker=worker("b"))
        codes = bed.finish(
            outcome(early.message.id, answers[0]),
            outcome(late.message.id, answers[1]),
            outcome(retried.message.id, answers[2], Status.SCHEDULED),
        )
        assert codes == ["ok", "fenced", "ok"]
        assert bed.record(retried).status is Status.SCHEDULED
        assert bed.backend.counts().queues == {"default": {"processing": 1, "scheduled": 1}}

    def test_a_lost_run_to_be_cancelled_is_ended_by_the_next_sweep(self, bed: BackendBed) -> None:
        one, dead = bed.submit()[0], worker("dead")
        bed.lost(one, worker=dead)
        bed.backend.cancel([one.message.id], "enough")
        assert bed.backend.sweep(100, 100)[1] == []
        assert bed.record(one).status is Status.CANCELLED
        assert bed.backend.held(dead) == []
        assert bed.backend.counts().ended == {"cancelled": 1}

    def test_watch_answers_true_for_an_ended_or_missing_record(self, bed: BackendBed, mine: Subscription) -> None:
        ended, never = bed.submit()[0], submission().message.id
        bed.finish(outcome(ended.message.id, bed.run(ended)))
        assert bed.backend.watch([ended.message.id, never], mine.channel) == [True, True]
        assert bed.backend.get([never]) == [None]

    def test_several_subscriptions_watch_one_task(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        waiting = [bed.backend.subscribe() for _ in range(3)]
        for subscription in (*waiting, waiting[0]):
            bed.backend.watch([one.message.id], subscription.channel)
        bed.finish(outcome(one.message.id, bed.run(one)))
        assert [subscription.wait(30) for subscription in waiting] == [[one.message.id]] * 3
        for subscription in waiting:
            subscription.close()

    def test_a_forgotten_id_can_be_watched_again(self, bed: BackendBed, mine: Subscription) -> None:
        one, other = bed.submit(2)
        ids = [one.message.id, other.message.id]
        bed.backend.watch(ids, mine.channel)
        mine.forget([*ids, new_id()])
        bed.backend.watch(ids[:1], mine.channel)
        bed.finish(outcome(one.message.id, bed.run(one)))
        assert mine.wait(30) == [one.message.id]

    def test_the_first_heartbeat_begins_an_epoch_and_the_next_raise_its_mark(self, bed: BackendBed) -> None:
        first = beat(bed)
        bed.pass_time()
        second = beat(bed, first)
        third = beat(bed)
        assert first.id == second.id == third.id
        assert first.mark_ms < second.mark_ms <= third.mark_ms <= bed.backend.time_ms()
        assert first.past == (Past(first.id, 0),)

    def test_a_worker_is_listed_with_its_statistics(self, bed: BackendBed) -> None:
        stats = WorkerStats("stopping", 12, 1, 4, 3, ("default", "fast"), (), 2**40, "1.2", 7)
        answer = bed.backend.heartbeat(bed.worker, stats, ())
        bed.backend.heartbeat(worker("b"), STATS, ())
        row, other = sorted(bed.backend.workers(), key=lambda row: row.identity.id, reverse=True)
        assert (row.identity, row.stats, row.online) == (bed.worker, stats, True)
        assert abs(row.last_seen - answer.now_ms / 1000) < 1.0
        assert other.identity.id == "b"
        bed.backend.heartbeat(bed.worker, structs.replace(stats, state="offline"), ())
        assert [row.online for row in bed.backend.workers()] == [True, False]
        assert [row.identity.id for row in bed.backend.workers(online=True)] == ["b"]
        bed.pass_time()
        assert not bed.open(lease=SHORT).workers()[0].online
        assert bed.open(lease=SHORT).workers(online=True) == []

    def test_nothing_is_due_before_its_time(self, bed: BackendBed) -> None:
        fresh, delayed, running = bed.submit()[0], bed.submit(delay=60)[0], bed.submit()[0]
        bed.run(running)
        now_ms, found = bed.backend.sweep(100, 100)
        assert found == []
        assert abs(now_ms - bed.backend.time_ms()) < 30_000
        assert [bed.record(one).status for one in (fresh, delayed, running)] == ["queued", "scheduled", "processing"]

    def test_an_unconfirmed_record_is_due_with_its_message_once_a_grace(self, bed: BackendBed) -> None:
        bed.backend = bed.open(publish_grace=SHORT)
        one = bed.submit(task="mul", queue="fast")[0]
        bed.pass_time()
        due = bed.open().sweep(100, 0)[1][0]

        assert (due.id, due.task, due.queue, due.status, due.position) == (
            one.message.id,
            "mul",
            "fast",
            Status.QUEUED,
            "",
        )
        assert not due.reclaimed
        assert due.delivery is not None
        assert due.delivery.body == one.body
        assert due.delivery.partition is None
        assert bed.open().sweep(100, 0)[1] == []

    def test_a_sweep_returns_messages_of_confirmed_records_up_to_the_number_asked_for(self, bed: BackendBed) -> None:
        bed.backend = bed.open(queue_check=SHORT)
        ones = bed.submit(5)
        bed.backend.confirm([(one.message.id, f"0:{number}") for number, one in enumerate(ones)])
        bed.pass_time()
        found = bed.backend.sweep(100, 2)[1]
        assert len(found) == 5
        assert sum(due.delivery is not None for due in found) == 2
        assert {due.position for due in found} == {f"0:{number}" for number in range(5)}
        rest = [due.id for due in found if due.delivery is None]
        assert all(bed.backend.messages(rest))

    def test_a_sweep_returns_at_most_the_limit_the_longest_due_first(self, bed: BackendBed) -> None:
        bed.backend = bed.open(publish_grace=SHORT)

        def three() -> list[Delivery]:
            return [bed.submit(id=new_id()[:-2] + "00")[0] for _ in range(3)]  # of one shard: the limit is per shard

        first = three()
        bed.pass_time()
        three()
        bed.pass_time()
        found = {due.id for due in bed.backend.sweep(3, 3)[1]}
        assert found == {one.message.id for one in first}

    def test_a_sweep_reclaims_the_record_of_a_dead_worker(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.lost(one, worker=worker("dead"))
        due = bed.backend.sweep(100, 100)[1][0]

        assert (due.id, due.reclaimed, due.status) == (one.message.id, True, Status.QUEUED)
        record = bed.record(one)
        assert (record.status, record.lost, record.fence, record.attempt) == (Status.QUEUED, 1, answer.fence, 1)
        assert [run.reason for run in record.history] == ["worker lost"]
        assert bed.backend.counts().queues == {"default": {"queued": 1}}
        assert due.delivery is not None
        again = bed.run(due.delivery)
        assert (again.attempt, again.lost) == (2, 1)

    def test_after_a_sweep_a_late_extend_renews_the_lease(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.lost(one)
        bed.backend.sweep(100, 100)
        assert bed.backend.extend([bed.hold(one, answer)], bed.worker) == ["ok"]
        assert bed.record(one).status is Status.PROCESSING
        assert bed.backend.counts().queues == {"default": {"processing": 1}}
        assert bed.claim([one], worker=worker("b"))[0].verdict == "busy"
        assert bed.finish(outcome(one.message.id, answer)) == ["ok"]

    def test_a_sweep_past_the_lost_limit_fails_the_record(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        for _ in range(3):
            bed.lost(one, worker=worker("dead"))
            bed.backend.sweep(100, 100)
        last = bed.lost(one, worker=worker("dead"))
        due = bed.backend.sweep(100, 0)[1][0]

        assert (due.status, due.reclaimed) == (Status.FAILED, True)
        assert due.delivery is not None
        record = bed.record(one)
        assert (record.status, record.lost, record.fence) == (Status.FAILED, 4, last.fence + 1)
        assert record.error is not None
        assert record.error.message == "worker lost 4 times"
        assert bed.finish(outcome(one.message.id, last)) == ["fenced"]

    def test_a_due_retry_is_queued_under_a_raised_fence(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        answer = bed.run(one)
        retry = outcome(one.message.id, answer, Status.SCHEDULED, retry_in=SHORT)
        bed.finish(retry)
        bed.pass_time()
        due = bed.backend.sweep(100, 0)[1][0]

        assert (due.status, due.position, due.reclaimed) == (Status.QUEUED, "", False)
        assert due.delivery is not None
        assert bed.record(one).fence == answer.fence + 1
        assert bed.finish(retry) == ["fenced"]
        assert bed.run(due.delivery).attempt == 2

    def test_a_delayed_record_is_queued_when_it_is_due(self, bed: BackendBed) -> None:
        one = bed.submit(delay=SHORT)[0]
        bed.pass_time()
        due = bed.backend.sweep(100, 100)[1][0]
        assert due.delivery is not None
        assert bed.record(one).status is Status.QUEUED
        assert bed.run(due.delivery).attempt == 1

    def test_a_released_record_is_due_at_once(self, bed: BackendBed) -> None:
        one = bed.submit()[0]
        bed.backend.confirm([(one.message.id, "0:7")])
        bed.backend.release([given_back(one.message.id, bed.run(one))], bed.worker)
        due = bed.backend.sweep(100, 100)[1][0]
        assert (due.id, due.position) == (one.message.id, "0:7")

    def test_every_end_is_pushed(self, bed: BackendBed, mine: Subscription) -> None:
        success, failed, cancelled, retried, marked, poison = ones = bed.submit(6)
        assert bed.backend.watch([one.message.id for one in ones], mine.channel) == [False] * 6
        answers = bed.claim([success, failed, retried])
        bed.finish(outcome(success.message.id, answers[0]), outcome(failed.message.id, answers[1], Status.FAILED))
        bed.finish(outcome(retried.message.id, answers[2], Status.SCHEDULED))
        bed.backend.cancel([cancelled.message.id], "enough")
        bed.lost(marked)
        bed.backend.cancel([marked.message.id], "enough")
        for _ in range(4):
            bed.lost(poison)
        bed.claim([marked, poison])

        pushed = set(mine.wait(30) or ())
        assert pushed == {one.message.id for one in (success, failed, cancelled, marked, poison)}
        assert bed.backend.watch([retried.message.id], mine.channel) == [False]
        assert mine.wait(0.0) == []  # each end is pushed once

    def test_a_wait_without_a_push_ends_after_its_timeout(self, mine: Subscription) -> None:
        began = time.monotonic()
        assert mine.wait(0.05) == []
        assert 0.04 < time.monotonic() - began < 10

    def test_closing_a_subscription_ends_its_wait(self, bed: BackendBed) -> None:
        mine = bed.backend.subscribe()
        came: list[object] = []
        waiter = threading.Thread(target=lambda: came.append(mine.wait(60)))
        waiter.start()
        began = time.monotonic()
        mine.close()
        waiter.join(30)
        assert came == [[]]
        assert time.monotonic() - began < 20
        assert mine.wait(60) == []
        mine.close()

    def test_a_mark_below_the_known_one_begins_an_epoch(self, bed: BackendBed) -> None:
        first = beat(bed)
        known = Epoch(first.id, first.mark_ms + 60_000)
        second = beat(bed, known)
        assert second.past[-1] == Past(second.id, first.mark_ms)

    def test_another_epoch_is_adopted_and_never_replaced(self, bed: BackendBed) -> None:
        first = beat(bed)
        assert beat(bed, Epoch("elsewhere", first.mark_ms + 60_000)).id == first.id

    def test_without_an_epoch_there_is_no_reset(self, bed: BackendBed) -> None:
        one = bed.submit()[0].message.id
        assert bed.backend.resets([one, submission().message.id]) == [None, None]
        assert bed.backend.resets([]) == []

    def test_the_first_epoch_is_a_reset_without_a_mark(self, bed: BackendBed) -> None:
        before = bed.backend.time_ms() / 1000
        beat(bed)
        ids = [submission().message.id for _ in range(30)]
        for reset in bed.backend.resets(ids):
            assert reset is not None
            assert (reset.since, reset.mark) == (0, 0)
            assert before <= reset.at <= bed.backend.time_ms() / 1000

    def test_an_empty_store_with_a_known_epoch_has_lost_everything(self, bed: BackendBed) -> None:
        mark = bed.backend.time_ms() - 60_000
        bed.backend.heartbeat(bed.worker, STATS, [Epoch("lost", mark)] * MOST_SHARDS)
        reset = bed.backend.resets([submission().message.id])[0]
        assert reset is not None
        assert (reset.since, reset.mark) == (0, mark / 1000)

    def test_the_greatest_of_several_losses_is_reported(self, bed: BackendBed) -> None:
        firsts = bed.backend.heartbeat(bed.worker, STATS, ()).epochs
        ids = [submission().message.id for _ in range(30)]
        born = bed.backend.resets(ids)
        behind = [Epoch(one.id, one.mark_ms + 60_000) for one in firsts]
        bed.backend.heartbeat(bed.worker, STATS, behind)  # only the writes since the last two heartbeats may be lost
        assert bed.backend.resets(ids) == born

    def test_a_loss_is_reported_for_the_result_ttl(self, bed: BackendBed) -> None:
        beat(bed)
        bed.pass_time()
        assert bed.open(result_ttl=SHORT).resets([submission().message.id]) == [None]

    def test_a_heartbeat_answers_the_time_of_the_store(self, bed: BackendBed) -> None:
        answer = bed.backend.heartbeat(bed.worker, STATS, ())
        assert abs(answer.now_ms - bed.backend.time_ms()) < 30_000
        one = bed.submit()[0]
        assert bed.finish(outcome(one.message.id, bed.run(one))) == ["ok"]
