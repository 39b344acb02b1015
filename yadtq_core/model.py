"""The words of yadtq as values: what a submit, a message, a record, a lease and an outcome are.

Plain frozen data without behaviour beyond its own fields. Times named `*_at` are seconds since the epoch by
Redis's clock (float) unless their name ends in `_ms` (integer milliseconds); durations are seconds.
"""

from __future__ import annotations

import re
import uuid
from enum import StrEnum
from os import urandom
from typing import Annotated, NamedTuple

from msgspec import Meta, Raw, Struct

from yadtq_core.errors import InvalidId, InvalidInput, InvalidTask


class Status(StrEnum):
    """What a record says of its task."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED})

MAX_ARGUMENT_BYTES = 256 * 1024
"""Serialised arguments of one call; far under Kafka's 1 MB message limit, so that a batch of them fits too."""
MAX_RESULT_BYTES = 1024 * 1024
"""A serialised result: it lives in Redis's memory until it expires."""
MAX_NESTING = 32
"""How deep arguments may nest: far under what makes a JSON parser or a printer recurse too far."""

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TASK = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_QUEUE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def new_id() -> str:
    """Return a new random task ID (a version 4 UUID), at less than half the cost of `str(uuid.uuid4())`."""
    digits = urandom(16).hex()
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def derived_id(namespace: str, task: str, key: str) -> str:
    """Return the ID that stands for one idempotency key: equal inputs give an equal ID (a version 5 UUID)."""
    root = uuid.uuid5(uuid.NAMESPACE_URL, f"yadtq:{namespace}:{task}")
    return str(uuid.uuid5(root, key))


def check_id(task_id: str) -> str:
    """Return `task_id` if it is a UUID in canonical form; raise InvalidId otherwise.

    Stricter than `uuid.UUID`, which also takes braces and `urn:`: an ID becomes part of Redis keys.
    """
    if isinstance(task_id, str) and _ID.fullmatch(task_id):
        return task_id
    raise InvalidId(f"not a task ID: {str(task_id)[:80]!r}; IDs look like 0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11")


def check_task_name(name: str) -> str:
    """Return `name` if it can name a task; raise InvalidTask otherwise."""
    if isinstance(name, str) and _TASK.fullmatch(name):
        return name
    raise InvalidTask(
        f"not a task name: {str(name)[:80]!r}; a name starts with a letter or _ and goes on with letters, digits, "
        "'_', '.' or '-' (128 at most)"
    )


def check_queue(name: str) -> str:
    """Return `name` if it can name a queue; raise InvalidInput otherwise (it becomes part of a topic's name)."""
    if isinstance(name, str) and _QUEUE.fullmatch(name):
        return name
    raise InvalidInput(
        f"not a queue name: {str(name)[:80]!r}; use lower-case letters, digits, '_' and '-' (64 at most)"
    )


def shard_of(task_id: str, shards: int) -> int:
    """Return the shard of a task: the last two hex digits of its ID modulo the number of shards (1 to 256)."""
    return int(task_id[-2:], 16) % shards


class Message(
    Struct,
    frozen=True,
    gc=False,
    omit_defaults=True,
    rename={
        "arguments": "args",
        "digest": "hash",
        "submitted_at_ms": "submitted_at",
        "signature": "sig",
        "version": "ver",
    },
):
    """One call of a task on the wire.

    The order of the fields is part of the format: `submitted_at_ms` comes first, so that it can be put in front
    of an encoded message once Redis has told it (`envelope.stamp`).
    """

    submitted_at_ms: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Redis's time at the creation of the record; 0 until then. Bounded, as `retries` is, because a number that
    MessagePack or a float cannot carry must end as an unreadable message and not in the middle of a worker."""
    v: int = 0
    """Format version of the message."""
    id: str = ""
    task: str = ""
    arguments: Raw = Raw(b"[[],{}]")
    """Serialised `[positional, keyword]`, exactly as the serializer wrote it."""
    digest: str = ""
    """Digest of task name and arguments; tells a repeated submit from a conflicting one."""
    queue: str = "default"
    headers: dict[str, str] = {}
    retries: Annotated[int, Meta(ge=0, le=1000)] | None = None
    """How often a failed run is repeated; None: what the task's definition says."""
    codecs: str = ""
    """Names of the codecs that the arguments passed, in order, with commas; then they are one base64 text."""
    signature: str = ""
    """The task's parameters as its submitter knew them, and its version; told where the arguments do not fit."""
    version: str = ""


