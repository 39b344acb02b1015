"""The small objects by which the threads of one worker wait for each other, wake each other and log outages."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Literal

from yadtq_core.errors import Unavailable
from yadtq_core.worker.rules.intake import Intake
from yadtq_core.worker.rules.keeper import Keeper

log = logging.getLogger("yadtq.worker")


class ThreadLoop:
    """The loop of one thread."""

    looped_at = 0.0
    """When its last pass began, in local monotonic seconds; 0 before the first. The watchdog reads it."""

    def run(self) -> None:
        """Loop until the worker ends."""
        raise NotImplementedError


class Lifecycle:
    """Two flags. The main thread sets each of them once; every thread may read them or wait for them."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        """The worker claims and starts nothing new. Runs of children that die from now on do not count as lost."""
        self.finished = threading.Event()
        """Every run of this worker has ended or was requeued."""


class GuardedIntake:
    """The intake rules for one thread at a time: `with guarded as intake: ...`.

    Call no service inside the block: every other thread would wait for its answer.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._lock = threading.Condition(threading.Lock())

    def __enter__(self) -> Intake:
        self._lock.__enter__()
        return self._intake

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.__exit__(kind, error, at)

    def wait(self, timeout: float) -> None:
        """Release the lock until `notify`, for `timeout` seconds at most. Call it inside the block."""
        self._lock.wait(timeout)

    def notify(self) -> None:
        """Wake the thread in `wait`: a run has ended or was requeued. Call it inside the block."""
        self._lock.notify_all()


class SweepTimer:
    """When the sweeper sweeps: about every second, or at once when another thread requests it."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._woken = threading.Event()

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


Service = Literal["broker", "backend"]


class Outages:
    """Logs the first failure of a service and its first answer after that; repeated failures are not logged."""

    def __init__(self) -> None:
        self._since: dict[Service, float] = {}

    def failed(self, service: Service, error: Exception) -> None:
        """Note that a service did not answer, or refused a call."""
        if service not in self._since:
            self._since[service] = time.monotonic()
            kind = "is away" if isinstance(error, Unavailable) else "refused a call"
            log.error("the %s %s: %s", service, kind, error)

    def answered(self, service: Service) -> None:
        """Note that a service answered."""
        since = self._since.pop(service, None)
        if since is not None:
            log.warning("the %s answers again after %.1f s", service, time.monotonic() - since)
