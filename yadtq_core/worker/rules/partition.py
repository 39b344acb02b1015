"""The progress of one partition, and the offset to read it from again when the backend may have lost writes.

The metadata of a commit holds the epoch, its high timestamp (mark: the highest Redis time that was seen in it) and a
*safe offset*: the low watermark two heartbeats before the last answered one. All messages below it were done early
enough to be in every copy of the store that knows the mark. In another epoch the committed offset proves nothing: the
partition is rewound before its next message is processed and before its next commit.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from yadtq_core.model import Epoch, Partition
from yadtq_core.worker.rules.watermark import Watermark

_FORMAT = "1"
_KEPT = 3
"""Watermarks kept: those at the last three answered heartbeats."""


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

    __slots__ = ("committed", "epoch", "paused", "safe", "watermark")

    def __init__(self, committed: int | None, metadata: str, current: Epoch | None) -> None:
        """Begin at the committed offset of the group; `current` is the epoch of the partition's shard."""
        self.watermark = Watermark(committed or 0)
        self.paused = False
        self.committed = None if committed is None else (committed, metadata)
        self.epoch, safe = _parsed(metadata) or (current, self.watermark.low)
        self.safe = deque([safe], maxlen=_KEPT)

    def belongs_to(self, current: Epoch | None) -> bool:
        """True when its offsets belong to this epoch; otherwise it must be rewound."""
        return current is None or self.epoch is None or self.epoch.id == current.id

    def beat(self, current: Epoch) -> None:
        """Keep the present watermark at an answered heartbeat, unless the partition must be rewound first."""
        if self.belongs_to(current):
            self.epoch = current
            self.safe.append(self.watermark.low)

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
        self.watermark = Watermark(offset)
        self.safe = deque([offset], maxlen=_KEPT)
        self.epoch = current
        self.committed = None
        self.paused = False

    def restarted(self, offset: int) -> None:
        """Begin again at `offset` of a restarted log, which has none of the messages of the old one."""
        self.watermark = Watermark(offset)
        self.safe = deque([offset], maxlen=_KEPT)
        self.committed = None

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
        if self.epoch is None:
            return ""
        return f"{_FORMAT} {self.epoch.id} {self.epoch.mark_ms} {self.safe[0]}"


def _parsed(metadata: str) -> tuple[Epoch, int] | None:
    """Return the epoch and safe offset in the metadata of a commit; None if it has another format."""
    parts = metadata.split(" ")
    if len(parts) != 4 or parts[0] != _FORMAT or not (parts[2].isdecimal() and parts[3].isdecimal()):
        return None
    return Epoch(parts[1], int(parts[2])), int(parts[3])