class Partition(NamedTuple):
    """One ordered part of a queue."""

    queue: str
    number: int


class Place(NamedTuple):
    """Where a message stands: the offset is one integer for every broker."""

    partition: Partition
    offset: int


class Refuse(Struct, frozen=True):
    """What a plugin answers to a message that must not be submitted: why, and what to do, in one line."""

    reason: str


class Delivery(Struct, frozen=True, gc=False):
    """A message as a worker received it, and where it came from.

    `partition` is None for a message that a sweep took from the backend: nothing is to be settled then.
    """

    message: Message
    body: bytes
    """The encoded message as it stands in the broker, to rebuild a record from."""
    partition: Partition | None = None
    offset: int = -1

    @property
    def position(self) -> str:
        """Where it stands in its queue, as the record keeps it; empty without a partition."""
        return "" if self.partition is None else f"{self.partition.number}:{self.offset}"


class Unreadable(Struct, frozen=True):
    """What stood in the broker and is no message that we can read, and why.

    `task_id` is its ID where that could be read: a message of a newer format, left to workers that know it.
    Without one it goes to the dead letters.
    """

    body: bytes
    partition: Partition
    offset: int
    reason: str
    task_id: str | None = None


class Submission(Struct, frozen=True, gc=False):
    """What `create` writes: a message not yet stamped, its encoding, and how long it waits first (seconds)."""

    message: Message
    body: bytes
    delay: float = 0.0


class Outgoing(Struct, frozen=True, gc=False):
    """One message for the broker to publish: the ID is its key, the queue its topic, the body is sent unchanged."""

    id: str
    queue: str
    body: bytes


class CreateCode(StrEnum):
    """How `create` answered: written anew, stood already with the same digest, or with another."""

    NEW = "new"
    EXISTS = "exists"
    CONFLICT = "conflict"


class Created(Struct, frozen=True, gc=False):
    """The answer of `create` for one submission."""

    code: CreateCode
    submitted_at_ms: int
    status: Status
    published: bool
    """A position stands: the broker has acknowledged this message once already."""


class Verdict(StrEnum):
    """How a claim or an offer was answered."""

    RUN = "run"
    BUSY = "busy"
    """Somebody holds a live lease; `wait_ms` is what is left of it."""
    DONE = "done"
    LATER = "later"
    """Its time has not come; `open` holds it."""
    POISON = "poison"
    """Its workers were lost too often; the record has failed."""
    TOO_OLD = "too_old"
    """Older than results are kept: it may have run and expired, so it is not run again."""
    OFFERED = "offered"
    ERROR = "error"
    """The record is damaged; `error` says how. Others in the batch are not touched."""


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
    """How many earlier runs were lost with their worker or child: they are no failures of the task."""

    @property
    def id(self) -> str:
        """The task's ID."""
        return self.delivery.message.id


class Hold(NamedTuple):
    """One line of what a worker extends: with `progress` (fraction 0..1 and a text) where there is news."""

    id: str
    fence: int
    progress: str = ""


class ExtendCode(StrEnum):
    """How `extend` was answered."""

    OK = "ok"
    CANCEL = "cancel"
    """Still held; somebody asked to cancel it."""
    LOST = "lost"
    """No longer held: its outcome will be refused."""


class FinishCode(StrEnum):
    """How `finish` was answered."""

    OK = "ok"
    ALREADY = "already"
    FENCED = "fenced"
    MISSING = "missing"
    ERROR = "error"


class Error(Struct, frozen=True, omit_defaults=True):
    """Why a run failed, as text only."""

    type: str
    message: str
    traceback: str | None = None


class Outcome(Struct, frozen=True, gc=False):
    """How one run ended.

    `status` is `success`, `failed`, `cancelled`, or `scheduled` for a run that is to be repeated `retry_in`
    seconds later. `result` is serialised, in `content_type`.
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
    """Why a worker gives a record back without an outcome."""

    UNSTARTED = "unstarted"
    UNKNOWN_TASK = "unknown_task"
    CHILD_DIED = "child_died"
    HANDED_BACK = "handed_back"
    """Started, and given back because the worker stops."""
    WORKER_LOST = "worker_lost"
    """Its worker's process is gone; the next of that name gives back what it held."""


