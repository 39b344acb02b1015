"""Workers: their identities, their reports with each heartbeat, and the epochs of the backend."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct


class WorkerIdentity(Struct, frozen=True):
    """A worker's name, its incarnation (random, another one at each start), and its process."""

    id: str
    incarnation: str
    host: str
    pid: int
    process_started: float


class ChildIdentity(Struct, frozen=True):
    """A child: the name of its worker, and its process ID."""

    worker_id: str
    pid: int


class WorkerStats(Struct, frozen=True):
    """The state of a worker, sent with each heartbeat."""

    state: str
    """`online`, `stopping`, or `offline` with the last heartbeat."""
    tasks_executed: int
    running: int
    slots: int
    free: int
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    memory: int = 0
    """Resident bytes of the worker and its children."""
    version: str = ""
    events_dropped: int = 0
    """Calls of event hooks that were dropped because a plugin was too slow; 0 from an older worker."""


class WorkerRow(Struct, frozen=True):
    """One worker, as of its last heartbeat."""

    identity: WorkerIdentity
    stats: WorkerStats
    last_seen: float
    online: bool
    """True when the last heartbeat is younger than one lease and its state was not `offline`."""

    @property
    def state(self) -> str:
        """The state in the last heartbeat, or `offline` if that is too old."""
        return self.stats.state if self.online else "offline"


class Past(NamedTuple):
    """An epoch and the high timestamp at its beginning: no write up to `from_ms` was lost; 0: not known."""

    id: str
    from_ms: int


class Epoch(Struct, frozen=True):
    """The life of one shard's data: another `id` means that the shard may have lost writes.

    `mark_ms` is the high timestamp: the highest Redis time that a heartbeat of this epoch has stored. `past` has the
    last 50 epochs, this one last. A worker that knew epoch E rewinds to the lowest `from_ms` after E; if E is not among
    them, to the lowest of all and of the last high timestamp that the worker knows.
    """

    id: str
    mark_ms: int
    past: tuple[Past, ...] = ()


class Heartbeat(Struct, frozen=True):
    """The answer to a heartbeat: the time of the backend, and the epoch of each shard."""

    now_ms: int
    epochs: tuple[Epoch, ...]
