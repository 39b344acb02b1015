"""The watchdog: ends a worker that has a stuck thread, so that a service manager starts it again."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import time
from collections.abc import Callable

log = logging.getLogger("yadtq.worker")

WATCHDOG_SECONDS = 120.0
"""A thread that has not finished a loop for this long is stuck. Keep every blocking call below half of it."""
EXIT_HANGS = 70
"""The exit code, EX_SOFTWARE of sysexits.h."""


class Watchdog:
    """Looks at the threads of a worker. It ignores times in which the whole process was stopped.

    slowest: returns the name of the thread whose loop has run for longest, and for how many seconds.
    """

    def __init__(self, slowest: Callable[[], tuple[str, float]]) -> None:
        self._slowest = slowest
        self._looked_at = self._awake_since = time.monotonic()

    def look(self) -> None:
        """End the process if a thread has not finished a loop for WATCHDOG_SECONDS. Call it every second or so."""
        now = time.monotonic()
        if now - self._looked_at > WATCHDOG_SECONDS / 4:
            self._awake_since = now
        self._looked_at = now
        name, seconds = self._slowest()
        if min(seconds, now - self._awake_since) >= WATCHDOG_SECONDS:
            log.critical("the %s thread has been stuck for %.0f s: this worker ends (exit code 70)", name, seconds)
            faulthandler.dump_traceback(sys.stderr)
            os._exit(EXIT_HANGS)
