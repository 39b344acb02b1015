"""Entries of a stream as offsets: one integer, without loss, in their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yadtq_core.brokers.redis_streams.streams import entry_of, offset_of

PARTS = st.tuples(st.integers(1, 2**43 - 1), st.integers(0, 2**63 - 1))


@given(PARTS)
def test_an_offset_gives_its_entry_again(parts: tuple[int, int]) -> None:
    entry = f"{parts[0]}-{parts[1]}"
    assert entry_of(offset_of(entry.encode())) == entry


@given(st.integers(1, 2**43 - 1), st.integers(0, 2**20 - 2))
def test_later_entries_have_greater_offsets(ms: int, number: int) -> None:
    offsets = [offset_of(f"{when}-{count}".encode()) for when, count in ((ms, number), (ms, number + 1), (ms + 1, 0))]
    assert offsets == sorted(set(offsets))
