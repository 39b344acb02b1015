"""The epoch of a store, by which workers notice that it may have lost writes. Redis's copy is epoch.lua."""

from __future__ import annotations

import secrets
from typing import NamedTuple

import msgspec

from yadtq_core.model import Epoch, Past, Reset
from yadtq_core.model.terms import EPOCHS, greatest_loss
from yadtq_core.records.moment import Moment


class Window(NamedTuple):
    """One new epoch: the mark found then, and the submit times (ms) of the tasks that may have been lost."""

    id: str
    from_ms: int
    begins: int
    ends: int


class EpochState(msgspec.Struct, omit_defaults=True):
    """The current epoch. `id` is empty until the first heartbeat, `born` 0 until the first record or heartbeat."""

    id: str = ""
    born: int = 0
    mark: int = 0
    run_id: str = ""
    past: list[Window] = []

    def beat(self, known: Epoch | None, run_id: str, moment: Moment) -> Epoch:
        """Begin a new epoch if the store may have lost writes, adopt any other; raise the mark.

        known: the epoch that the caller knows, None at its start.
        """
        self.born = self.born or moment.now
        known_mark = known.mark_ms if known else 0
        behind = known is not None and self.id == known.id and self.mark < known_mark
        if not self.id or self.run_id != run_id or behind:
            self._begin(self.mark if self.id else known_mark, run_id, moment)
        self.mark = max(self.mark, moment.now)
        return Epoch(self.id, self.mark, tuple(Past(window.id, window.from_ms) for window in self.past))

    def _begin(self, since: int, run_id: str, moment: Moment) -> None:
        two_heartbeats = 2 * moment.limits.lease // 3
        begins, ends = (max(since - two_heartbeats, 0), moment.now) if self.id else (0, self.born)
        self.id, self.run_id = secrets.token_hex(8), run_id
        self.past = [*self.past, Window(self.id, since, begins, ends)][-EPOCHS:]

    def too_old(self, submitted_at: int, moment: Moment) -> bool:
        """Return whether a task of this age may have run and expired, and its record cannot have been lost."""
        if submitted_at <= 0 or moment.now - submitted_at < moment.limits.ttl or not self.id:
            return False
        return not any(window.begins <= submitted_at <= window.ends for window in self.past)

    def reset(self, moment: Moment) -> Reset | None:
        """Return the greatest loss within the last result TTL."""
        windows = [(window.from_ms, window.begins, window.ends) for window in self.past]
        return greatest_loss(windows, moment.now - moment.limits.ttl)
