"""The workers of `yadtq dev`: restarted when they end and when their files change."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from yadtq_core.cli import complain
from yadtq_local.guarded import GuardedProcess
from yadtq_local.workers import end_all, start_worker

GRACE_SECONDS = 10.0
"""How long a draining worker lets runs continue before it requeues them."""
TOO_SOON_SECONDS = 5.0
"""A worker that ends within this time after its start would end again: wait for a change of its files."""
RETRY_SECONDS = 60.0
"""The wait before the restart of such a worker if its files do not change."""


@dataclass
class Seat:
    """The place of one worker: its process and its next deadline. Times are monotonic.

    leave_by: when a worker that drains must requeue its runs. empty_until: when a worker that ended without a signal is
    started again.
    """

    name: str
    worker: GuardedProcess
    started_at: float
    leave_by: float | None = None
    empty_until: float | None = None


class Crew:
    """Workers with the names dev1, dev2, …. `look` never blocks, so that ctrl-C works at once.

    arguments: those of each `yadtq worker`. environment: variables added to those of this process. modules: the modules
    whose files are watched.
    """

    def __init__(
        self, number: int, arguments: Sequence[str], environment: Mapping[str, str], modules: Sequence[str]
    ) -> None:
        self._arguments = arguments
        self._environment = {**os.environ, **environment}
        self._modules = modules
        self._running = self._seen = self.files()
        self._seats = [self._seated(f"dev{index + 1}") for index in range(number)]

    def look(self) -> None:
        """Restart workers that have ended. Drain all when files have changed and then stayed the same for one look."""
        now = time.monotonic()
        files = self.files()
        at_rest, self._seen = files == self._seen, files
        if at_rest and files != self._running:
            self._running = files
            complain("a file has changed: restarting the workers")
            for seat in self._seats:
                self._drain(seat, now)
        self._seats = [self._next(seat, now) for seat in self._seats]

    def _drain(self, seat: Seat, now: float) -> None:
        if seat.leave_by is None:
            seat.leave_by = now + GRACE_SECONDS
            seat.worker.terminate()

    def _next(self, seat: Seat, now: float) -> Seat:
        """Return the seat after a look at its worker: the same, or one with a new worker."""
        if not seat.worker.wait(0):
            if seat.leave_by is not None and now >= seat.leave_by:
                seat.leave_by = now + GRACE_SECONDS
                seat.worker.terminate()
            return seat
        if seat.leave_by is None and seat.empty_until is None:
            seat.empty_until = now + self._pause(seat, now)
        return seat if seat.leave_by is None and now < (seat.empty_until or 0.0) else self._seated(seat.name)

    def _pause(self, seat: Seat, now: float) -> float:
        """Report a worker that ended without a signal. Return the seconds until its restart."""
        soon = now - seat.started_at < TOO_SOON_SECONDS
        remedy = "correct its module, and it starts again" if self._modules else f"next try in {RETRY_SECONDS:g} s"
        complain(f"worker {seat.name} ended with exit code {seat.worker.exit_code}" + (f": {remedy}" if soon else ""))
        return RETRY_SECONDS if soon else 0.0

    def _seated(self, name: str) -> Seat:
        return Seat(name, start_worker([*self._arguments, "--id", name], self._environment), time.monotonic())

    def end(self, hurry: threading.Event) -> None:
        """Drain all workers for GRACE_SECONDS, or until `hurry` is set; then running tasks are requeued."""
        end_all([seat.worker for seat in self._seats], GRACE_SECONDS, hurry)

    def files(self) -> dict[Path, int]:
        """Return the source files of the modules and the time of their last change (ns)."""
        return {path: _changed(path) for module in self._modules for path in _sources(module)}


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # an editor is replacing it


def _sources(module: str) -> Iterator[Path]:
    """Yield the source files of a module, or of its whole package."""
    try:
        spec = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return
    if spec is None:
        return
    if spec.submodule_search_locations is not None:
        for folder in spec.submodule_search_locations:
            yield from Path(folder).rglob("*.py")
    elif spec.origin is not None and spec.has_location:
        yield Path(spec.origin)
