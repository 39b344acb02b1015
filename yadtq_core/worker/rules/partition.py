"""How far one partition is done, and from where it must be read again after the backend may have lost writes.

Every commit says in its metadata in which epoch it was made, the highest Redis time (mark) seen in it, and a *safe
offset*: the low watermark as it stood two heartbeats before the last answered one, below which everything was done
early enough to be in any copy of the store that knows that mark. In another epoch the offset itself proves nothing:
the partition is rewound before its next message is looked at and before its next commit.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from yadtq_core.model import Epoch, Partition
from yadtq_core.worker.rules.watermark import Watermark

_FORMAT = "1"
_KEPT = 3
"""Watermarks kept: at the last answered heartbeat, and one and two before."""


class Rewind(NamedTuple):
    """A partition to be read again: from the first message not older than `since_ms`, from `safe` if that is lower.

    Then its offsets belong to `epoch`.
    """

    partition: Partition
    since_ms: int
    safe: int
    epoch: Epoch


class Progress:
    """One partition: its watermark, the safe offsets, and the epoch they belong to."""

    __slots__ = ("committed", "epoch", "mark", "paused", "safe")

    def __init__(self, committed: int | None, metadata: str, current: Epoch | None) -> None:
        """Begin where the group's commit stands; `current` is the epoch of the partition's shard."""
        self.mark = Watermark(committed or 0)
        self.paused = False
        self.committed = None if committed is None else (committed, metadata)
        self.epoch, safe = _parsed(metadata) or (current, self.mark.low)
        self.safe = deque([safe], maxlen=_KEPT)

    @property
    def low(self) -> int:
        """The offset below which everything is done."""
        return self.mark.low

    def stands(self, current: Epoch | None) -> bool:
        """Return whether its offsets belong to this epoch; otherwise it must be rewound."""
        return current is None or self.epoch is None or self.epoch.id == current.id

    def beat(self, current: Epoch) -> None:
        """A heartbeat was answered: remember the watermark of now. In another epoch nothing may be adopted."""
        if self.stands(current):
            self.epoch = current
            self.safe.append(self.mark.low)

    def rewind_since(self, current: Epoch, margin_ms: int) -> int:
        """Return the time (ms) from which messages must be read again to be in `current`."""
        assert self.epoch is not None
        ids = [past.id for past in current.past]
        if self.epoch.id in ids:
            lost = [past.from_ms for past in current.past[ids.index(self.epoch.id) + 1 :]]
        else:
            lost = [*(past.from_ms for past in current.past), self.epoch.mark_ms]
        return max(0, min(lost, default=self.epoch.mark_ms) - margin_ms)

    def rewound(self, offset: int, current: Epoch) -> None:
        """It is read from `offset` again, in this epoch; what was done before counts no more."""
        self.mark = Watermark(offset)
        self.safe = deque([offset], maxlen=_KEPT)
        self.epoch = current
        self.committed = None
        self.paused = False

    def restarted(self, offset: int) -> None:
        """Its log begins anew at `offset`: what was done in the old one says nothing of this one."""
        self.mark = Watermark(offset)
        self.safe = deque([offset], maxlen=_KEPT)
        self.committed = None

    def to_commit(self, current: Epoch | None) -> tuple[int, str] | None:
        """Return (offset, metadata) to commit; None where nothing has changed, or a rewind comes first."""
        if not self.mark.position or not self.stands(current):
            return None
        point = (self.mark.low, self._metadata())
        if point == self.committed:
            return None
        self.committed = point
        return point

    def _metadata(self) -> str:
        if self.epoch is None:
            return ""
        return f"{_FORMAT} {self.epoch.id} {self.epoch.mark_ms} {self.safe[0]}"


def _parsed(metadata: str) -> tuple[Epoch, int] | None:
    """Return the epoch and safe offset of a commit's metadata; None if it is not ours to read."""
    parts = metadata.split(" ")
    if len(parts) != 4 or parts[0] != _FORMAT or not (parts[2].isdecimal() and parts[3].isdecimal()):
        return None
    return Epoch(parts[1], int(parts[2])), int(parts[3])
