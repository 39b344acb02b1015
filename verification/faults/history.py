"""A history: what clients, workers, tasks and the harness saw, one JSON line an event, in one file.

Every process appends its lines itself, each by one `write`. A process that is killed in the middle of one leaves a
torn line: each line begins with a newline, so that the next event is whole.

Times `b` (before the call) and `a` (after its answer) are seconds of CLOCK_MONOTONIC, which is one for all processes
of the machine and which no fault moves. `Clock` tells what Redis's clock said at one of them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

HISTORY = "FAULTS_HISTORY"
"""The variable that names the file."""
NAME = "FAULTS_NAME"
"""The variable that names the process, as the other events speak of it."""


def now() -> float:
    """Return the time as events carry it."""
    return round(time.monotonic(), 6)


class HistoryEvent(Struct, frozen=True, omit_defaults=True, tag_field="ev"):
    """The fields of all events: the writer, and the time before and after."""

    who: str
    b: float
    a: float


# What the harness and its clients write.


class Clock(HistoryEvent, frozen=True, tag="clock"):
    """Redis's clock between `b` and `a`."""

    redis_ms: float


class Submit(HistoryEvent, frozen=True, tag="submit"):
    """A call is about to be submitted."""

    id: str
    task: str
    arguments: list[float]


class Submitted(HistoryEvent, frozen=True, tag="submitted"):
    """How that ended: `ok` (accepted), `fail` (refused for certain), `info` (may still run)."""

    id: str
    outcome: str
    said: str = ""


class Fault(HistoryEvent, frozen=True, tag="fault"):
    """A fault that began at `b` and ended at `a`.

    repeats: the workers whose runs may be repeated because of it: none (empty), all (`*`), or these.
    loses: the store lost writes at `b`. since: recovery is counted from `b` (a worker's fault) or from `a`.
    """

    name: str
    repeats: tuple[str, ...] = ()
    loses: bool = False
    since: str = "a"


class Exited(HistoryEvent, frozen=True, tag="exited"):
    """A worker that was asked to end (at `b`) has ended."""

    worker: str
    code: int


class Memory(HistoryEvent, frozen=True, tag="memory"):
    """Resident bytes of a worker's own process."""

    worker: str
    resident: int


class RecordRow(NamedTuple):
    """The fields of a record."""

    status: str
    fence: int
    attempt: int
    lost: int
    task: str
    digest: str
    result: str = ""
    error: str = ""


class Freeze(HistoryEvent, frozen=True, tag="freeze"):
    """Everything in the store at one moment; `final` once, when all has come to rest. indexes: those of each ID."""

    redis_ms: float
    records: dict[str, RecordRow]
    indexes: dict[str, list[str]]
    counts: dict[str, int]
    final: bool = False


class Offset(NamedTuple):
    """An offset of a queue's partition."""

    queue: str
    partition: int
    offset: int


class Group(HistoryEvent, frozen=True, tag="group"):
    """The committed offsets, read from the broker."""

    offsets: list[Offset]


class Stored(NamedTuple):
    """A message in the topic; no ID if it cannot be read."""

    queue: str
    partition: int
    offset: int
    id: str


class Topic(HistoryEvent, frozen=True, tag="topic"):
    """All messages and dead letters, and the end of each partition.

    Read at the end, and before the topic is deleted.
    """

    messages: list[Stored]
    dead: list[str]
    ends: list[Offset]


# What tasks write.


class Started(HistoryEvent, frozen=True, tag="started"):
    """A run has begun."""

    id: str
    attempt: int
    fence: int
    worker: str


class Effect(HistoryEvent, frozen=True, tag="effect"):
    """A run wrote to the ledger, which takes no fence lower than one it has."""

    id: str
    fence: int
    taken: bool


# What the recording backend, broker and consumer write.


class Asked(HistoryEvent, frozen=True, tag="asked"):
    """(ID, fence, status or reason) of runs whose end or return is about to be written.

    It counts though its answer may never come.
    """

    runs: list[tuple[str, int, str]]


class Create(NamedTuple):
    """One answer of `create`."""

    id: str
    digest: str
    code: str


