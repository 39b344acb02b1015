"""The watermark: the offset that may be committed when messages are done in any order."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from yadtq_core.worker.rules.watermark import Watermark


def after(*offsets: int, start: int = 0) -> Watermark:
    mark = Watermark(start)
    for offset in offsets:
        assert mark.delivered(offset)
    return mark


def test_nothing_delivered_is_nothing_to_wait_for() -> None:
    mark = Watermark(7)
    assert (mark.low, mark.position, mark.span) == (7, 7, 0)


def test_the_oldest_open_message_holds_the_watermark() -> None:
    mark = after(0, 1, 2)
    mark.done(2)
    mark.done(1)
    assert (mark.low, mark.span) == (0, 3)
    mark.done(0)
    assert (mark.low, mark.span) == (3, 0)


def test_gaps_in_the_offsets_are_passed_over() -> None:
    mark = after(5, 9, 20, start=3)
    mark.done(5)
    assert mark.low == 9
    mark.done(9)
    mark.done(20)
    assert mark.low == 21


def test_a_repeated_fetch_is_not_delivered_twice() -> None:
    mark = after(0, 1)
    mark.done(0)
    assert not mark.delivered(0)
    assert not mark.delivered(1)
    assert (mark.low, mark.position) == (1, 2)


def test_an_offset_that_is_not_open_cannot_be_done() -> None:
    mark = after(4, 5, start=4)
    mark.done(3)  # from before a rewind
    mark.done(6)  # not delivered yet: this call must not count when it is
    mark.done(4)
    mark.done(4)
    assert mark.low == 5
    mark.done(5)
    assert mark.delivered(6)
    assert mark.low == 6
    mark.done(9)
    assert mark.low == 6


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[int], list[tuple[bool, int]]]:
    """A start, offsets with gaps, and an interleaving of deliveries (in order) with dones (in any order, repeated)."""
    start = draw(st.integers(0, 100))
    steps = draw(st.lists(st.integers(1, 5), min_size=1, max_size=40))
    offsets = [start + sum(steps[: n + 1]) - 1 for n in range(len(steps))]
    dones = draw(st.lists(st.one_of(st.sampled_from(offsets), st.integers(start - 3, offsets[-1] + 3)), max_size=80))
    moves = [(True, offset) for offset in offsets]
    for offset in dones:
        moves.insert(draw(st.integers(0, len(moves))), (False, offset))
    return start, offsets, moves


@given(histories())
def test_low_never_passes_an_open_offset_and_never_goes_back(
    history: tuple[int, list[int], list[tuple[bool, int]]],
) -> None:
    start, _, moves = history
    mark, is_open, low = Watermark(start), set[int](), start
    for delivered, offset in moves:
        if delivered:
            assert mark.delivered(offset)
            is_open.add(offset)
        else:
            mark.done(offset)
            is_open.discard(offset)
        assert mark.low == min(is_open, default=mark.position)
        assert low <= mark.low <= mark.position
        low = mark.low


def test_done_offsets_behind_an_open_one_take_no_memory() -> None:
    mark = after(0)
    tracemalloc.start()
    for offset in range(1, 50_000):
        mark.delivered(offset)
        mark.done(offset)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert (mark.low, mark.span, mark.unsettled) == (0, 50_000, 1)
    assert used < 60_000


def test_a_wide_gap_takes_no_memory() -> None:
    mark = after(0, 2**40, 2**40 + 1)
    mark.done(2**40)
    assert (mark.unsettled, mark.named(9)) == (2, [0, 2**40 + 1])
