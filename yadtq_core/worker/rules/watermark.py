"""The low watermark of a partition whose messages are done in any order.

It is the offset below which all messages are done: the only offset that may be committed. Offsets are delivered in
rising order, with gaps (compaction, transactions).

Only the open offsets are kept. A partition pauses at 10,000 of them, so its memory does not depend on how many
messages behind a long task are done, or how wide a gap is.
"""

from __future__ import annotations

from collections import deque
from itertools import chain, islice

from yadtq_core.worker.rules.metadata import Told

_SLACK = 1000
"""Done offsets that may stay in `_order` beside the open ones, before it is made anew."""


class Watermark:
    """The open offsets of one partition: those that were delivered and are not done."""

    __slots__ = ("_open", "_order", "_told", "position")

    def __init__(self, start: int, told: Told | None = None) -> None:
        """Begin at the first offset that is not done. `told`: what the last commit tells of the offsets above it."""
        self.position = start
        """The offset after the last one delivered."""
        self._told = told or Told()
        self._open: set[int] = set()
        self._order: deque[int] = deque()
        """The open offsets in rising order, among others that are done. The first one is open."""

    @property
    def low(self) -> int:
        """The offset below which all messages are done."""
        return self._order[0] if self._order else self.position

    @property
    def span(self) -> int:
        """The number of offsets from the watermark to the position."""
        return self.position - self.low

    @property
    def unsettled(self) -> int:
        """The number of open offsets."""
        return len(self._open)

    def delivered(self, offset: int) -> bool:
        """Note a message as delivered; return False if it is not to be processed.

        That is so if it was delivered before, by a repeated fetch, or if the last commit told that it is done.
        """
        if offset < self.position:
            return False
        self.position = offset + 1
        if self._told.done(offset):
            return False
        self._open.add(offset)
        self._order.append(offset)
        return True

    def done(self, offset: int) -> None:
        """Note a message as done. An offset that is not open (done before, or delivered before a rewind) is ignored."""
        is_open, order = self._open, self._order
        if offset not in is_open:
            return
        is_open.remove(offset)
        while order and order[0] not in is_open:
            order.popleft()
        if len(order) > 2 * len(is_open) + _SLACK:
            self._order = deque(offset for offset in order if offset in is_open)

    def named(self, most: int) -> list[int]:
        """Return the offsets that are not done, and the end of what is known, in rising order: the first `most`.

        Offsets at the end with nothing done between them are left out, because they tell nothing.
        """
        is_open = (offset for offset in self._order if offset in self._open)
        told = sorted(offset for offset in self._told.open if offset >= self.position)
        end = max(self.position, self._told.end)
        found = list(islice(chain(is_open, (offset for offset in told if offset < end), [end]), most))
        while len(found) > 1 and found[-1] == found[-2] + 1:
            found.pop()
        return found
