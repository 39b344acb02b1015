"""Handle: the reference to one submitted task that `submit` returns."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, Generic, TypeVar, cast

from yadtq_core.client.connection import Opened
from yadtq_core.client.fleet import why_open
from yadtq_core.client.results import not_found, result_of
from yadtq_core.client.waiter import GRACE, Wait
from yadtq_core.errors import BackendUnavailable, InvalidInput, WaitTimeout
from yadtq_core.model import ENDED, CancelCode, Record, Status
from yadtq_core.settings import masked_url

R_co = TypeVar("R_co", covariant=True)

MAX_TIMEOUT = 10 * 365 * 86400.0
"""Longest timeout in seconds: ten years."""


class Handle(Generic[R_co]):
    """One submitted task. `id` is its ID; every method asks the backend.

    A handle can be used while its client is open. Every method raises BackendUnavailable if the backend cannot be
    reached.
    """

    __slots__ = ("_opened", "id")

    def __init__(self, task_id: str, opened: Opened) -> None:
        self.id = task_id
        self._opened = opened

    def status(self) -> Status:
        """Return the current status; raises TaskNotFound if the task has no record."""
        return self.record().status

    def record(self) -> Record:
        """Return the current record; raises TaskNotFound if the task has none."""
        return self._found(self._opened.here().backend.get([self.id])[0])

    def wait(self, timeout: float | None = None) -> Record:
        """Wait until the task has ended, successfully or not, and return its record.

        timeout: seconds, 0 to ten years; None: no limit. The answer or error comes at most 0.15 s after it. Raises
        WaitTimeout (the task continues) with the reason why the task has not ended, TaskNotFound, and
        BackendUnavailable if the backend has not answered at all.
        """
        clock = Clock(check_timeout(timeout))
        waiter = self._opened.here(clock.left()).waiter
        wait = waiter.wait([self.id], clock.until)
        if self.id not in wait.records:
            wait = self._open(clock, wait, waiter.look(self.id, clock.last))
        return self._found(wait.records[self.id])

    def result(self, timeout: float | None = None) -> R_co:
        """Wait until the task has ended, and return its return value.

        timeout: seconds, 0 to ten years; None: no limit. Raises TaskFailed or TaskCancelled if it ended that way,
        WaitTimeout (the task continues), TaskNotFound, and SerializationError for an unreadable result.
        """
        return cast(R_co, result_of(self.wait(timeout), self._opened.payloads))

    async def aresult(self, timeout: float | None = None) -> R_co:
        """Do the same as `result` without blocking the event loop."""
        clock = Clock(check_timeout(timeout))
        waiter = (await self._opened.ahere(clock.left())).waiter
        wait = await waiter.await_one(self.id, clock.until)
        if self.id not in wait.records:
            wait = self._open(clock, wait, await waiter.alook(self.id, clock.last))
        record = wait.records[self.id]
        if record is None:
            record = await asyncio.to_thread(self._found, None)
        return cast(R_co, result_of(record, self._opened.payloads))

    def cancel(self, reason: str = "") -> CancelCode:
        """Cancel the task; return cancelled, requested (it runs), ended before, or missing.

        reason: stored in the record and shown by `yadtq query`.
        """
        return self._opened.here().backend.cancel([self.id], reason)[0]

    def _found(self, record: Record | None) -> Record:
        if record is None:
            raise not_found(self.id, self._opened.here().backend.resets([self.id])[0])
        return record

    def _open(self, clock: Clock, wait: Wait, look: Wait) -> Wait:
        """Return the last look if it shows the end, which happens if the push was lost; else raise what is known."""
        seconds = clock.seconds or 0.0
        if self.id in look.records:
            record = look.records[self.id]
            if record is None or record.status in ENDED:
                return look
            raise WaitTimeout(self.id, seconds, record.status, why_open(record, look.workers))
        address = masked_url(self._opened.settings.backend)
        if wait.answered:
            raise WaitTimeout(self.id, seconds, "", f"{address} does not answer any more")
        raise BackendUnavailable(
            f"{address} does not answer within {seconds + GRACE:g} s, so the state of task {self.id} is not known; "
            f"ask again, by `yadtq query {self.id}`"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<handle {self.id}>"


class Clock:
    """The times of one wait. seconds: its timeout; None: no limit."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        begun = time.monotonic()
        self.until = None if seconds is None else begun + seconds
        """The time at which the wait ends (monotonic); the last look ends GRACE later."""
        self.last = begun if seconds is None else begun + seconds + GRACE

    def left(self) -> float | None:
        """Return the seconds until the caller must have an answer."""
        return None if self.until is None else max(0.0, self.last - time.monotonic())


def check_timeout(timeout: Any) -> float | None:
    """Return a timeout in seconds; raises InvalidInput for anything but a number from 0 to ten years."""
    if timeout is None:
        return None
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or math.isnan(timeout) or not 0 <= timeout <= MAX_TIMEOUT:
        raise InvalidInput(f"timeout takes seconds from 0 to {MAX_TIMEOUT:.0f}, or None, got {timeout!r:.80}")
    return float(timeout)
