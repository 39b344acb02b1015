"""The progress of one partition, and the offset to read it from again when the backend may have lost writes.

The metadata of a commit holds the epoch, its high timestamp (mark: the highest Redis time that was seen in it) and a
*safe offset*: the low watermark two heartbeats before the last answered one. All messages below it were done early
enough to be in every copy of the store that knows the mark. In another epoch the committed offset proves nothing: the
partition is rewound before its next message is processed and before its next commit.

The metadata also tells which offsets above the commit are done, so that the next owner need not process them again.
It tells no more than what was done when the heartbeat before the last answered one was answered: these ends too are in
every copy of the store that knows the mark. In another epoch they mean nothing.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from yadtq_core.model import Epoch, Partition
from yadtq_core.worker.rules.metadata import MOST_TOLD, CommitMetadata, Told, naming, parsed, written
from yadtq_core.worker.rules.watermark import Watermark

_KEPT = 3
"""Watermarks kept: those at the last three answered heartbeats."""
MAX_UNSETTLED = 10_000
"""A partition pauses at this many deliveries that were polled and are not done."""
MAX_SPAN = 1_000_000
"""A partition pauses when its position is this far ahead of its watermark: all of it may have to be read again."""


class Rewind(NamedTuple):
    """A partition to read again, from its first message not older than `since_ms` or from `safe`, the lower of the two.

    Its offsets then belong to `epoch`.
    """

    partition: Partition
    since_ms: int
    safe: int
    epoch: Epoch


class PartitionProgress:
    """The watermark and the safe offsets of one partition, and the epoch to which they belong."""

    __slots__ = ("_named", "_open", "_told_end", "committed", "epoch", "paused", "read_before", "safe", "watermark")

    def __init__(self, committed: int | None, metadata: str, current: Epoch | None) -> None:
        """Begin at the committed offset of the group; `current` is the epoch of the partition's shard."""
        start = committed or 0
        known = parsed(metadata) or CommitMetadata(current, start)
        told = known.told if known.safe <= start else Told()
        self.paused = False
        self.committed = None if committed is None else (committed, metadata)
        self.epoch = known.epoch
        self.read_before = max(start, told.end, known.position)
        """Messages below this offset were delivered before, to this member or another: they may have ended."""
        self._begin(start, min(known.safe, start), told, known.open)

    def _begin(self, start: int, safe: int, told: Told, text: str = "") -> None:
        self.watermark = Watermark(start, told)
        self.safe = deque([safe], maxlen=_KEPT)
        self._open, self._told_end = text, told.end
        """The open offsets for the metadata, named from the first safe offset on, and the end of what they tell."""
        self._named: list[int] = []
        """The open offsets at the last answered heartbeat; the next one puts them into the metadata."""

    def belongs_to(self, current: Epoch | None) -> bool:
        """True when its offsets belong to this epoch; otherwise it must be rewound."""
        return current is None or self.epoch is None or self.epoch.id == current.id

    def beat(self, current: Epoch) -> None:
        """Keep the present progress at an answered heartbeat, unless the partition must be rewound first."""
        if not self.belongs_to(current):
            return
        if self.epoch is None or self.epoch.mark_ms <= current.mark_ms:  # the last owner's may have been later
            self.epoch = current
        self.safe.append(self.watermark.low)
        if self._named:
            self._open, self._told_end = naming(self._named, self.safe[0]), self._named[-1]
        self._named = self.watermark.named(MOST_TOLD)

    def rewind_since(self, current: Epoch, margin_ms: int) -> int:
        """Return the time (ms) since which `current` may have lost writes, less the margin."""
        assert self.epoch is not None
        ids = [past.id for past in current.past]
        if self.epoch.id in ids:
            lost = [past.from_ms for past in current.past[ids.index(self.epoch.id) + 1 :]]
        else:
            lost = [*(past.from_ms for past in current.past), self.epoch.mark_ms]
        return max(0, min(lost, default=self.epoch.mark_ms) - margin_ms)

    def rewound(self, offset: int, current: Epoch) -> None:
        """Begin again at `offset` in this epoch; no message counts as done."""
        self.read_before = max(self.read_before, self.watermark.position)
        self._begin(offset, offset, Told())
        self.epoch = current
        self.committed = None
        self.paused = False

    def restarted(self, offset: int) -> None:
        """Begin again at `offset` of a restarted log, which has none of the messages of the old one."""
        self.read_before = offset
        self._begin(offset, offset, Told())
        self.committed = None

    def pauses(self) -> bool:
        """True when it must pause now. It resumes at half of the bounds."""
        part = 2 if self.paused else 1
        return self.watermark.unsettled >= MAX_UNSETTLED // part or self.watermark.span >= MAX_SPAN // part

    def to_commit(self, current: Epoch | None) -> tuple[int, str] | None:
        """Return (offset, metadata) to commit; None if nothing has changed or the partition must be rewound first."""
        if not self.watermark.position or not self.belongs_to(current):
            return None
        point = (self.watermark.low, self._metadata())
        if point == self.committed:
            return None
        self.committed = point
        return point

    def _metadata(self) -> str:
        low, position = self.watermark.low, max(self.watermark.position, self.read_before)
        named = self._open if self._told_end > low else ""
        return written(CommitMetadata(self.epoch, self.safe[0], position if position > low else 0, named))
