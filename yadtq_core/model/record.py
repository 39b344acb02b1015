"""Records: the state of submitted tasks, as the backend keeps it, and its answers about them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class Status(StrEnum):
    """The state of a task."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED})
DELAYED = frozenset({Status.SCHEDULED})
"""Statuses of a record that waits for a time (`due_at`)."""


class Error(Struct, frozen=True, omit_defaults=True):
    """The error of a failed run, as text."""

    type: str
    message: str
    traceback: str | None = None


class Attempt(Struct, frozen=True, omit_defaults=True):
    """One earlier run that did not end the record."""

    attempt: int
    worker_id: str
    ended_at: float
    reason: str


class Record(Struct, frozen=True):
    """The state of one submitted call, as the backend keeps it."""

    id: str
    task: str
    status: Status
    queue: str
    submitted_at: float
    attempt: int = 0
    lost: int = 0
    fence: int = 0
    result: bytes | None = None
    content_type: str = ""
    error: Error | None = None
    worker_id: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    due_at: float | None = None
    """The time of the next run of a scheduled record."""
    progress: str | None = None
    note: str | None = None
    """Why it waits (unknown task, lost worker), if there is a reason to show."""
    cancel_requested: bool = False
    position: str | None = None
    history: tuple[Attempt, ...] = ()


class CreateCode(StrEnum):
    """The answer of `create`: a new record, or one that existed with the same digest, or with another one."""

    NEW = "new"
    EXISTS = "exists"
    CONFLICT = "conflict"


class Created(Struct, frozen=True, gc=False):
    """The answer of `create` for one submission."""

    code: CreateCode
    submitted_at_ms: int
    status: Status
    published: bool
    """True when the record has a position: the broker has acknowledged this message before."""


class CancelCode(StrEnum):
    """The answer of `cancel`."""

    CANCELLED = "cancelled"
    """It was waiting, and will not run."""
    REQUESTED = "requested"
    """It is running; its worker passes the request on."""
    ENDED = "ended"
    """It ended before the request."""
    MISSING = "missing"


class Reset(NamedTuple):
    """A possible loss of records, by the epochs of the backend.

    `at` is the time at which it was noticed. Records written after `since` may be lost (0: all earlier ones). `mark` is
    the last high timestamp of the lost data; 0: no worker knew one, so there may have been no data.
    """

    at: float
    since: float
    mark: float


class Counts(Struct, frozen=True):
    """Unfinished records by queue and status, and all ended ones by status since the first epoch."""

    queues: dict[str, dict[str, int]]
    ended: dict[str, int]

    def total(self, status: str) -> int:
        """Return how many records have this status, or ended with it."""
        return self.ended.get(status, 0) + sum(queue.get(status, 0) for queue in self.queues.values())
