"""Handle: the reference to one submitted task that `submit` returns."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Generic, TypeVar, cast

from yadtq_core.client.connection import Opened
from yadtq_core.client.results import not_found, result_of
from yadtq_core.errors import InvalidInput, WaitTimeout
from yadtq_core.model import ENDED, CancelCode, Record, Status

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

        timeout: seconds, 0 to ten years; None: no limit. Raises WaitTimeout (the task continues), TaskNotFound.
        """
        seconds = check_timeout(timeout)
        ended = self._opened.here().waiter.wait([self.id], seconds)
        return self._found(ended[self.id]) if self.id in ended else self._late(seconds)

    def result(self, timeout: float | None = None) -> R_co:
        """Wait until the task has ended, and return its return value.

        timeout: seconds, 0 to ten years; None: no limit. Raises TaskFailed or TaskCancelled if it ended that way,
        WaitTimeout (the task continues), TaskNotFound, and SerializationError for an unreadable result.
        """
        return cast(R_co, result_of(self.wait(timeout), self._opened.payloads))

    async def aresult(self, timeout: float | None = None) -> R_co:
        """Do the same as `result` without blocking the event loop."""
        seconds = check_timeout(timeout)
        ended = await (await self._opened.ahere()).waiter.await_one(self.id, seconds)
        if self.id in ended:
            found = ended[self.id]
            record = found if found is not None else await asyncio.to_thread(self._found, None)
        else:
            record = await asyncio.to_thread(self._late, seconds)
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

    def _late(self, seconds: float | None) -> Record:
        """Read the record at the end of the timeout, because a push can be missed; raise WaitTimeout if it runs."""
        record = self.record()
        if record.status in ENDED:
            return record
        raise WaitTimeout(self.id, seconds or 0.0, record.status)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<handle {self.id}>"


def check_timeout(timeout: Any) -> float | None:
    """Return a timeout in seconds; raises InvalidInput for anything but a number from 0 to ten years."""
    if timeout is None:
        return None
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or math.isnan(timeout) or not 0 <= timeout <= MAX_TIMEOUT:
        raise InvalidInput(f"timeout takes seconds from 0 to {MAX_TIMEOUT:.0f}, or None, got {timeout!r:.80}")
    return float(timeout)
