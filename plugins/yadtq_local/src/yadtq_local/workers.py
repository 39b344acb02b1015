"""Workers of a local stack: each is a `yadtq worker` process that ends with the process that started it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from yadtq_local.guarded import GuardedProcess

_POLL_SECONDS = 0.02
REQUEUE_SECONDS = 5.0
"""The time that a worker has after its second SIGTERM to end its children and requeue their tasks."""


def start_worker(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: Path | None = None,
    log: IO[bytes] | None = None,
) -> GuardedProcess:
    """Start a `yadtq worker` process. Its first SIGTERM drains it, a second one ends it at once.

    arguments: those of `yadtq worker`. environment: all its variables. folder: its working directory; default: that of
    this process. log: gets its output; default: stderr of this process.
    """
    command = [sys.executable, "-m", "yadtq_core.cli", "worker", *arguments]
    return GuardedProcess(command, folder=folder, environment=environment, log=log)


def end_all(workers: Sequence[GuardedProcess], grace: float, hurry: threading.Event | None = None) -> None:
    """Drain workers. After `grace` seconds, or once `hurry` is set, the rest must requeue their running tasks.

    A worker that does not end even then is killed. Its tasks wait for the end of their leases.
    """
    for worker in workers:
        worker.terminate()
    if _all_ended(workers, grace, hurry):
        return
    for worker in workers:
        worker.terminate()
    if not _all_ended(workers, REQUEUE_SECONDS):
        for worker in workers:
            worker.kill()
        _all_ended(workers, REQUEUE_SECONDS)


def _all_ended(workers: Sequence[GuardedProcess], seconds: float, hurry: threading.Event | None = None) -> bool:
    """True when all workers end within `seconds`. Stops waiting when `hurry` is set."""
    until = time.monotonic() + seconds
    left = list(workers)
    while left and time.monotonic() < until and not (hurry is not None and hurry.is_set()):
        left = [worker for worker in left if not worker.wait(_POLL_SECONDS)]
    return not left
