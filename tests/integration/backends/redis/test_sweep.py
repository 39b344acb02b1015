"""Sweep: a record without a live lease is found by the first worker that sweeps."""

from __future__ import annotations

from collections.abc import Sequence

from tests.integration.backends.redis.bed import Bed
from yadtq_core.model import Due
from yadtq_core.testing.contracts.backend_bed import SHORT, given_back, outcome, submission


def ids(found: Sequence[Due]) -> list[str]:
    """Return the IDs of what a sweep found."""
    return sorted(due.id for due in found)


def test_a_sweeper_takes_as_many_released_as_it_has_room_for_and_leaves_the_rest_to_others(bed: Bed) -> None:
    ones = bed.submit(5)
    bed.backend.confirm([(one.message.id, "0:7") for one in ones])
    bed.backend.release(
        [given_back(one.message.id, answer) for one, answer in zip(ones, bed.claim(ones), strict=True)], bed.worker
    )
    first, second = bed.backend.sweep(100, 2)[1], bed.backend.sweep(100, 2)[1]
    assert (len(first), len(second)) == (2, 2)
    assert len(set(ids(first) + ids(second))) == 4

    last = next(one for one in ones if one.message.id not in ids(first) + ids(second))
    before = bed.score(last)
    assert bed.backend.sweep(100, 0)[1] == []
    assert bed.score(last) == before
    before_ms = bed.backend.time_ms()
    assert ids(bed.backend.sweep(1, 0)[1]) == [last.message.id]  # so many that they would hide what is behind them
    assert before_ms < (bed.score(last) or 0) <= bed.backend.time_ms() + 1_000


def test_a_reclaimed_record_is_checked_every_second_until_a_worker_has_a_slot(bed: Bed) -> None:
    one = bed.submit()[0]
    bed.lost(one)
    now_ms, found = bed.backend.sweep(100, 0)
    assert ids(found) == [one.message.id]
    assert now_ms < (bed.score(one) or 0) <= now_ms + 1_100
    bed.backend.confirm([(one.message.id, "0:7")])
    assert (bed.score(one) or 0) <= bed.backend.time_ms() + 1_000
    bed.run(one)
    assert "rl" not in bed.fields(one)


def test_a_score_that_lies_is_set_right(bed: Bed) -> None:
    running, delayed, ended, ghost = bed.submit()[0], bed.submit(delay=60)[0], bed.submit()[0], submission().message.id
    bed.run(running)
    bed.finish(outcome(ended.message.id, bed.run(ended)))
    right = bed.score(running), bed.score(delayed)
    for task_id in (running.message.id, delayed.message.id, ended.message.id, ghost):
        bed.store.run("ZADD", bed.shard_key("open"), 1, task_id)
    assert bed.backend.sweep(100, 100)[1] == []
    assert (bed.score(running), bed.score(delayed)) == right
    assert (bed.score(ended), bed.score(ghost)) == (None, None)


def test_a_sweep_skips_a_damaged_record_until_later(bed: Bed) -> None:
    bed.backend = bed.open(publish_grace=SHORT)
    wrong_type, wrong_status, fine = bed.submit(3)
    bed.store.run("SET", bed.key("task", wrong_type), "x")
    bed.store.run("HSET", bed.key("task", wrong_status), "st", "sleeping")
    bed.pass_time()
    assert ids(bed.backend.sweep(100, 100)[1]) == [fine.message.id]
    for one in (wrong_type, wrong_status):
        assert (bed.score(one) or 0) - bed.backend.time_ms() > 29 * 60_000


def test_a_kept_message_that_cannot_be_read_is_a_body_and_no_delivery(bed: Bed) -> None:
    bed.backend = bed.open(publish_grace=SHORT)
    one = bed.submit()[0]
    bed.store.run("SET", bed.key("message", one), b"{nonsense")
    bed.pass_time()
    assert bed.backend.sweep(100, 100)[1][0].delivery is None
    assert (bed.backend.messages([one.message.id])[0] or b"").endswith(b",nonsense")
