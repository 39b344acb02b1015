"""The offset from which a partition is read again when the backend's epoch has changed."""

from __future__ import annotations

import pytest

from yadtq_core.model import Epoch, Partition, Past
from yadtq_core.worker.rules.intake import Intake
from yadtq_core.worker.rules.partition import PartitionProgress, Rewind

P0 = Partition("default", 0)
FIRST = Epoch("a", 50_000, (Past("a", 0),))


def after(*froms: tuple[str, int], mark_ms: int = 90_000) -> Epoch:
    """The present epoch, after these were made one after the other, behind `a`."""
    past = (Past("a", 0), *(Past(name, from_ms) for name, from_ms in froms))
    return Epoch(froms[-1][0], mark_ms, past)


def test_a_commit_says_epoch_mark_and_a_safe_offset_two_heartbeats_old() -> None:
    progress = PartitionProgress(None, "", FIRST)
    for offset in range(3):
        progress.watermark.delivered(offset)
        progress.watermark.done(offset)
        progress.beat(Epoch("a", 50_000 + offset))
    assert progress.to_commit(FIRST) == (3, "1 a 50002 1")
    assert progress.to_commit(FIRST) is None


def test_in_the_same_epoch_reading_continues_at_the_commit() -> None:
    progress = PartitionProgress(700, "1 a 50000 650", FIRST)
    assert progress.belongs_to(FIRST)
    assert progress.watermark.low == 700
    assert progress.safe[0] == 650


def test_a_commit_of_another_epoch_means_a_rewind_before_any_commit() -> None:
    now = after(("b", 60_000))
    progress = PartitionProgress(700, "1 a 55000 650", now)
    assert not progress.belongs_to(now)
    progress.watermark.delivered(700)
    assert progress.to_commit(now) is None
    progress.beat(now)
    assert not progress.belongs_to(now)  # a heartbeat alone must not adopt it
    assert progress.rewind_since(now, 10_000) == 50_000
    progress.rewound(640, now)
    assert progress.to_commit(now) == (640, "1 b 90000 640 701")


@pytest.mark.parametrize(
    ("seen", "froms", "since_ms"),
    [
        ("a", [("b", 60_000), ("c", 40_000), ("d", 80_000)], 40_000),  # the lowest after it
        ("b", [("b", 20_000), ("c", 70_000)], 70_000),  # what came before it does not count
        ("z", [("b", 60_000)], 0),  # not known: the lowest of all
    ],
)
def test_how_far_back(seen: str, froms: list[tuple[str, int]], since_ms: int) -> None:
    progress = PartitionProgress(700, f"1 {seen} 55000 650", None)
    assert progress.rewind_since(after(*froms), 0) == since_ms


def test_an_unknown_epoch_goes_back_at_least_to_its_own_mark() -> None:
    progress = PartitionProgress(700, "1 z 55000 650", None)
    assert progress.rewind_since(Epoch("b", 90_000, (Past("b", 60_000),)), 5_000) == 50_000


@pytest.mark.parametrize("metadata", ["", "2 a 1 1", "hello"])
def test_foreign_metadata_leaves_the_committed_offset(metadata: str) -> None:
    progress = PartitionProgress(700, metadata, FIRST)
    assert progress.belongs_to(FIRST)
    assert progress.watermark.low == 700


def test_intake_passes_over_messages_until_the_partition_was_rewound() -> None:
    intake = Intake(margin=10.0)
    intake.beat((FIRST,))
    intake.gained(P0, 100)
    assert intake.to_rewind() == []
    now = after(("b", 60_000))
    intake.beat((now,))
    assert intake.to_rewind() == [Rewind(P0, 50_000, 100, now)]
    assert intake.to_commit() == {}
    intake.rewound(Rewind(P0, 50_000, 100, now), 90)
    assert intake.to_rewind() == []
    assert intake.to_commit() == {P0: (90, "1 b 90000 90 100")}


def test_an_epoch_that_comes_while_the_offset_is_looked_up_asks_for_another_rewind() -> None:
    """Found by a critic: the offset of the first was taken for one of the second."""
    intake = Intake(margin=10.0)
    intake.beat((FIRST,))
    intake.gained(P0, 100)
    second, third = after(("b", 60_000)), after(("b", 60_000), ("c", 30_000))
    intake.beat((second,))
    (rewind,) = intake.to_rewind()
    intake.beat((third,))
    intake.rewound(rewind, 90)
    assert intake.to_commit() == {}
    assert intake.to_rewind() == [Rewind(P0, 20_000, 90, third)]
