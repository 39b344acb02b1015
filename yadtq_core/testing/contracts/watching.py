"""The backend's contract: watch, heartbeat, workers and resets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from msgspec import structs

from yadtq_core.interfaces import Subscription
from yadtq_core.model import Epoch, Past, Status, WorkerStats, new_id
from yadtq_core.testing.contracts.backend_bed import SHORT, STATS, BackendBed, outcome, submission, worker

MOST_SHARDS = 256


def beat(bed: BackendBed, *known: Epoch) -> Epoch:
    """Send a heartbeat; return the epoch of the first shard."""
    return bed.backend.heartbeat(bed.worker, STATS, known).epochs[0]


class WatchingContract:
    """A subscription reports the ends; a heartbeat says who lives, and what the store may have lost."""

    @pytest.fixture
    def mine(self, bed: BackendBed) -> Iterator[Subscription]:
        """A subscription of this test's backend."""
        subscription = bed.backend.subscribe()
        yield subscription
        subscription.close()

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

        pushed: list[str] = []
        while len(pushed) < 5:
            pushed += mine.wait(30) or pytest.fail(f"only {len(pushed)} ends were pushed")
        assert set(pushed) == {one.message.id for one in (success, failed, cancelled, marked, poison)}
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