class Release(Struct, frozen=True, gc=False):
    """One record that a worker gives back.

    `delay` is in seconds; `lost` counts it towards the limit of lost runs; `note` is shown to whoever queries.
    """

    id: str
    fence: int
    reason: ReleaseReason
    delay: float = 0.0
    lost: bool = False
    note: str = ""


class Due(Struct, frozen=True, gc=False):
    """An unfinished record (or a failed one not yet buried) that somebody must look at now.

    `delivery` carries its message where the sweep asked for messages or no position stands, else None.
    """

    id: str
    task: str
    queue: str
    status: Status
    position: str
    delivery: Delivery | None
    reclaimed: bool
    """Its lease had ended: a worker was lost."""


class CancelCode(StrEnum):
    """How `cancel` was answered."""

    CANCELLED = "cancelled"
    """It had not started and never will."""
    REQUESTED = "requested"
    """It runs; its worker will tell it."""
    ENDED = "ended"
    """It had ended before."""
    MISSING = "missing"


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
    """When a scheduled record's time comes."""
    progress: str | None = None
    note: str | None = None
    """Why it waits, where there is something to say (unknown task, lost worker)."""
    cancel_requested: bool = False
    position: str | None = None
    history: tuple[Attempt, ...] = ()


class WorkerIdentity(Struct, frozen=True):
    """Who a worker is: its name, and the random incarnation that tells two starts of one name apart."""

    id: str
    incarnation: str
    host: str
    pid: int
    process_started: float


class ChildIdentity(Struct, frozen=True):
    """Who a child is: the name of its worker, and its own process."""

    worker_id: str
    pid: int


class WorkerStats(Struct, frozen=True):
    """What a worker says of itself with each heartbeat."""

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


class WorkerRow(Struct, frozen=True):
    """One worker as the backend saw it last."""

    identity: WorkerIdentity
    stats: WorkerStats
    last_seen: float
    online: bool
    """Its last heartbeat is younger than one lease, and did not say `offline`."""

    @property
    def state(self) -> str:
        """The state in the last heartbeat, or `offline` if that is too old."""
        return self.stats.state if self.online else "offline"


class Past(NamedTuple):
    """The making of an epoch: `from_ms` is the mark that stood then, up to which nothing is lost; 0: not known."""

    id: str
    from_ms: int


class Epoch(Struct, frozen=True):
    """The life of one shard's data: another `id` means that the shard may have lost writes.

    `mark_ms` is the highest Redis time a heartbeat of this epoch has recorded. `past` are the last 50 epochs, this
    one last: who comes from epoch E goes back to the lowest `from_ms` after E, who finds no E to the lowest of all
    and of the last mark it knows.
    """

    id: str
    mark_ms: int
    past: tuple[Past, ...] = ()


class Heartbeat(Struct, frozen=True):
    """The backend's answer to a heartbeat: its time and the epoch of each shard."""

    now_ms: int
    epochs: tuple[Epoch, ...]


class Reset(NamedTuple):
    """A time at which a backend may have lost records, by its epochs.

    `at` is when it was noticed; `since` from when what was written may be lost (0: all that was there before). `mark`
    is when a worker last found the lost data whole; 0: none remembers any, so perhaps there was none.
    """

    at: float
    since: float
    mark: float


class Counts(Struct, frozen=True):
    """Unfinished records by queue and status, and all ends by status since the first epoch."""

    queues: dict[str, dict[str, int]]
    ended: dict[str, int]

    def total(self, status: str) -> int:
        """Return how many records have (unfinished) or ended with (ended) this status."""
        return self.ended.get(status, 0) + sum(queue.get(status, 0) for queue in self.queues.values())


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Tasks are safe, but the installation needs attention."""
    PROBLEM = "problem"
    """Tasks or results may be lost, may wait without end, or cannot be submitted."""


class Finding(NamedTuple):
    """The result of one check of `yadtq doctor`: `remedy` is one line that says what to do, empty for OK."""

    check: str
    level: Level
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Return a finding that needs attention while tasks are safe."""
    return Finding(check, Level.WARNING, found, remedy)


def problem(check: str, found: str, remedy: str) -> Finding:
    """Return a finding that endangers tasks."""
    return Finding(check, Level.PROBLEM, found, remedy)


def some(count: int, noun: str) -> str:
    """Return a number with its noun: `1 worker`, `2 workers`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
