"""Retry of failed runs: exponential backoff with full jitter.

Full jitter (a uniform draw between 0 and the exponential ceiling) spreads the load of many tasks that failed at the
same time better than equal jitter or none: Marc Brooker, "Exponential Backoff And Jitter", AWS, 2015.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct


class Retry(Exception):
    """Raised by a task that asks to be run again later, within its `retries`.

    delay: seconds, 0 to a year; None: the delay of the retry policy. Raises ValueError for another delay.
    """

    def __init__(self, message: str = "", *, delay: float | None = None) -> None:
        if delay is not None and not 0 <= delay <= 365 * 86400:
            raise ValueError(f"Retry(delay=…) takes 0 to {365 * 86400} seconds, got {delay!r}")
        self.delay = None if delay is None else float(delay)  # a Decimal or Fraction cannot pass the pipe
        super().__init__(message or "the task asked to be run again")


class RetryPolicy(Struct, frozen=True):
    """How often a failed run is repeated, and after which delay.

    `retries`: runs after the first one, 0 or more. The delay before the n-th repeat is drawn between 0 and
    min(`most`, `base` * 2 ** (n - 1)) seconds.
    """

    retries: int = 0
    base: float = 1.0
    most: float = 600.0

    def delay(self, attempt: int, draw: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after a failed attempt.

        attempt: its number, 1 for the first. draw: returns a number from 0 to 1.
        """
        ceiling = min(self.most, self.base * 2.0 ** min(attempt - 1, 40))
        return draw() * ceiling

    def next(self, attempt: int, asked: float | None = None, draw: Callable[[], float] = random.random) -> float | None:
        """Return the seconds until the next run after a failed attempt, None if there is no next run.

        attempt: its number, 1 for the first. asked: the delay that the task asked for (`raise Retry(delay=…)`).
        """
        if attempt > self.retries:
            return None
        return self.delay(attempt, draw) if asked is None else asked
