"""Heartbeat: a worker's row, and the epoch of each shard's data."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import Epoch, Past, Reset, Verdict
from yadtq_core.testing.contracts.backend_bed import SHORT, STATS, delivery, submission, worker

HEARTBEATS_MS = 10_000
DAY_MS = 86_400_000


def beat(bed: Bed, *known: Epoch) -> Epoch:
    """Return the epoch that a heartbeat answers."""
    return bed.backend.heartbeat(bed.worker, STATS, known).epochs[0]


def window(bed: Bed) -> tuple[int, int]:
    """Return what the last epoch's loss can cover."""
    line = bed.store.run("HGET", bed.shard_key("epoch"), "past").decode().split(";")[-2]
    begins, ends = line.split(":")[2:]
    return int(begins), int(ends)


def test_the_window_of_the_first_epoch_begins_at_zero(bed: Bed) -> None:
    beat(bed)
    assert window(bed)[0] == 0


def test_another_run_of_the_server_is_another_epoch_from_the_mark_on(bed: Bed) -> None:
    first = beat(bed)
    bed.store.run("HSET", bed.shard_key("epoch"), "run_id", "another")
    bed.pass_time()
    second = beat(bed, first)

    assert second.id != first.id
    assert second.past == (*first.past, Past(second.id, first.mark_ms))
    assert window(bed) == (first.mark_ms - HEARTBEATS_MS, second.mark_ms)
    assert beat(bed, first).id == second.id  # the second who knows the old one adopts


def test_after_everything_was_lost_the_maker_says_from_where(bed: Bed) -> None:
    first = beat(bed)
    bed.lose_everything()
    one = bed.submit()[0]  # the first of the new life: it was born now
    born = int(bed.store.run("HGET", bed.shard_key("epoch"), "born"))
    bed.pass_time()
    second = beat(bed, first)

    assert second.past == (Past(second.id, first.mark_ms),)
    assert window(bed) == (0, born)
    assert born == one.message.submitted_at_ms


def test_a_restart_reports_the_window_of_lost_writes(bed: Bed) -> None:
    first = beat(bed)
    bed.store.run("HSET", bed.shard_key("epoch"), "run_id", "another", "past", "")
    bed.pass_time()
    second = beat(bed, first)
    assert bed.backend.resets([submission().message.id]) == [
        Reset(at=second.mark_ms / 1000, since=(first.mark_ms - HEARTBEATS_MS) / 1000, mark=first.mark_ms / 1000)
    ]


def test_of_equal_losses_the_last_is_reported(bed: Bed) -> None:
    first = beat(bed)
    for days, mark in ((3, 1), (0.5, 2), (0.25, 3), (0.75, 4)):
        line = f"x:{mark}:0:{first.mark_ms - int(days * DAY_MS)};"
        past = bed.store.run("HGET", bed.shard_key("epoch"), "past").decode()
        bed.store.run("HSET", bed.shard_key("epoch"), "past", past * (mark > 1) + line)
    reset = bed.backend.resets([submission().message.id])[0]
    assert reset is not None
    assert reset.mark == 0.003


def test_after_a_total_loss_an_unknown_id_has_the_time_of_the_reset(bed: Bed) -> None:
    first = beat(bed)
    lost = bed.submit()[0].message.id
    bed.lose_everything()
    bed.pass_time()
    born = bed.submit()[0].message.submitted_at_ms
    beat(bed, first)
    assert bed.backend.get([lost]) == [None]
    assert bed.backend.resets([lost]) == [Reset(at=born / 1000, since=0.0, mark=first.mark_ms / 1000)]


def test_after_a_total_loss_the_window_begins_at_zero(bed: Bed) -> None:
    beat(bed)
    bed.lose_everything()
    assert beat(bed).past[0].from_ms == 0


def test_after_everything_was_lost_old_messages_run_and_new_ones_can_be_too_old(bed: Bed) -> None:
    first = beat(bed)
    bed.lose_everything()
    beat(bed, first)
    now_ms = bed.backend.time_ms()
    old = delivery(submission(), now_ms - 3 * DAY_MS)
    assert bed.claim([old])[0].verdict is Verdict.RUN
    later = delivery(submission(), now_ms + 1)
    bed.pass_time()
    assert bed.claim([later], backend=bed.open(result_ttl=SHORT))[0].verdict is Verdict.TOO_OLD


def test_fifty_epochs_are_remembered(bed: Bed) -> None:
    epoch = beat(bed)
    for number in range(60):
        bed.store.run("HSET", bed.shard_key("epoch"), "run_id", f"r{number}")
        epoch = beat(bed, epoch)
    assert len(epoch.past) == 50
    assert epoch.past[-1].id == epoch.id


def test_each_shard_has_an_epoch(make_bed: Callable[..., Bed]) -> None:
    bed = make_bed(shards=3)
    epochs = bed.backend.heartbeat(bed.worker, STATS, ()).epochs
    assert len({epoch.id for epoch in epochs}) == 3
    bed.store.run("DEL", bed.shard_key("epoch", 1))
    after = bed.backend.heartbeat(bed.worker, STATS, epochs).epochs
    assert [one.id == other.id for one, other in zip(epochs, after, strict=True)] == [True, False, True]
    assert after[1].past == (Past(after[1].id, epochs[1].mark_ms),)

    ids = [f"0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a0{last}" for last in "1020"]
    resets = bed.backend.resets(ids)
    assert [reset is not None and reset.mark for reset in resets] == [epochs[1].mark_ms / 1000, 0, 0, 0]


def test_workers_silent_for_an_hour_are_forgotten_with_their_leases(bed: Bed) -> None:
    gone = worker("gone")
    one = bed.submit()[0]
    bed.run(one, worker=gone)
    bed.backend.heartbeat(gone, STATS, ())
    assert len(bed.backend.held(gone)) == 1
    workers = f"yadtq:{{{bed.namespace}}}:workers"
    bed.store.run("ZADD", workers, bed.backend.time_ms() - 3_600_001, f"gone:{gone.incarnation}")
    assert bed.backend.workers() == []
    beat(bed)

    assert [row.identity.id for row in bed.backend.workers()] == ["w"]
    assert bed.backend.held(gone) == []
    assert int(bed.store.run("ZCARD", workers)) == 1
    rows = [name for name in bed.names() if ":worker:" in name]
    assert all(int(bed.store.run("PTTL", name)) > 0 for name in rows)


def test_the_mark_never_goes_back(bed: Bed) -> None:
    first = beat(bed)
    ahead = first.mark_ms + 3_600_000
    bed.store.run("HSET", bed.shard_key("epoch"), "mark", ahead)
    assert beat(bed, first) == Epoch(first.id, ahead, first.past)
