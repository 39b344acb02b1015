"""What the memory backend keeps: rows, messages, the index `open`, who holds and who waits; and its clock.

Times are whole milliseconds, fences microseconds, as in Redis. Whoever calls holds `lock`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from yadtq_core.backends.memory.subscription import MemorySubscription
from yadtq_core.model import ENDED, Attempt, Error, Record, Status, WorkerIdentity, WorkerStats

HISTORY = 10
"""Attempts that a record remembers."""
WAITERS = 4
"""Channels that are told of one record's end: the last that asked."""


@dataclass(slots=True)
class Row:
    """One record; the fields are those of `keys.py`, by their full names."""

    id: str
    task: str
    queue: str
    digest: str
    submitted_at: int
    status: Status
    fence: int = 0
    attempt: int = 0
    worker_id: str | None = None
    started_at: int | None = None
    nonce: str | None = None
    incarnation: str | None = None
    deadline: int | None = None
    """Of the lease; of a scheduled one when it is due."""
    lost: int = 0
    position: str | None = None
    check: int | None = None
    released: bool = False
    note: str | None = None
    progress: str | None = None
    waiters: list[str] = field(default_factory=list)
    cancel: str | None = None
    finished_at: int | None = None
    result: bytes | None = None
    content_type: str = ""
    error: Error | None = None
    history: list[Attempt] = field(default_factory=list)
    expires_at: int | None = None

    def runs_under(self, fence: int) -> bool:
        """Return whether this is the current fence; 0 is no fence, but that nobody has claimed it."""
        return self.fence == fence != 0

    def forget(self) -> None:
        """Drop what belongs to the run that is over, and to the message that brought it."""
        self.nonce = self.incarnation = self.deadline = self.position = self.check = self.note = None
        self.released = False

    def record(self) -> Record:
        """Return it as callers see it."""
        cancelled = self.status is Status.CANCELLED
        return Record(
            id=self.id,
            task=self.task,
            status=self.status,
            queue=self.queue,
            submitted_at=self.submitted_at / 1000,
            attempt=self.attempt,
            lost=self.lost,
            fence=self.fence,
            result=self.result,
            content_type=self.content_type if self.result is not None else "",
            error=self.error,
            worker_id=self.worker_id,
            started_at=_seconds(self.started_at),
            finished_at=_seconds(self.finished_at),
            due_at=_seconds(self.deadline) if self.status is Status.SCHEDULED else None,
            progress=self.progress,
            note=self.cancel if cancelled else self.note,
            cancel_requested=self.cancel is not None,
            position=self.position,
            history=tuple(self.history),
        )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


class Window(NamedTuple):
    """The making of an epoch: the mark found then, and when a task was submitted that its loss may cover."""

    id: str
    from_ms: int
    begins: int
    ends: int


@dataclass(slots=True)
class EpochRow:
    """The epoch that stands; `id` is empty until the first heartbeat, `born` 0 until the first record."""

    id: str = ""
    born: int = 0
    mark: int = 0
    run_id: str = ""
    past: list[Window] = field(default_factory=list)


class MemoryStore:
    """One namespace's data. `clock` gives seconds since 1970; a test may give its own, or set it later."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.run_id = "1"
        """Another one stands for a restart, which may have lost writes."""
        self.rows: dict[str, Row] = {}
        self.messages: dict[str, bytes] = {}
        self.open: dict[str, int] = {}
        self.held: dict[str, dict[str, int]] = defaultdict(dict)
        self.ended: Counter[str] = Counter()
        self.workers: dict[tuple[str, str], tuple[WorkerIdentity, WorkerStats, int]] = {}
        self.channels: dict[str, MemorySubscription] = {}
        self.epoch = EpochRow()

    @property
    def now_us(self) -> int:
        """The store's clock in microseconds."""
        return int(self.clock() * 1_000_000)

    @property
    def now(self) -> int:
        """The store's clock in milliseconds."""
        return self.now_us // 1000

    def row(self, task_id: str) -> Row | None:
        """Return a row, None for one that is not there or has expired."""
        row = self.rows.get(task_id)
        if row is not None and row.expires_at is not None and row.expires_at <= self.now:
            del self.rows[task_id]
            return None
        return row

    def look_at(self, row: Row, when: int) -> None:
        """Somebody must look at it then."""
        self.open[row.id] = when

    def close(self, task_id: str) -> None:
        """Nobody needs to look at it, and nobody its message."""
        self.open.pop(task_id, None)
        self.messages.pop(task_id, None)

    def let_go(self, incarnation: str | None, task_id: str) -> None:
        """A worker does not hold this any more."""
        if incarnation is not None:
            self.held[incarnation].pop(task_id, None)

    def remember(self, row: Row, worker_id: str, reason: str, ended_at: int) -> None:
        """Keep how a run that did not end the record was over."""
        row.history.append(Attempt(row.attempt or 1, worker_id, ended_at / 1000, reason[:200]))
        del row.history[:-HISTORY]

    def remember_lost(self, row: Row) -> None:
        """The worker of this record let its lease end."""
        self.remember(row, row.worker_id or "", "worker lost", self.now if row.deadline is None else row.deadline)

    def end(self, row: Row, status: Status, ttl: int) -> None:
        """Write that a record has ended, and tell who waits. A failed one stays in `open` until it is buried."""
        waiters, row.waiters = row.waiters, []
        row.status, row.finished_at = status, self.now
        row.forget()
        self.ended[status.value] += 1
        if status is Status.FAILED:
            self.look_at(row, self.now)
        else:
            self.close(row.id)
            row.expires_at = self.now + ttl
        for channel in waiters:
            if subscription := self.channels.get(channel):
                subscription.push(row.id)

    def end_outside(self, row: Row, status: Status, ttl: int, error: Error | None = None) -> None:
        """End a record from outside its run: a late outcome is refused by the fence, which is one higher."""
        self.let_go(row.incarnation, row.id)
        row.fence += 1
        row.error, row.progress = error, None
        self.end(row, status, ttl)

    def too_old(self, submitted_at: int, ttl: int) -> bool:
        """May a task of this age have run and expired? Not if its record may have been lost instead."""
        if submitted_at <= 0 or self.now - submitted_at < ttl or not self.epoch.id:
            return False
        return not any(past.begins <= submitted_at <= past.ends for past in self.epoch.past)

    def lose_everything(self) -> None:
        """Forget all of it, as a Redis does that was flushed. Who waits is not told."""
        with self.lock:
            for kept in (self.rows, self.messages, self.open, self.held, self.ended, self.workers):
                kept.clear()
            self.epoch = EpochRow()


def worker_lost(times: int) -> Error:
    """Return why a record failed whose workers were lost too often."""
    return Error("WorkerLost", f"worker lost {times} times")


def ended(row: Row | None) -> bool:
    """Return whether a record is there and has ended."""
    return row is not None and row.status in ENDED
