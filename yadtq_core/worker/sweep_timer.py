"""When the sweeper sweeps next: about every second, or at once when another thread asks for it."""

from __future__ import annotations

import threading
import time

from yadtq_core.worker.rules.keeper import Keeper


class SweepTimer:
    """The sweeper waits on it; the other threads request sweeps."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._woken = threading.Event()
        self.found_work = False
        """The last sweep gave this worker runs: completion requests another one as soon as a slot is free."""

    def request(self) -> None:
        """Make the sweeper sweep now."""
        self._keeper.sweep_soon(time.monotonic())
        self.wake()

    def wake(self) -> None:
        """End the sweeper's wait without a sweep."""
        self._woken.set()

    def due(self, now: float) -> bool:
        """True when the sweeper must sweep now; the next sweep is then scheduled."""
        return self._keeper.sweep_due(now)

    def wait(self, most: float) -> None:
        """Wait until the next sweep is due or requested, for `most` seconds at most."""
        self._woken.wait(min(self._keeper.sweep_wait(time.monotonic()), most))
        self._woken.clear()
