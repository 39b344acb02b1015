"""Turns between queues, and within a queue between the log and the ready records of the store."""

from __future__ import annotations

from collections import Counter

from msgspec import Raw

from yadtq_core.model import Delivery, Message, Partition
from yadtq_core.worker.rules.lanes import ENOUGH_WAITING, Lanes


def delivery(queue: str, offset: int, partition: int = 0) -> Delivery:
    message = Message(v=1, id=f"{queue}-{offset}", task="add", queue=queue, arguments=Raw(b"[[],{}]"))
    return Delivery(message, b"", Partition(queue, partition), offset)


def lanes(**waiting: int) -> Lanes:
    """Return lanes with these numbers of polled deliveries."""
    made = Lanes()
    for queue, count in waiting.items():
        for offset in range(count):
            made.append(delivery(queue, offset))
    return made


def runs(made: Lanes, count: int) -> str:
    """Return where each of the next runs comes from, one at a time: `b` the log of bulk, `B` its ready records."""
    sources = []
    for _ in range(count):
        share = made.share(1)
        (queue,) = share.ready or share.polled
        if share.polled:
            next(made.take(share.polled))
        else:
            made.note_ready({queue: made._lanes[queue].ready - 1})
        sources.append(queue[0].upper() if share.ready else queue[0])
    return "".join(sources)


def test_one_queue_without_ready_records_has_the_whole_window() -> None:
    assert lanes(bulk=500).share(200) == ({}, {"bulk": 200})


def test_a_task_of_another_queue_waits_for_one_run_of_a_long_backlog() -> None:
    made = lanes(bulk=1000)
    runs(made, 3)
    made.append(delivery("fast", 0))
    assert "f" in runs(made, 2)


def test_queues_take_turns_in_small_and_in_large_windows() -> None:
    assert Counter(runs(lanes(bulk=50, fast=50, slow=50), 30)) == {"b": 10, "f": 10, "s": 10}
    assert lanes(bulk=50, fast=5).share(20).polled == {"bulk": 15, "fast": 5}


def test_every_second_run_of_a_backlog_is_a_ready_record_and_the_first_is_one() -> None:
    made = lanes(bulk=50)
    made.note_ready({"bulk": 3})
    assert runs(made, 8) == "BbBbBbbb"


def test_a_queue_with_ready_records_alone_takes_turns_too() -> None:
    made = lanes(bulk=50)
    made.note_ready({"fast": 2})
    assert sorted(runs(made, 4)) == ["F", "F", "b", "b"]


def test_what_was_not_taken_from_the_store_comes_from_the_log() -> None:
    made = lanes(bulk=3, fast=1)
    assert [one.message.id for one in made.take({"bulk": 1})] == ["bulk-0", "bulk-1", "bulk-2", "fast-0"]


def test_a_dropped_partition_leaves_the_other_one_and_its_lowest_offset() -> None:
    made = Lanes()
    for offset in range(4):
        made.append(delivery("bulk", offset, partition=offset % 2))
    made.drop(Partition("bulk", 0))
    assert len(made) == 2
    assert made.lowest(Partition("bulk", 0)) is None
    assert made.lowest(Partition("bulk", 1)) == 1


def test_a_lane_with_enough_is_paused_while_another_one_has_little_and_resumed_at_half() -> None:
    made = lanes(bulk=ENOUGH_WAITING)
    assert made.hungry(["bulk", "fast"])
    assert made.to_pause(["bulk", "fast"]) == (["bulk"], [])
    assert made.to_pause(["bulk", "fast"]) == ([], [])
    taken = made.take({"bulk": ENOUGH_WAITING})
    for _ in range(ENOUGH_WAITING // 2 + 1):
        next(taken)
    assert made.to_pause(["bulk", "fast"]) == ([], ["bulk"])


def test_the_only_lane_is_never_paused_and_not_hungry_with_enough() -> None:
    made = lanes(bulk=ENOUGH_WAITING)
    assert not made.hungry(["bulk"])
    assert made.to_pause(["bulk"]) == ([], [])
