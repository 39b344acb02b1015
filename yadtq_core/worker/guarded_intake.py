"""The intake rules behind a lock, because all threads of a worker use them."""

from __future__ import annotations

import threading
from types import TracebackType

from yadtq_core.worker.rules.intake import Intake


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
