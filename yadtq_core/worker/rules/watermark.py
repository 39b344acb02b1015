"""The low watermark of a partition whose messages are done in any order.

It is the offset below which all messages are done: the only offset that may be committed. Offsets are delivered in
rising order, with gaps (compaction, transactions).
"""

from __future__ import annotations

from collections import deque


class Watermark:
    """The delivered offsets of one partition that are above the watermark."""

    __slots__ = ("_done", "_open", "position")

    def __init__(self, start: int) -> None:
        """Begin at the first offset that is not done."""
        self.position = start
        """The offset after the last one delivered."""
        self._open: deque[int] = deque()
        self._done: set[int] = set()

    @property
    def low(self) -> int:
        """The offset below which all messages are done."""
        return self._open[0] if self._open else self.position

    @property
    def span(self) -> int:
        """The number of offsets from the watermark to the position."""
        return self.position - self.low

    def delivered(self, offset: int) -> bool:
        """Note a message as delivered; return False if it was delivered before, by a repeated fetch."""
        if offset < self.position:
            return False
        self._open.append(offset)
        self.position = offset + 1
        return True

    def done(self, offset: int) -> None:
        """Note a message as done. An offset that is not open (done before, or delivered before a rewind) is ignored."""
        waiting, done = self._open, self._done
        if not waiting or not waiting[0] <= offset < self.position:
            return
        done.add(offset)
        while waiting and waiting[0] in done:
            done.discard(waiting.popleft())