class Created(HistoryEvent, frozen=True, tag="created"):
    """Records were written."""

    got: list[Create]


class Claim(NamedTuple):
    """One answer of `claim` or `offer`."""

    id: str
    verdict: str
    fence: int
    attempt: int
    wait_ms: int
    lost: int
    started_ms: int


class Claimed(HistoryEvent, frozen=True, tag="claimed"):
    """Messages were claimed, or offered."""

    nonce: str
    got: list[Claim]


class Code(NamedTuple):
    """One answer of `extend`, `finish` or `release`; `about` is a finish's status or a release's reason."""

    id: str
    fence: int
    code: str
    about: str = ""


class Extended(HistoryEvent, frozen=True, tag="extended"):
    """Leases were extended."""

    got: list[Code]


class Finished(HistoryEvent, frozen=True, tag="finished"):
    """Outcomes were written."""

    got: list[Code]


class Released(HistoryEvent, frozen=True, tag="released"):
    """Runs were given back."""

    got: list[Code]


class Swept(HistoryEvent, frozen=True, tag="swept"):
    """A sweep returned these: (ID, status, whether a lease had ended)."""

    redis_ms: float
    got: list[tuple[str, str, bool]]


class Cancelled(HistoryEvent, frozen=True, tag="cancelled"):
    """Tasks were cancelled: (ID, code)."""

    got: list[tuple[str, str]]


class Read(HistoryEvent, frozen=True, tag="read"):
    """Records were read: (ID, status, attempt, fence)."""

    got: list[tuple[str, str, int, int]]


class Epochs(HistoryEvent, frozen=True, tag="epochs"):
    """A heartbeat's answer tells other epochs than the one before."""

    ids: list[str]


class Published(HistoryEvent, frozen=True, tag="published"):
    """The broker acknowledged messages, or did not within the wait: (ID, position or empty)."""

    got: list[tuple[str, str]]
    dead: bool = False


class Assigned(HistoryEvent, frozen=True, tag="assigned"):
    """Partitions came and went: (queue, number)."""

    gained: list[tuple[str, int]]
    lost: list[tuple[str, int]]


class Left(HistoryEvent, frozen=True, tag="left"):
    """A worker received messages of a newer format: the IDs of those that it leaves to newer workers."""

    ids: list[str]


class Committing(HistoryEvent, frozen=True, tag="committing"):
    """A worker gave offsets to be committed."""

    offsets: list[Offset]


class Failed(HistoryEvent, frozen=True, tag="failed"):
    """A call raised: its work may be done or not."""

    call: str
    error: str


Known = (
    Clock | Submit | Submitted | Fault | Exited | Memory | Freeze | Group | Topic | Started | Effect | Asked | Created
    | Claimed | Extended | Finished | Released | Swept | Cancelled | Read | Epochs | Published | Assigned | Left
    | Committing | Failed
)  # fmt: skip


class Writer:
    """Appends events to a file. Safe for use by several threads and after a fork."""

    def __init__(self, file: Path, who: str) -> None:
        self.who = who
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, event: HistoryEvent) -> None:
        """Append one event."""
        os.write(self._file, b"\n" + msgspec.json.encode(event) + b"\n")

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def writer_of_environment() -> Writer:
    """Return the writer that the environment names; raises KeyError where it names none."""
    return Writer(Path(os.environ[HISTORY]), f"{os.environ.get(NAME, '')}:{os.getpid()}")


class Reader:
    """Reads a history while it is written: the events, and the number of torn lines."""

    def __init__(self, file: Path) -> None:
        self.events: list[Known] = []
        self.torn = 0
        self._file = file
        self._offset = 0
        self._decode = msgspec.json.Decoder(Known).decode

    def read(self) -> list[Known]:
        """Read what has come since, as far as its lines are whole; return all events."""
        with self._file.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in filter(None, whole.splitlines()):
            try:
                self.events.append(self._decode(line))
            except msgspec.DecodeError:
                self.torn += 1
        return self.events


def read(file: Path) -> tuple[list[Known], int]:
    """Return the events of a history, and how many torn lines it has."""
    reader = Reader(file)
    return reader.read(), reader.torn
