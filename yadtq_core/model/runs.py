"""Runs: claims and their leases, outcomes and releases, and the backend's answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from yadtq_core.model.messages import Delivery
from yadtq_core.model.record import Error, Status


class Verdict(StrEnum):
    """The answer to a claim or to an offer (requeue request)."""

    RUN = "run"
    BUSY = "busy"
    """Another run holds a lease, which lasts for `wait_ms` more."""
    DONE = "done"
    LATER = "later"
    """It is scheduled for later; `open` holds it."""
    POISON = "poison"
    """Its runs were lost more often than `lost_limit`; the record has failed."""
    TOO_OLD = "too_old"
    """Older than the result TTL: its record may have expired after a run, so it does not run again."""
    OFFERED = "offered"
    ERROR = "error"
    """The record is damaged, as `error` describes. It does not affect the rest of the batch."""


class Answer(Struct, frozen=True, gc=False):
    """The answer of `claim` or `offer` for one delivery."""

    verdict: Verdict
    fence: int = 0
    attempt: int = 0
    wait_ms: int = 0
    lost: int = 0
    started_at_ms: int = 0
    error: str = ""


class Lease(Struct, frozen=True, gc=False):
    """A worker's time-limited, fenced right to run one record."""

    delivery: Delivery
    fence: int
    attempt: int
    started_at_ms: int
    lost: int = 0
    """How many earlier runs were lost with their worker or child; they are not failures of the task."""

    @property
    def id(self) -> str:
        """The task's ID."""
        return self.delivery.message.id


class Hold(NamedTuple):
    """A lease to extend: task ID, queue, fence and, if it is new, the progress (a fraction 0..1 and a text)."""

    id: str
    queue: str
    fence: int
    progress: str = ""


class ExtendCode(StrEnum):
    """The answer of `extend`."""

    OK = "ok"
    CANCEL = "cancel"
    """Extended; a client has asked to cancel the task."""
    LOST = "lost"
    """The worker no longer holds this lease: the outcome will be refused."""


class FinishCode(StrEnum):
    """The answer of `finish` and `release`."""

    OK = "ok"
    ALREADY = "already"
    FENCED = "fenced"
    MISSING = "missing"
    ERROR = "error"


class Outcome(Struct, frozen=True, gc=False):
    """How one run ended.

    `status` is `success`, `failed`, `cancelled`, or `scheduled` for a failed run with a retry after `retry_in` seconds.
    `result` is serialised, in `content_type`.
    """

    id: str
    task: str
    status: Status
    attempt: int
    fence: int
    worker_id: str
    queue: str
    headers: dict[str, str]
    submitted_at: float
    started_at: float
    duration: float
    retry_in: float | None = None
    result: bytes | None = None
    content_type: str = ""
    error: Error | None = None


class ReleaseReason(StrEnum):
    """The reason why a worker requeues a record."""

    UNSTARTED = "unstarted"
    UNKNOWN_TASK = "unknown_task"
    CHILD_DIED = "child_died"
    HANDED_BACK = "handed_back"
    """The run had begun; the worker stops."""
    WORKER_LOST = "worker_lost"
    """The worker's process has ended; the next worker of this name requeues the record (restart recovery)."""
    BINDING_FAILED = "binding_failed"
    """A fault of this worker: it cannot bind the task to its hooks, or cannot read the message.

    The run has not begun. The record waits, with back-off, for another worker; it never fails by this reason.
    """


class Release(Struct, frozen=True, gc=False):
    """One record that a worker requeues.

    `delay` is in seconds. `lost`: count the run as lost. `note` is shown by queries while the task waits.
    """

    id: str
    queue: str
    fence: int
    reason: ReleaseReason
    delay: float = 0.0
    lost: bool = False
    note: str = ""


class Due(Struct, frozen=True, gc=False):
    """A record that a sweep has found: its lease had ended, or it failed and needs a dead letter."""

    id: str
    task: str
    queue: str


class Sweep(Struct, frozen=True, gc=False):
    """The answer of a sweep.

    `reclaimed`: their leases had ended, because a worker was lost. `failed`: they need a dead letter. `ready`: how many
    records of each queue wait for a free slot, for the queues that the caller named. `more`: further records are due.
    """

    now_ms: int
    reclaimed: Sequence[Due]
    failed: Sequence[Due]
    ready: Mapping[str, int]
    more: bool


class Taken(Struct, frozen=True, gc=False):
    """Ready records that a worker may claim now, as deliveries without a partition, and how many are left by queue."""

    deliveries: Sequence[Delivery]
    ready: Mapping[str, int]


class Placed(NamedTuple):
    """The position at which the broker has acknowledged the message of a record."""

    id: str
    queue: str
    position: str
