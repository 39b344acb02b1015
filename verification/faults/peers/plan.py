"""Shared by the programs of the peers: the plan, the calls, and the writer of the history."""

from __future__ import annotations

import os
import random
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from verification.faults import history as h

BROKER, BACKEND, TOPIC = "PEER_BROKER", "PEER_BACKEND", "PEER_TOPIC"
PARTITIONS = 8


class PeerPlan(Struct, frozen=True):
    """How many tasks, how many a second, how many at a time, and how long they sleep at most (seconds)."""

    count: int
    rate: float
    threads: int
    naps: float


class Call(Struct, frozen=True):
    """One call to be submitted, and when (seconds after the first)."""

    id: str
    task: str
    arguments: list[float]
    at: float


def plan_told() -> PeerPlan:
    """Return the plan in the second argument of the command line."""
    return msgspec.json.decode(sys.argv[2], type=PeerPlan)


def calls(plan: PeerPlan) -> Iterator[Call]:
    """Yield the calls of a plan: sums, and squares that sleep."""
    draw = random.Random(1)
    for number in range(plan.count):
        value, at = draw.randrange(1, 1000), number / plan.rate
        if draw.random() < 0.5:
            yield Call(str(uuid.uuid4()), "faults.add", [value, value + 1, 7], at)
        else:
            yield Call(str(uuid.uuid4()), "faults.square", [round(draw.uniform(0, plan.naps), 3), value], at)


class Scribe:
    """Writes what a client or a task of a peer sees."""

    def __init__(self) -> None:
        self._writer = h.writer_of_environment()

    def submit(self, call: Call) -> None:
        """A call is about to be submitted."""
        at = h.now()
        self._writer.write(h.Submit(self._writer.who, at, at, call.id, call.task, call.arguments))

    def submitted(self, call: Call, error: Exception | None) -> None:
        """It returned, or raised: then it may have been sent or not."""
        at, outcome = h.now(), "info" if error else "ok"
        self._writer.write(h.Submitted(self._writer.who, at, at, call.id, outcome, repr(error)[:200] if error else ""))

    def run(self, task_id: str, seconds: float, value: float) -> float:
        """Be the body of a task: say that it began, sleep, say that it ended, return the value."""
        at, who = h.now(), self._writer.who
        self._writer.write(h.Started(who, at, at, task_id, 1, time.time_ns(), os.environ[h.NAME]))
        time.sleep(seconds)
        at = h.now()
        self._writer.write(h.Finished(who, at, at, [h.Code(task_id, 0, "ok", "success")]))
        return value

    def collected(self, results: Mapping[str, h.RecordRow]) -> None:
        """All results that the peer's result store has at the end."""
        at = h.now()
        self._writer.write(h.Freeze(self._writer.who, at, at, 0.0, dict(results), {}, {}, final=True))


def ids_told() -> list[str]:
    """Return the IDs of all that was submitted, from the history."""
    events, _ = h.read(Path(os.environ[h.HISTORY]))
    return [event.id for event in events if isinstance(event, h.Submit)]


def result(task: str, value: object) -> h.RecordRow:
    """Return a record of success."""
    return h.RecordRow("success", 0, 1, 0, task, "", msgspec.json.encode(value).decode())
