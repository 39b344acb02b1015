"""The workers of `yadtq dev`: kept at their number, and started anew when their files change."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from yadtq_core.cli import complain
from yadtq_local.workers import LocalWorker, end_all

GRACE_SECONDS = 10.0
"""How long runs may go on in a worker that is to end; then it hands them back."""
TOO_SOON_SECONDS = 5.0
"""A worker that ends so soon after its start would end again: the next try waits for a change of its files."""
RETRY_SECONDS = 60.0


@dataclass
class Seat:
    """One worker's place: the process in it, and what is to become of it.

    leave_by: when one that was asked to end must hand back what it runs. empty_until: when the place of one that
    ended by itself is filled again. Times are monotonic.
    """

    name: str
    worker: LocalWorker
    started_at: float
    leave_by: float | None = None
    empty_until: float | None = None


class Crew:
    """Workers by the names dev1, dev2, …; `look` never blocks, so that ctrl-C is heard at once.

    arguments: what each is started with. environment: added to ours. modules: those whose files are watched.
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
        """Replace workers that have ended; have all replaced where files have changed and are at rest again."""
        now = time.monotonic()
        files = self.files()
        at_rest, self._seen = files == self._seen, files
        if at_rest and files != self._running:
            self._running = files
            complain("a file has changed: the workers are started anew")
            for seat in self._seats:
                self._send_away(seat, now)
        self._seats = [self._minded(seat, now) for seat in self._seats]

    def _send_away(self, seat: Seat, now: float) -> None:
        if seat.leave_by is None:
            seat.leave_by = now + GRACE_SECONDS
            seat.worker.terminate()

    def _minded(self, seat: Seat, now: float) -> Seat:
        if not seat.worker.wait(0):
            if seat.leave_by is not None and now >= seat.leave_by:
                seat.leave_by = now + GRACE_SECONDS
                seat.worker.terminate()
            return seat
        if seat.leave_by is None and seat.empty_until is None:
            seat.empty_until = now + self._pause(seat, now)
        return seat if seat.leave_by is None and now < (seat.empty_until or 0.0) else self._seated(seat.name)

    def _pause(self, seat: Seat, now: float) -> float:
        """Say that a worker has ended by itself; return how many seconds its place stays empty."""
        soon = now - seat.started_at < TOO_SOON_SECONDS
        remedy = "mend its module, and it starts again" if self._modules else f"the next try is in {RETRY_SECONDS:g} s"
        complain(f"worker {seat.name} ended with exit code {seat.worker.exit_code}" + (f": {remedy}" if soon else ""))
        return RETRY_SECONDS if soon else 0.0

    def _seated(self, name: str) -> Seat:
        return Seat(name, LocalWorker([*self._arguments, "--id", name], self._environment), time.monotonic())

    def end(self, hurry: threading.Event) -> None:
        """End all workers: runs may go on for a while, or until `hurry` is set; then they are handed back."""
        end_all([seat.worker for seat in self._seats], GRACE_SECONDS, hurry)

    def files(self) -> dict[Path, int]:
        """Return the modules' source files and when each was changed last (ns)."""
        return {path: _changed(path) for module in self._modules for path in _sources(module)}


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0  # an editor replaces it just now


def _sources(module: str) -> Iterator[Path]:
    """Return the source files of a module, those of its package with it."""
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
