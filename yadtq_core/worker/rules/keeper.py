"""The rules of the keeper: when to send heartbeats, extend and sweep, and what to do when the backend is silent.

A plain object without I/O; times are local monotonic seconds. After half a lease without an answer the worker claims
nothing new; after a whole lease it leaves the group, so that other workers get its partitions.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

SWEEP_SECONDS = 1.0
SWEEP_JITTER = 0.2
"""The share of the interval by which a sweep comes earlier or later, so that workers do not sweep together."""


class KeeperActions(NamedTuple):
    """What to do now."""

    beat: bool
    extend: bool


class Keeper:
    """The timers of one worker.

    lease: seconds. now: when the worker starts; a silence counts from then. draw: returns 0..1, for the jitter.
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

    def due(self, now: float) -> KeeperActions:
        """Return what to do now; the next times are then scheduled."""
        beat, extend = now >= self._next_beat, now >= self._next_extend
        if beat:
            self._next_beat = now + self._third
        if extend:
            self._next_extend = now + self._third
        return KeeperActions(beat, extend)

    def wait(self, now: float) -> float:
        """Return the seconds until the next heartbeat or extension."""
        return max(0.0, min(self._next_beat, self._next_extend) - now)

    def sweep_due(self, now: float) -> bool:
        """True when to sweep now; the next sweep is then scheduled.

        False while heartbeats have no answers: after a silence, a heartbeat must be answered before a sweep.
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
        """True for one lease after a silence of the backend, in which no worker could extend its leases."""
        return now < self._nothing_stale_until

    def beat_answered(self, sent_at: float, now: float) -> bool:
        """Note the answer to a heartbeat sent at `sent_at`; return True if the backend had been silent for long.

        Then extend leases before the next sweep; no record counts as stale for one lease. The backend was silent for
        all workers, and tasks that run must not be taken from them.
        """
        was_silent = self._begun and now - self._answered_at > 2 * self._third
        self._begun = True
        self._answered_at = sent_at
        if was_silent:
            self._nothing_stale_until = now + self._lease
        return was_silent

    def beat_failed(self, now: float) -> None:
        """Schedule the next heartbeat soon, because the last one had no answer."""
        self._next_beat = min(self._next_beat, now + min(1.0, self._third / 2))

    def sweep_soon(self, now: float) -> None:
        """Make the next sweep due now: a task was requeued, or a slot is free."""
        self._next_sweep = min(self._next_sweep, now)

    def may_claim(self, now: float) -> bool:
        """True when runs may be claimed: the backend has answered within half a lease."""
        return self._begun and now - self._answered_at < self._lease / 2

    def may_offer(self, now: float) -> bool:
        """True when requeue requests may be sent: not after a silence, because an offer takes over expired leases."""
        return self.may_claim(now) and not self.nothing_stale(now)

    def must_leave(self, now: float) -> bool:
        """True when the worker must leave the group: the backend has been silent for a whole lease."""
        return now - self._answered_at >= self._lease

    def _sweep_interval(self) -> float:
        return SWEEP_SECONDS * (1 + SWEEP_JITTER * (2 * self._draw() - 1))
