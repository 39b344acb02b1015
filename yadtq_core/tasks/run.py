"""`current()`: information for a running task about its run, its progress and its cancellation.

The runner enters a run around each call. A context variable carries it, so each thread of a child and each coroutine
on its event loop sees its own run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar

from yadtq_core.errors import YadtqError
from yadtq_core.model import Message


class Cancelled(Exception):
    """Raised by a task that stops because it was cancelled: its record ends as `cancelled`."""


class Run:
    """One run of a task, as seen from inside it.

    `attempt` counts runs from 1. `fence` is larger for every newer run of the same ID: a store that keeps the highest
    fence it has seen can refuse the late writes of an older run. `worker_id` is the name of the worker.
    """

    __slots__ = ("_cancelled", "_message", "_report", "attempt", "fence", "worker_id")

    def __init__(
        self,
        message: Message,
        *,
        attempt: int,
        fence: int,
        worker_id: str,
        report: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self._message = message
        self.attempt = attempt
        self.fence = fence
        self.worker_id = worker_id
        self._report = report
        self._cancelled = cancelled

    @property
    def id(self) -> str:
        """The ID of the task."""
        return self._message.id

    @property
    def task(self) -> str:
        """The name of the task."""
        return self._message.task

    @property
    def queue(self) -> str:
        """The queue of the message."""
        return self._message.queue

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the message."""
        return self._message.headers

    def progress(self, fraction: float, text: str = "") -> None:
        """Report progress, which `yadtq query` shows.

        fraction: 0 to 1. text: at most 200 characters are kept. Raises ValueError for another fraction.
        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"progress takes a fraction from 0 to 1, got {fraction!r}")
        self._report(fraction, text[:200])

    def cancelled(self) -> bool:
        """True when the task was cancelled. A long task should check this regularly, and raise Cancelled."""
        return self._cancelled()


_current: ContextVar[Run] = ContextVar("yadtq_current_run")


def current() -> Run:
    """Return the run of the calling code; raises YadtqError outside of a task."""
    try:
        return _current.get()
    except LookupError:
        raise YadtqError("current() can be called only inside a task that a worker runs") from None


enter = _current.set
leave = _current.reset
