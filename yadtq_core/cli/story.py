"""The story that `yadtq demo` plays: services, three workers, some hundred tasks, and a kill."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from yadtq_core.cli.stage import Stage
from yadtq_core.client.calls import call
from yadtq_core.client.client import Client
from yadtq_core.client.handle import Handle
from yadtq_core.errors import WaitTimeout, YadtqError
from yadtq_core.local.stack import Stack
from yadtq_core.local.workers import LocalWorker, end_all
from yadtq_core.model import ENDED, Record, Status

LEASE_SECONDS = 3
NAMES = ("ann", "bob", "cid")
MANY = 300
SLOW_SECONDS = 5
KILL_AFTER_SECONDS = 1.5
PATIENCE_SECONDS = 30.0
GRACE_SECONDS = 5.0
CALLS = (
    ("add", (1, 2, 3), 6),
    ("sub", (10, 4), 6),
    ("mul", (2, 3, 4), 24),
    ("sleep", (1,), 1),
    ("slow_task", (SLOW_SECONDS,), SLOW_SECONDS),
)
"""Task, arguments, and the result that proves it ran."""


class Demo:
    """The story, told step by step on a stage."""

    def __init__(self, folder: Path, stage: Stage, *, kafka: bool) -> None:
        self._folder = folder
        self._stage = stage
        self._kafka = kafka
        self._workers: dict[str, LocalWorker] = {}

    def run(self) -> list[str]:
        """Play it; return what went wrong, a line each."""
        begun = time.monotonic()
        with ExitStack() as at_end:
            carriers = (
                "a real Kafka carries the tasks, a Valkey" if self._kafka else "a real Valkey carries the tasks and"
            )
            self._stage.tell(f"Starting services in a temporary folder: {carriers} keeps the records.")
            stack = at_end.enter_context(Stack(self._folder, kafka=self._kafka, report=self._stage.tell))
            client = at_end.enter_context(self._client(stack))
            at_end.callback(lambda: end_all(list(self._workers.values()), GRACE_SECONDS))
            self._hire(stack, client)
            self._stage.watch(client)
            handles, slow = self._submit(client)
            killed, taken_after = self._kill_in_the_middle(client, slow)
            records = self._wait_for_all(client, handles, slow)
            wrong = self._report(records, slow, killed, taken_after)
            self._stage.done()
        self._stage.tell(f"Cleaned up. The whole took {time.monotonic() - begun:.1f} s.")
        return wrong

    def _client(self, stack: Stack) -> Client:
        client = Client.connect(stack.broker, stack.backend, namespace="demo", claim_stale_seconds=LEASE_SECONDS)
        client.provision()
        return client

    def _hire(self, stack: Stack, client: Client) -> None:
        self._stage.tell(
            f"Starting three workers: {', '.join(NAMES)}. A lease is {LEASE_SECONDS} s here, not the usual 15, so that "
            "you need not wait."
        )
        environment = {
            "YADTQ_BROKER": stack.broker,
            "YADTQ_BACKEND": stack.backend,
            "YADTQ_NAMESPACE": "demo",
            "CLAIM_STALE_SECONDS": str(LEASE_SECONDS),
        }
        for name in NAMES:
            with (self._folder / f"{name}.log").open("wb") as log:
                self._workers[name] = LocalWorker(["--id", name, "-c", "1"], environment, log=log)
        self._until(lambda: sum(row.online for row in client.workers()) == len(NAMES), "all workers are online")

    def _submit(self, client: Client) -> tuple[dict[str, Handle[Any]], Handle[Any]]:
        handles = {}
        for name, arguments, _ in CALLS:
            handles[name] = client.submit(name, *arguments)
            self._stage.tell(f"submitted {name} {list(arguments)}: {handles[name].id}")
        many = client.submit_many(call("add", number, 1) for number in range(MANY))
        self._stage.tell(f"submitted {MANY} more additions in one go")
        return handles | {f"add {number} + 1": handle for number, handle in enumerate(many)}, handles["slow_task"]

    def _kill_in_the_middle(self, client: Client, slow: Handle[Any]) -> tuple[str, float]:
        """Kill the worker that runs slow_task; return its name, and after how many seconds another had it."""
        self._until(lambda: self._running(slow), "slow_task has begun")
        time.sleep(KILL_AFTER_SECONDS)
        victim = slow.record().worker_id or ""
        self._stage.tell(f"slow_task runs on {victim}. Now: kill -9 {self._workers[victim].pid}, in the middle of it.")
        killed_at = time.monotonic()
        self._workers[victim].kill()
        self._until(lambda: (record := slow.record()).attempt > 1 and record.worker_id != victim, "another took it")
        taken_after = time.monotonic() - killed_at
        heir = slow.record().worker_id
        self._stage.tell(f"{heir} has taken slow_task over, {taken_after:.1f} s after the kill: the lease had ended.")
        return victim, taken_after

    def _running(self, slow: Handle[Any]) -> bool:
        record = slow.record()
        return record.status is Status.PROCESSING and record.worker_id is not None

    def _wait_for_all(self, client: Client, handles: dict[str, Handle[Any]], slow: Handle[Any]) -> dict[str, Record]:
        found = client.wait_all(list(handles.values()), PATIENCE_SECONDS)
        late = [name for name, record in zip(handles, found, strict=True) if record is None]
        if late:
            raise WaitTimeout(handles[late[0]].id, PATIENCE_SECONDS, f"one of {len(late)} unfinished ones: {late[0]}")
        return {name: record for name, record in zip(handles, found, strict=True) if record is not None}

    def _report(self, records: dict[str, Record], slow: Handle[Any], killed: str, taken_after: float) -> list[str]:
        expected = {name: result for name, _, result in CALLS}
        expected |= {f"add {number} + 1": number + 1 for number in range(MANY)}
        wrong = []
        for name, record in records.items():
            result = record.result.decode() if record.result is not None else record.status.value
            if record.status is not Status.SUCCESS or float(result) != expected[name]:
                wrong.append(f"{name} ended as {record.status.value} with {result}, not {expected[name]}")
            if name in dict.fromkeys(task for task, _, _ in CALLS):
                runs = f", run {record.attempt}" if record.attempt > 1 else ""
                self._stage.tell(f"{name:10} = {result:6} on {record.worker_id}{runs}")
        by_worker = Counter(record.worker_id for record in records.values())
        shares = ", ".join(f"{name} {by_worker[name]}" for name in NAMES)
        ended = sum(record.status in ENDED for record in records.values())
        self._stage.tell(f"{ended} of {len(records)} tasks ended, each exactly once in its record ({shares}).")
        self._stage.tell(
            f"{killed} was killed; its task waited {taken_after:.1f} s for another, and ended on its second run."
        )
        return wrong

    def _until(self, condition: Callable[[], object], what: str) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            ended = [name for name, worker in self._workers.items() if worker.exit_code not in (None, 137)]
            if ended:
                raise YadtqError(f"worker {ended[0]} ended:\n{(self._folder / f'{ended[0]}.log').read_text()[-1500:]}")
            if time.monotonic() > until:
                raise YadtqError(f"not within {PATIENCE_SECONDS:g} s: {what}")
            time.sleep(0.05)
