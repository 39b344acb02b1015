"""The least that a worker does: take messages from the broker, claim them, end them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from yadtq_core import Outcome, Status
from yadtq_core.model import Delivery, Message, Verdict, WorkerIdentity
from yadtq_core.plugin import open_backend, open_broker
from yadtq_core.settings import Settings


def doubled(message: Message) -> Any:
    """Twice the first argument."""
    args, _ = msgspec.json.decode(message.arguments)
    return 2 * args[0]


class Worker:
    """Runs tasks in the test's own thread; `seen` has every message as it was polled."""

    def __init__(self, settings: Settings) -> None:
        self._backend = open_backend(settings)
        self._broker = open_broker(settings)
        self._consumer = self._broker.consumer(["default"], member="test")
        self._identity = WorkerIdentity("test", "1", "here", 1, 1.0)
        self.seen: list[Message] = []

    def run(self, count: int, task: Callable[[Message], Any] = doubled, timeout: float = 60.0) -> None:
        """End `count` tasks, each with the result of `task` for its message."""
        deadline = time.monotonic() + timeout
        done = 0
        while done < count:
            assert time.monotonic() < deadline, f"only {done} of {count} messages came within {timeout} s"
            done += self._run_some(task)

    def _run_some(self, task: Callable[[Message], Any]) -> int:
        polled = [one for one in self._consumer.poll(500, 0.2) if isinstance(one, Delivery)]
        gained, _ = self._consumer.changes()
        self._consumer.resume(sorted(gained))
        self.seen += [delivery.message for delivery in polled]
        if not polled:
            return 0
        answers = self._backend.claim(polled, self._identity, f"{time.monotonic_ns()}")
        outcomes = [
            self._outcome(delivery.message, answer.fence, msgspec.json.encode(task(delivery.message)))
            for delivery, answer in zip(polled, answers, strict=True)
            if answer.verdict is Verdict.RUN
        ]
        self._backend.finish(outcomes, self._identity)
        return len(outcomes)

    def _outcome(self, message: Message, fence: int, result: bytes) -> Outcome:
        return Outcome(
            message.id, message.task, Status.SUCCESS, 1, fence, "test", message.queue, {}, 0.0, 0.0, 0.0,
            result=result, content_type="application/json",
        )  # fmt: skip

    def close(self) -> None:
        self._consumer.close(5.0)
        self._broker.close(5.0)
        self._backend.close()
