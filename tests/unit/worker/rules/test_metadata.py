"""What a commit tells the next owner of a partition about the offsets above it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq_core.model import Epoch
from yadtq_core.worker.rules.metadata import MOST_TOLD, CommitMetadata, Told, named_in, naming, parsed, written
from yadtq_core.worker.rules.partition import PartitionProgress

FORMATS = Path(__file__).parents[3] / "formats"
FIRST = Epoch("a", 50_000)
STORED_EPOCH = Epoch("3f9c2a7be01d4c55", 1764000000123)
STORED = {
    "v1-first": (STORED_EPOCH, 650, 0, Told()),
    "v1-open": (STORED_EPOCH, 650, 2000, Told(frozenset({700, 701, 706, 740, 1900}), 1900)),
}


def progress(count: int, *done: int, committed: int = 0, metadata: str = "") -> PartitionProgress:
    """A partition whose messages up to `count` came, of which some are done, in the epoch `a`."""
    made = PartitionProgress(committed, metadata, FIRST)
    deliver(made, count, *done)
    return made


def deliver(to: PartitionProgress, count: int, *done: int) -> None:
    for offset in range(to.watermark.position, count):
        to.watermark.delivered(offset)
    for offset in done:
        to.watermark.done(offset)


def beat(of: PartitionProgress, times: int = 1) -> None:
    assert of.epoch is not None
    for _ in range(times):
        of.beat(Epoch("a", of.epoch.mark_ms + 1))


def commit(of: PartitionProgress) -> tuple[int, str]:
    """What is committed by now."""
    of.to_commit(None)
    assert of.committed is not None
    return of.committed


def metadata(of: PartitionProgress) -> CommitMetadata:
    found = parsed(commit(of)[1])
    assert found is not None
    return found


def taken_over(from_: PartitionProgress, current: Epoch = FIRST) -> PartitionProgress:
    """The partition as its next owner has it."""
    return PartitionProgress(*commit(from_), current)


def wanted(by: PartitionProgress, count: int) -> list[int]:
    """The offsets that an owner processes when it reads up to `count`."""
    return [offset for offset in range(by.watermark.position, count) if by.watermark.delivered(offset)]


# The text


def test_stored_metadata_of_every_version_is_read() -> None:
    assert {file.name for file in FORMATS.glob("commit-*")} == {f"commit-{name}.json" for name in STORED}
    for name, (epoch, safe, position, told) in STORED.items():
        stored = json.loads((FORMATS / f"commit-{name}.json").read_text("utf-8"))
        found = parsed(stored["metadata"])
        assert found is not None
        assert (found.epoch, found.safe, found.position, found.told) == (epoch, safe, position, told)
        assert written(found) == stored["metadata"]


@pytest.mark.parametrize("text", ["", "2 a 1 1", "1 a x 1", "1 a 1 -1", "1 a 1", "hello"])
def test_another_format_is_not_metadata(text: str) -> None:
    assert parsed(text) is None


def test_further_parts_of_a_newer_version_are_ignored() -> None:
    assert parsed("1 a 5 3 9 2 more to come") == parsed("1 a 5 3 9 2")


@pytest.mark.parametrize("text", ["1 a 5 3 x 2", "1 a 5 3  2", "1 a 5 3 9 !"])
def test_damage_in_what_is_told_leaves_the_rest(text: str) -> None:
    found = parsed(text)
    assert found is not None
    assert (found.epoch, found.safe, found.told) == (Epoch("a", 5), 3, Told())


@given(st.sets(st.integers(0, 2**45), min_size=1), st.integers(0, 50))
def test_every_beginning_of_the_text_names_the_first_offsets(offsets: set[int], below: int) -> None:
    rising, base = sorted(offsets), max(0, min(offsets) - below)
    text = naming(rising, base)
    assert named_in(text, base) == rising
    for length in range(len(text)):
        found = named_in(text[:length], base)
        assert found == rising[: len(found)]


# What is told


def test_the_next_owner_passes_over_what_is_done() -> None:
    one = progress(10, 1, 3, 4, 6)
    beat(one, 2)
    assert wanted(taken_over(one), 12) == [0, 2, 5, 7, 8, 9, 10, 11]
    assert taken_over(one).watermark.low == 0


def test_what_is_done_after_the_heartbeat_before_the_last_is_not_told() -> None:
    """A copy of the store that knows the mark of the commit might lack its end."""
    one = progress(10, 1)
    beat(one)
    assert wanted(taken_over(one), 3) == [0, 1, 2]
    one.watermark.done(2)
    beat(one)
    one.watermark.done(4)
    assert wanted(taken_over(one), 5) == [0, 2, 3, 4]


def test_a_cut_tells_less_and_never_too_much() -> None:
    one = progress(300, *range(1, 300, 2))
    beat(one, 2)
    offset, text = commit(one)
    for length in range(len("1 a 50002 0 300 "), len(text)):
        wants = wanted(PartitionProgress(offset, text[:length], FIRST), 300)
        assert set(range(0, 300, 2)) <= set(wants)
    assert wanted(PartitionProgress(offset, text, FIRST), 300) == list(range(0, 300, 2))


def test_epoch_and_safe_offset_fit_however_much_is_open() -> None:
    one = progress(40_000, *range(1, 40_000, 2))
    beat(one, 2)
    text = commit(one)[1]
    assert len(text) < 2 * MOST_TOLD
    cut = parsed(text[:4096])
    assert cut is not None
    assert (cut.epoch, cut.safe, cut.position) == (Epoch("a", 50_002), 0, 40_000)
    wants = wanted(PartitionProgress(0, text[:4096], FIRST), 40_000)
    assert set(range(0, 40_000, 2)) <= set(wants)
    assert len(wants) < 37_000


def test_nothing_is_told_of_another_epoch() -> None:
    one = progress(10, *range(1, 10))
    beat(one, 2)
    now = Epoch("b", 60_000)
    other = taken_over(one, now)
    other.rewound(0, now)
    assert wanted(other, 10) == list(range(10))
    assert other.read_before == 10
    assert metadata(other).told == Told()


def test_a_log_that_was_made_anew_has_nothing_done() -> None:
    one = progress(10, *range(1, 10))
    beat(one, 2)
    other = taken_over(one)
    other.restarted(0)
    assert wanted(other, 10) == list(range(10))
    assert other.read_before == 0


def test_two_owners_in_a_row_lose_nothing_that_was_told() -> None:
    """The second one dies before it has read again what the first had done, or has had two heartbeats."""
    first = progress(1000, *range(1, 1000))
    beat(first, 2)
    for beats in range(5):
        second = taken_over(first)
        deliver(second, 10)
        beat(second, beats)
        assert metadata(second).position == 1000
        assert wanted(taken_over(second), 1001) == [0, 1000]


def test_the_mark_of_a_commit_never_goes_back() -> None:
    """The last owner had a later heartbeat than this one: what it told was done by that mark, not by an earlier one."""
    one = progress(2, 1, metadata="1 a 70000 0")
    one.beat(Epoch("a", 69_000))
    assert metadata(one).epoch == Epoch("a", 70_000)
    one.beat(Epoch("a", 71_000))
    assert metadata(one).epoch == Epoch("a", 71_000)


def test_a_safe_offset_above_the_commit_is_not_believed() -> None:
    one = progress(3, 1, committed=0, metadata="1 a 50000 2 9 5")
    beat(one, 3)
    assert metadata(one).safe == 0
    assert metadata(one).told.open == {0, 2}


def test_short_messages_in_order_need_no_more_than_a_safe_offset() -> None:
    one = progress(500, *range(200))
    beat(one, 2)
    assert commit(one) == (200, "1 a 50002 0 500")
    one.watermark.done(250)
    beat(one, 2)
    assert metadata(one).told == Told(frozenset({*range(200, 250), 251}), 251)


@given(st.data())
def test_told_is_what_was_done_at_the_heartbeat_before_the_last(data: st.DataObject) -> None:
    one, done_at, position_at, done = progress(0), [set[int]()], [0], set[int]()
    for _ in range(data.draw(st.integers(1, 5))):
        deliver(one, one.watermark.position + data.draw(st.integers(0, 20)))
        some = data.draw(st.sets(st.integers(0, max(0, one.watermark.position - 1))))
        done |= {offset for offset in some if offset < one.watermark.position}
        for offset in some:
            one.watermark.done(offset)
        beat(one)
        done_at.append(set(done))
        position_at.append(one.watermark.position)
    low = one.watermark.low
    if one.watermark.position:
        missing = set(range(low, 200)) - set(wanted(taken_over(one), 200))
        assert missing == {offset for offset in done_at[-2] if offset > low}
