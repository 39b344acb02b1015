"""The steps of `yadtq demo`: services, three workers, 305 tasks, and a kill."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from yadtq_core import Client, Handle, Record, Status, WaitTimeout, YadtqError, call
from yadtq_core.settings import ALIASES, Settings
from yadtq_local.guarded import GuardedProcess
from yadtq_local.stack import Stack
from yadtq_local.stage import Stage
from yadtq_local.workers import end_all, start_worker

LEASE_SECONDS = 3
USUAL_LEASE_SECONDS = 15
NAMES = ("ann", "bob", "cid")
NAMESPACE = "demo"
MANY = 300
SLOW_SECONDS = 5
KILL_AFTER_SECONDS = 1.5
PATIENCE_SECONDS = 30.0
GRACE_SECONDS = 5.0
KILLED = 128 + 9


class Step(NamedTuple):
    """One call of a built-in task and its expected result."""

    task: str
    arguments: tuple[int, ...]
    result: int

    @property
    def text(self) -> str:
        """The call as on a command line: `add [1, 2, 3]`."""
        return f"{self.task} {list(self.arguments)}"


SLOW = Step("slow_task", (SLOW_SECONDS,), SLOW_SECONDS)
STEPS = (Step("add", (1, 2, 3), 6), Step("sub", (10, 4), 6), Step("mul", (2, 3, 4), 24), Step("sleep", (1,), 1), SLOW)
EXPECTED = {step.text: step.result for step in STEPS} | {f"add [{n}, 1]": n + 1 for n in range(MANY)}


class Takeover(NamedTuple):
    """The killed worker, the worker that took its task over, and the seconds between."""

    victim: str
    heir: str
    seconds: float


class Demo:
    """Runs the steps and prints them on a stage. It ignores environment variables and configuration files."""

    def __init__(self, folder: Path, stage: Stage, *, kafka: bool) -> None:
        self._folder = folder
        self._stage = stage
        self._kafka = kafka
        self._workers: dict[str, GuardedProcess] = {}
        self._over = False

    def run(self) -> list[str]:
        """Run all steps. Return the errors, one line each."""
        begun = time.monotonic()
        with ExitStack() as at_end:
            stack = self._serve(at_end)
            client = at_end.enter_context(Client(self._settings(stack)))
            client.provision()
            at_end.callback(self._dismiss)
            self._hire(stack, client)
            handles = self._submit(client)
            at_end.callback(self._stage.done)
            takeover = self._kill_in_the_middle(handles[SLOW.text])
            records = self._wait_for_all(client, handles)
            self._hear_all(client)
            self._stage.done()
            wrong = self._report(records, takeover)
            self._over = True
        self._stage.tell(f"Cleaned up: nothing is left. The demo took {time.monotonic() - begun:.1f} s.")
        return wrong

    def _serve(self, at_end: ExitStack) -> Stack:
        self._stage.tell(
            "Starting a real Kafka for the tasks, a real Valkey for their records."
            if self._kafka
            else "Starting a real Valkey: it carries the tasks and keeps their records."
        )
        return at_end.enter_context(Stack(self._folder, kafka=self._kafka, report=self._stage.tell))

    def _settings(self, stack: Stack) -> Settings:
        return Settings(
            broker=stack.broker, backend=stack.backend, namespace=NAMESPACE, claim_stale_seconds=float(LEASE_SECONDS)
        )

    def _hire(self, stack: Stack, client: Client) -> None:
        self._stage.tell(f"Starting three workers ({', '.join(NAMES)}); each runs one task at a time.")
        lease = f"Lease: {LEASE_SECONDS} s, not the usual {USUAL_LEASE_SECONDS}"
        self._stage.tell(f"{lease}. A worker silent for this long loses its task.")
        (self._folder / "yadtq.toml").touch()  # the workers must not read a file in a parent folder
        environment = _environment() | {
            "YADTQ_BROKER": stack.broker,
            "YADTQ_BACKEND": stack.backend,
            "YADTQ_NAMESPACE": NAMESPACE,
            "CLAIM_STALE_SECONDS": str(LEASE_SECONDS),
        }
        for name in NAMES:
            with (self._folder / f"{name}.log").open("wb") as log:
                arguments = ["--id", name, "-c", "1"]
                self._workers[name] = start_worker(arguments, environment, folder=self._folder, log=log)
        self._until(lambda: sum(row.online for row in client.workers()) == len(NAMES), "all workers are online")
        if any(SLOW.task not in row.stats.tasks for row in client.workers()):
            raise YadtqError("the built-in tasks are not installed: pip install 'yadtq[builtin]'")

    def _submit(self, client: Client) -> dict[str, Handle[Any]]:
        self._stage.tell(f"Submitting the five built-in tasks, and {MANY} more additions in one go.")
        handles: dict[str, Handle[Any]] = {step.text: client.submit(step.task, *step.arguments) for step in STEPS}
        self._stage.watch(client, {text: handle.id for text, handle in handles.items()})
        many = client.submit_many(call("add", number, 1) for number in range(MANY))
        return handles | {f"add [{number}, 1]": handle for number, handle in enumerate(many)}

    def _kill_in_the_middle(self, slow: Handle[Any]) -> Takeover:
        """Kill the worker that runs slow_task and wait until another worker runs it."""
        self._until(lambda: slow.record().worker_id, "slow_task has begun")
        time.sleep(KILL_AFTER_SECONDS)
        victim = slow.record().worker_id or ""
        self._stage.tell(f"kill -9 {self._workers[victim].pid}: {victim} dies in the middle of slow_task.", "bold red")
        self._stage.tell(f"No other worker knows yet. The record still says: processing on {victim}.")
        killed_at = time.monotonic()
        self._workers[victim].kill()
        self._until(lambda: slow.record().worker_id not in (None, victim), "another worker took slow_task over")
        seconds, heir = time.monotonic() - killed_at, slow.record().worker_id or ""
        after = f"{seconds:.1f} s after the kill (lease {LEASE_SECONDS} s)"
        self._stage.tell(f"{heir} has taken slow_task over {after}: run 2.", "bold green")
        return Takeover(victim, heir, seconds)

    def _wait_for_all(self, client: Client, handles: Mapping[str, Handle[Any]]) -> dict[str, Record]:
        found = client.wait_all(handles.values(), PATIENCE_SECONDS)
        records = {text: record for text, record in zip(handles, found, strict=True) if record is not None}
        late = [text for text in handles if text not in records or records[text].finished_at is None]
        if late:
            raise WaitTimeout(handles[late[0]].id, PATIENCE_SECONDS, f"one of {len(late)} open tasks: {late[0]}")
        return records

    def _hear_all(self, client: Client) -> None:
        """Wait for a heartbeat of each worker, so that the counts in the picture are current."""
        ended_at = max(row.last_seen for row in client.workers())
        self._until(
            lambda: all(row.last_seen > ended_at for row in client.workers() if row.online),
            "a heartbeat of each worker",
        )

    def _report(self, records: Mapping[str, Record], takeover: Takeover) -> list[str]:
        """Print the results and a summary. Return the errors."""
        for step in STEPS:
            record = records[step.text]
            again = f", run {record.attempt} ({takeover.victim} was killed)" if record.attempt > 1 else ""
            self._stage.tell(f"{step.text:15} = {_result(record):4} ran on {record.worker_id}{again}")
        wrong = [
            f"{text} is {record.status.value} with {_result(record)}, not success with {EXPECTED[text]}"
            for text, record in records.items()
            if record.status is not Status.SUCCESS or _result(record) != str(EXPECTED[text])
        ]
        if records[SLOW.text].attempt != 2:
            wrong.append(f"slow_task ended on run {records[SLOW.text].attempt}, not on its second")
        shares = Counter(record.worker_id for record in records.values())
        who = ", ".join(f"{name} {shares[name]}" for name in NAMES)
        ended = sum(record.finished_at is not None for record in records.values())
        self._stage.tell(f"{ended} of {len(EXPECTED)} tasks ended, each exactly once in its record ({who}).")
        if not wrong:
            self._stage.tell(f"{takeover.victim} was killed, and nothing was lost.", "bold")
        return wrong

    def _dismiss(self) -> None:
        """Drain the workers after the last step; kill them if the demo was interrupted."""
        if self._over:
            end_all(list(self._workers.values()), GRACE_SECONDS)
            return
        for worker in self._workers.values():
            worker.kill()
        for worker in self._workers.values():
            worker.wait(GRACE_SECONDS)

    def _until(self, condition: Callable[[], object], what: str) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            ended = [name for name, worker in self._workers.items() if worker.exit_code not in (None, KILLED)]
            if ended:
                log = (self._folder / f"{ended[0]}.log").read_text(errors="replace").strip().splitlines()
                raise YadtqError(f"worker {ended[0]} ended: {log[-1] if log else 'its log is empty'}")
            if time.monotonic() > until:
                raise YadtqError(f"not within {PATIENCE_SECONDS:g} s: {what}")
            time.sleep(0.05)


def _environment() -> dict[str, str]:
    """Return the environment without settings of yadtq."""
    ours = {name for name in os.environ if name.startswith("YADTQ_")} | set(ALIASES.values())
    return {name: value for name, value in os.environ.items() if name not in ours}


def _result(record: Record) -> str:
    return record.result.decode(errors="replace") if record.result is not None else "no result"
