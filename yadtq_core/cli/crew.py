"""The workers of `yadtq dev`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from yadtq_core.cli.output import complain
from yadtq_core.local.stack import Stack
from yadtq_core.local.workers import LocalWorker, end_all

GRACE_SECONDS = 10.0
TOO_SOON_SECONDS = 5.0
"""A worker that ends so soon after its start would end again: the next try waits for a change of its files."""
RETRY_SECONDS = 60.0


@dataclass
class Seat:
    """One worker's place: the process in it, and until when it stays empty once that has ended."""

    name: str
    worker: LocalWorker
    started_at: float
    empty_until: float | None = None


class Crew:
    """The workers of `yadtq dev`: kept at their number, and started anew when their files change."""

    def __init__(self, stack: Stack, modules: list[str], number: int, namespace: str) -> None:
        self._modules = modules
        self._environment = {
            "YADTQ_BROKER": stack.broker,
            "YADTQ_BACKEND": stack.backend,
            "YADTQ_NAMESPACE": namespace,
        }
        self._seen = self._files()
        self._seats = [self._seated(f"dev{index + 1}") for index in range(number)]

    def look(self) -> None:
        """Replace workers that have ended; start all anew where a file has changed."""
        files = self._files()
        if files != self._seen:
            self._seen = files
            complain("a file has changed: the workers are started anew")
            self.end()
            self._seats = [self._seated(seat.name) for seat in self._seats]
        self._seats = [self._minded(seat, time.monotonic()) for seat in self._seats]

    def _minded(self, seat: Seat, now: float) -> Seat:
        if seat.worker.exit_code is None:
            return seat
        if seat.empty_until is None:
            soon = now - seat.started_at < TOO_SOON_SECONDS
            seat.empty_until = now + (RETRY_SECONDS if soon else 0.0)
            hint = ": mend its module, and it starts again" if soon else ""
            complain(f"worker {seat.name} ended with exit code {seat.worker.exit_code}{hint}")
        return self._seated(seat.name) if now >= seat.empty_until else seat

    def _seated(self, name: str) -> Seat:
        return Seat(name, LocalWorker([*self._modules, "--id", name], self._environment), time.monotonic())

    def end(self) -> None:
        """End all workers in order."""
        end_all([seat.worker for seat in self._seats], GRACE_SECONDS)

    def _files(self) -> dict[Path, int]:
        """Return the modules' source files and when each was changed last (ns)."""
        return {path: path.stat().st_mtime_ns for module in self._modules for path in _sources(module)}


def _sources(module: str) -> Iterator[Path]:
    """Return the source files of a module; a package's with all below it."""
    try:
        spec = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return
    if spec is None or spec.origin is None:
        return
    origin = Path(spec.origin)
    if origin.name == "__init__.py":
        yield from origin.parent.rglob("*.py")
    elif origin.is_file():
        yield origin
