"""Workers as processes of a local stack: each a `yadtq worker` that ends with the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_GUARD = Path(__file__).with_name("guard.py")
_POLL_SECONDS = 0.02
HAND_BACK_SECONDS = 5.0
"""What a worker that was told twice may take: it ends its children and writes down what they ran."""


class LocalWorker:
    """One `yadtq worker` process under a guard, so that even kill -9 of the process that started it ends it.

    arguments: what follows `yadtq worker`. environment: all its variables. folder: where it works; default: where
    we do. log: where it logs; default: our own stderr.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        folder: Path | None = None,
        log: IO[bytes] | None = None,
    ) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD), sys.executable, "-m", "yadtq_core.cli", "worker", *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # a terminal's ctrl-C is for us, who then end it in order
            text=True,
        )
        assert self._guard.stdout is not None
        with self._guard.stdout as told:
            self.pid = int(told.readline())

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._guard.poll()

    def terminate(self) -> None:
        """Ask it to drain and end; a second time: to end at once."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._signal(signal.SIGKILL)

    def wait(self, timeout: float) -> bool:
        """Return whether it has ended within `timeout` seconds."""
        try:
            self._guard.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        return True

    def _signal(self, number: int) -> None:
        if self._guard.poll() is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # it has ended since


def end_all(workers: Sequence[LocalWorker], grace: float, hurry: threading.Event | None = None) -> None:
    """End workers in order; those that still run `grace` seconds later, or once `hurry` is set, hand back what runs.

    One that does not answer even then is killed, and its tasks wait for the end of their leases.
    """
    for worker in workers:
        worker.terminate()
    if _all_ended(workers, grace, hurry):
        return
    for worker in workers:
        worker.terminate()
    if not _all_ended(workers, HAND_BACK_SECONDS):
        for worker in workers:
            worker.kill()
        _all_ended(workers, HAND_BACK_SECONDS)


def _all_ended(workers: Sequence[LocalWorker], seconds: float, hurry: threading.Event | None = None) -> bool:
    """Return whether all have ended within `seconds`; no longer than until `hurry` is set."""
    until = time.monotonic() + seconds
    left = list(workers)
    while left and time.monotonic() < until and not (hurry is not None and hurry.is_set()):
        left = [worker for worker in left if not worker.wait(_POLL_SECONDS)]
    return not left
