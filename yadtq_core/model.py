"""The values that the parts of yadtq exchange: messages, submissions, records, leases, outcomes and others.

All are frozen. Times are by Redis's clock: seconds since 1970 as a float if the name ends in `_at`, whole milliseconds
if it ends in `_ms`. Durations are seconds.
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
    """The state of a task."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({Status.SUCCESS, Status.FAILED, Status.CANCELLED})

MAX_ARGUMENT_BYTES = 256 * 1024
"""Bytes of the serialised arguments of one call: far below Kafka's limit of 1 MB for a message or a batch."""
MAX_RESULT_BYTES = 1024 * 1024
"""Bytes of a serialised result: it takes up memory of Redis until it expires."""
MAX_NESTING = 32
"""Levels of lists and objects in arguments: far below the recursion limits of JSON parsers."""

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
    """Return the ID of an idempotency key (a version 5 UUID): equal inputs have equal IDs."""
    root = uuid.uuid5(uuid.NAMESPACE_URL, f"yadtq:{namespace}:{task}")
    return str(uuid.uuid5(root, key))


def check_id(task_id: str) -> str:
    """Return `task_id` if it is a UUID in canonical form; raise InvalidId otherwise.

    This is stricter than `uuid.UUID`, which accepts braces and `urn:` too: an ID becomes part of Redis keys.
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

    `submitted_at_ms` must stay the first field: the time is known only after the record was written, and is then put in
    front of the encoded message (`envelope.stamp`).
    """

    submitted_at_ms: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """Redis's time at the creation of the record; 0 until then. Bounded, as `retries` is: a number that a float cannot
    represent makes the message unreadable, and does not fail later in a worker."""
    v: int = 0
    """Format version of the body (`wire.envelope`)."""
    id: str = ""
    task: str = ""
    arguments: Raw = Raw(b"[[],{}]")
    """Serialised `[positional, keyword]`, unchanged; one base64 text if there are codecs."""
    digest: str = ""
    """Digest of task name and arguments: it differs if one ID is submitted with other arguments."""
    queue: str = "default"
    headers: dict[str, str] = {}
    retries: Annotated[int, Meta(ge=0, le=1000)] | None = None
    """How many runs may follow a failed one; None: as the task is declared."""
    codecs: str = ""
    """Names of the codecs of the arguments, in the order in which they were applied, separated by commas."""
    signature: str = ""
    """The parameters of the task in the client, for the error message if the arguments do not fit in the worker."""
    version: str = ""
    """The version of the task in the client, for the same message."""


class Partition(NamedTuple):
    """One ordered part of a queue."""

    queue: str
    number: int


class Place(NamedTuple):
    """The place of a message; the offset is one integer for every broker."""

    partition: Partition
    offset: int


class Refuse(Struct, frozen=True):
    """The answer of a plugin that refuses a submit: the reason and what to do, in one line."""

    reason: str


class Delivery(Struct, frozen=True, gc=False):
    """A message as a worker received it, and its place.

    `partition` is None for a message that a sweep took from the backend; it needs no settle.
    """

    message: Message
    body: bytes
    """The encoded message, unchanged: children read it, and a missing record is rebuilt from it."""
    partition: Partition | None = None
    offset: int = -1

    @property
    def position(self) -> str:
        """Partition and offset as the record keeps them; empty without a partition."""
        return "" if self.partition is None else f"{self.partition.number}:{self.offset}"


class Unreadable(Struct, frozen=True):
    """Bytes from the broker that this worker cannot decode, and the reason.

    `task_id` is set for a message of a newer format version, which is left to workers that know the version. Without
    it, the bytes become a dead letter.
    """

    body: bytes
    partition: Partition
    offset: int
    reason: str
    task_id: str | None = None


class Submission(Struct, frozen=True, gc=False):
    """A message for `create`, with its body, which has no time yet, and the delay of its first run (seconds)."""

    message: Message
    body: bytes
    delay: float = 0.0


class Outgoing(Struct, frozen=True, gc=False):
    """One message for the broker to publish: the ID is its key, the queue its topic, the body is sent unchanged."""

    id: str
    queue: str
    body: bytes


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
    """A lease to extend: task ID, fence and, if it is new, the progress (a fraction 0..1 and a text)."""

    id: str
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


class Error(Struct, frozen=True, omit_defaults=True):
    """The error of a failed run, as text."""

    type: str
    message: str
    traceback: str | None = None


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


class Release(Struct, frozen=True, gc=False):
    """One record that a worker requeues.

    `delay` is in seconds. `lost`: count the run as lost. `note` is shown by queries while the task waits.
    """

    id: str
    fence: int
    reason: ReleaseReason
    delay: float = 0.0
    lost: bool = False
    note: str = ""


class Due(Struct, frozen=True, gc=False):
    """An open record whose next check is due.

    `delivery` has the message if the sweep asked for messages or the record has no position, else None.
    """

    id: str
    task: str
    queue: str
    status: Status
    position: str
    delivery: Delivery | None
    reclaimed: bool
    """True when its lease had ended: a worker was lost."""


class CancelCode(StrEnum):
    """The answer of `cancel`."""

    CANCELLED = "cancelled"
    """It was waiting, and will not run."""
    REQUESTED = "requested"
    """It is running; its worker passes the request on."""
    ENDED = "ended"
    """It ended before the request."""
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
    """The time of the next run of a scheduled record."""
    progress: str | None = None
    note: str | None = None
    """Why it waits (unknown task, lost worker), if there is a reason to show."""
    cancel_requested: bool = False
    position: str | None = None
    history: tuple[Attempt, ...] = ()


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
