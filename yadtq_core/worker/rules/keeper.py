"""The keeper's rules: when to beat, extend and sweep, and what silence of the backend means.

A plain object without I/O; times are local monotonic seconds. The lease is the backend's: a worker that has had no
answer for half of it claims nothing new, and after all of it leaves the group, so that others take its partitions.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

SWEEP_SECONDS = 1.0
SWEEP_JITTER = 0.2
"""Of the interval, either way: the sweeps of many workers spread out."""


class Due(NamedTuple):
    """What the keeper is to do now."""

    beat: bool
    extend: bool


class Keeper:
    """The clockwork of one worker.

    lease: seconds. now: the time of its start, from which silence counts. draw: gives 0..1, for the jitter.
    """

    def __init__(self, lease: float, now: float, draw: Callable[[], float] = random.random) -> None:
        self._lease = lease
        self._third = lease / 3
        self._draw = draw
        self._answered_at = now
        self._begun = False
        self._next_beat = now
        self._next_extend = now + self._third
        self._next_sweep = now + self._sweep_interval()
        self._nothing_stale_until = 0.0

    def due(self, now: float) -> Due:
        """Return what to do now, and take it as being done."""
        beat, extend = now >= self._next_beat, now >= self._next_extend
        if beat:
            self._next_beat = now + self._third
        if extend:
            self._next_extend = now + self._third
        return Due(beat, extend)

    def wait(self, now: float) -> float:
        """Return the seconds until something is due."""
        return max(0.0, min(self._next_beat, self._next_extend) - now)

    def sweep_due(self, now: float) -> bool:
        """Return whether to sweep now, and take it as being done.

        Only while heartbeats are answered: after a silence the first answer must be to a heartbeat, not to a sweep.
        """
        if now < self._next_sweep:
            return False
        self._next_sweep = now + self._sweep_interval()
        answered = self._begun and now - self._answered_at <= 2 * self._third
        return answered and not self.nothing_stale(now)

    def sweep_wait(self, now: float) -> float:
        """Return the seconds until a sweep is due."""
        return max(0.0, self._next_sweep - now)

    def nothing_stale(self, now: float) -> bool:
        """Return whether the backend was silent until less than a lease ago: nobody could extend meanwhile."""
        return now < self._nothing_stale_until

    def beat_answered(self, sent_at: float, now: float) -> bool:
        """A heartbeat sent at `sent_at` was answered; return True if the backend had been silent for long.

        Then leases are extended before anything is swept, and nothing counts as stale for one lease: the silence
        was everybody's, and healthy tasks must not be taken for lost ones.
        """
        was_silent = self._begun and now - self._answered_at > 2 * self._third
        self._begun = True
        self._answered_at = sent_at
        if was_silent:
            self._nothing_stale_until = now + self._lease
        return was_silent

    def beat_failed(self, now: float) -> None:
        """A heartbeat was not answered: try again soon, not only after a third of the lease."""
        self._next_beat = min(self._next_beat, now + min(1.0, self._third / 2))

    def sweep_soon(self, now: float) -> None:
        """Something was given back, or a slot is free again: do not wait for the next round."""
        self._next_sweep = min(self._next_sweep, now)

    def may_claim(self, now: float) -> bool:
        """Return whether new work may be claimed: the backend answered within half a lease."""
        return self._begun and now - self._answered_at < self._lease / 2

    def may_offer(self, now: float) -> bool:
        """Return whether what waits here may be offered: an offer takes a lease that is over for a lost worker's."""
        return self.may_claim(now) and not self.nothing_stale(now)

    def must_leave(self, now: float) -> bool:
        """Return whether the group is to be left: the backend has been silent for a whole lease."""
        return now - self._answered_at >= self._lease

    def _sweep_interval(self) -> float:
        return SWEEP_SECONDS * (1 + SWEEP_JITTER * (2 * self._draw() - 1))
