"""How far a partition is done when its messages are done in any order.

The *low watermark* is the offset below which everything is done: the only offset that may be committed. Offsets
come in rising order, with gaps (compaction, transactions); they are done in any order.
"""

from __future__ import annotations

from collections import deque


class Watermark:
    """The offsets of one partition that were delivered, and which of them are done."""

    __slots__ = ("_done", "_open", "position")

    def __init__(self, start: int) -> None:
        """Begin at the first offset that is not done."""
        self.position = start
        """The offset after the last one delivered."""
        self._open: deque[int] = deque()
        self._done: set[int] = set()

    @property
    def low(self) -> int:
        """The offset below which everything is done."""
        return self._open[0] if self._open else self.position

    @property
    def span(self) -> int:
        """How many offsets lie between the watermark and the position."""
        return self.position - self.low

    def delivered(self, offset: int) -> bool:
        """Note a message as delivered; False for one that was delivered before (a fetch repeated)."""
        if offset < self.position:
            return False
        self._open.append(offset)
        self.position = offset + 1
        return True

    def done(self, offset: int) -> None:
        """Note a message as done. One that is not open (done twice, or from before a rewind) changes nothing."""
        waiting, done = self._open, self._done
        if not waiting or not waiting[0] <= offset < self.position:
            return
        done.add(offset)
        while waiting and waiting[0] in done:
            done.discard(waiting.popleft())
