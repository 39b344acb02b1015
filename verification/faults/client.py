"""A client of the fault runs: a process that submits a mixture of tasks and writes down how each submit ended.

python -m verification.faults.client '{"count": 100, "rate": 40, …}'
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

import msgspec
from msgspec import Struct

from verification.faults import history as h
from yadtq_core import Client, YadtqError
from yadtq_core.errors import OutcomeUnknown
from yadtq_core.settings import load

CONNECT_SECONDS = 60.0
MOST = 10
BEHIND_SECONDS = 0.5
"""Delay (seconds) that a client makes up for by submitting faster."""
CANCEL_SECONDS = 1.5
"""The longest delay until an unwanted task is cancelled: before it begins, while it runs, or after."""

MIXED = (
    *("add", "add", "add", "add", "square", "square", "effect", "effect"),
    *("flaky", "flaky", "doomed", "unwanted"),
)


class ClientPlan(Struct, frozen=True):
    """The work of one client.

    count: the number of tasks to be accepted; after `MOST` times as many submits it stops. rate: submits a second, at
    most. threads: submits at a time. naps: the longest sleep (seconds) of a task that sleeps. kinds: the tasks, drawn
    at random; the `unwanted` ones are cancelled a moment later. repeats: how many times each submit is made.
    """

    count: int
    rate: float = 50.0
    threads: int = 4
    naps: float = 0.1
    kinds: tuple[str, ...] = MIXED
    seed: int = 1
    repeats: int = 1


class PlannedSubmit(Struct, frozen=True):
    """One call to be submitted."""

    id: str
    task: str
    arguments: list[float]


def calls(plan: ClientPlan) -> Iterator[PlannedSubmit]:
    """Yield the calls of a plan; the same for the same seed, but for their IDs."""
    draw = random.Random(plan.seed)
    for _ in range(MOST * plan.count):
        kind, number = draw.choice(plan.kinds), draw.randrange(1, 1000)
        arguments: dict[str, list[float]] = {
            "add": [number, number + 1, 7],
            "square": [round(draw.uniform(0, plan.naps), 3), number],
            "effect": [round(draw.uniform(0, plan.naps), 3), number],
            "long": [plan.naps, number],
            "hog": [round(draw.uniform(0, plan.naps), 3), number],
            "flaky": [draw.randrange(1, 3), number],
            "doomed": [number],
            "hopeless": [number],
            "killer": [number],
            "unwanted": [round(draw.uniform(0.1, 2.0), 3), number],
        }
        yield PlannedSubmit(
            str(uuid.UUID(int=draw.getrandbits(64) << 64 | uuid.uuid4().int >> 64, version=4)),
            "faults.square" if kind == "long" else f"faults.{kind}",
            arguments[kind],
        )


class Submitting:
    """Threads that submit what a plan says, no faster than it says."""

    def __init__(self, client: Client, plan: ClientPlan, writer: h.Writer) -> None:
        self._client = client
        self._plan = plan
        self._writer = writer
        self._calls = calls(plan)
        self._changed = threading.Condition()
        self._next = time.monotonic()
        self._accepted = 0
        self._under_way = 0
        self._cancels: list[threading.Timer] = []

    def run(self) -> None:
        """Submit all; return when the last is answered, and cancelled if it is unwanted."""
        threads = [threading.Thread(target=self._work) for _ in range(self._plan.threads)]
        for thread in threads:
            thread.start()
        for thread in chain(threads, self._cancels):
            thread.join()

    def _work(self) -> None:
        while (asked := self._take()) is not None:
            outcomes = [self._submit(asked) for _ in range(self._plan.repeats)]
            if asked.task == "faults.unwanted":
                self._cancel_later(asked.id)
            with self._changed:
                self._under_way -= 1
                self._accepted += "ok" in outcomes
                self._changed.notify_all()

    def _take(self) -> PlannedSubmit | None:
        """Return the next call when its time has come; None once enough are accepted."""
        with self._changed:
            # One that is under way may still be refused.
            self._changed.wait_for(lambda: self._missing > 0 or self._under_way == 0)
            asked = next(self._calls, None) if self._missing > 0 else None
            if asked is None:
                return None
            self._under_way += 1
            self._next = max(self._next + 1 / self._plan.rate, time.monotonic() - BEHIND_SECONDS)
            wait = self._next - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        return asked

    @property
    def _missing(self) -> int:
        return self._plan.count - self._accepted - self._under_way

    def _submit(self, asked: PlannedSubmit) -> str:
        who, b, said = self._writer.who, h.now(), ""
        self._writer.write(h.Submit(who, b, b, asked.id, asked.task, asked.arguments))
        try:
            self._client.using(id=asked.id).submit(asked.task, *asked.arguments)
            outcome = "ok"
        except OutcomeUnknown as error:
            outcome, said = "info", str(error)[:200]
        except YadtqError as error:
            outcome, said = "fail", str(error)[:200]
        self._writer.write(h.Submitted(who, b, h.now(), asked.id, outcome, said))
        return outcome

    def _cancel_later(self, task_id: str) -> None:
        timer = threading.Timer(random.Random(task_id).uniform(0, CANCEL_SECONDS), self._cancel, (task_id,))
        self._cancels.append(timer)
        timer.start()

    def _cancel(self, task_id: str) -> None:
        """Cancel a task; the recording backend writes down what it is answered."""
        with suppress(YadtqError):  # an outage: the task is left to end by itself
            self._client.cancel([task_id])


def connected() -> Client:
    """Return a client of the environment's settings, as soon as the backend answers."""
    until = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return Client.connect()
        except YadtqError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def main() -> None:
    """Run the plan that the first argument tells."""
    plan = msgspec.convert(json.loads(sys.argv[1]), ClientPlan)
    load()  # a wrong setting is an error before the first wait
    with connected() as client:
        Submitting(client, plan, h.writer_of_environment()).run()


if __name__ == "__main__":
    main()
