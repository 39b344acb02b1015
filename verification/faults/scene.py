"""One row's scene: a namespace on the stage, with workers and clients whose every step goes into one history."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import redis
from kafka.errors import KafkaError

from verification.faults import history as h
from verification.faults.client import ClientPlan
from verification.faults.ledger import LEDGER
from verification.faults.lookout import Lookout
from verification.faults.processes import Process
from verification.faults.recording import FAILPOINT, PREFIX
from verification.faults.stage import NEAR, Stage
from verification.faults.view import TERMINAL
from yadtq_core import Client, YadtqError
from yadtq_core.installed import BLOCK, HOOKS, blocked_entry_points, entry_points

ROOT = Path(__file__).parents[2]
_ONLINE_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_SETTLE_SECONDS = 20.0


class NotAtRest(Exception):
    """Something was still to be done when the time was up."""


def _behind(ends: Sequence[h.Offset], committed: Sequence[h.Offset]) -> bool:
    """True when the group has not settled everything before these ends."""
    settled = {(one.queue, one.partition): one.offset for one in committed}
    return any(settled.get((end.queue, end.partition), 0) < end.offset for end in ends)


def runs(events: Sequence[h.Known], worker: str, least: float) -> bool:
    """True when a worker has a run that began at least `least` seconds ago."""
    begun: dict[str, float] = {}
    for event in events:
        if isinstance(event, h.Started) and event.worker == worker:
            begun[event.id] = event.b
        elif isinstance(event, h.Finished | h.Released):
            for one in event.got:
                begun.pop(one.id, None)
    return any(h.now() - at >= least for at in begun.values())


class Scene:
    """The services and processes of one row.

    tasks: the number to submit. lease: seconds. outage: the length of a long outage (seconds), in rows that have one.
    `client` belongs to the harness: it uses no proxy and is not recorded.
    """

    def __init__(self, stage: Stage, folder: Path, *, tasks: int, lease: float, outage: float) -> None:
        self.stage = stage
        self.folder = folder
        self.tasks = tasks
        self.lease = lease
        self.outage = outage
        self.namespace = f"f{secrets.token_hex(3)}"
        self.file = folder / "history.jsonl"
        self.writer = h.Writer(self.file, "harness")
        self._reader = h.Reader(self.file)
        self.lookout = Lookout(stage.straight_broker, stage.straight_backend, self.namespace, self.writer)
        self.processes: list[Process] = []
        self._clients: list[Process] = []
        self.at_end = ExitStack()
        """Closes, at the end, all that a row starts besides processes."""
        self.workers_by_name: dict[str, Process] = {}
        self._install_recorder()
        self.client = Client.connect(
            f"kafka://{stage.straight_broker}",
            stage.straight_backend,
            namespace=self.namespace,
            claim_stale_seconds=lease,
        )
        self.provision()
        self.lookout.workers = self._resident
        self.lookout.clock()
        self.lookout.begin()

    # Processes

    def worker(
        self, name: str, *options: str, place: str = NEAR, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start a worker; returns at once."""
        command = ["-c", "from yadtq_core.cli import main; main()", "worker", "verification.faults.tasks", "--id", name]
        process = self._start(f"{name}-{len(self.processes)}", [*command, *options], name, place, environment or {})
        self.workers_by_name[name] = process
        return process

    def workers(self, *names: str, options: tuple[str, ...] = ("-c", "1", "--threads", "2")) -> list[Process]:
        """Start workers; return when all are online."""
        started = [self.worker(name, *options) for name in names]
        for process in started:
            self.wait_online(process)
        return started

    def wait_online(self, process: Process) -> None:
        """Wait until the backend has heard of this very process."""

        def online() -> bool:
            if process.exit_code is not None:
                raise AssertionError(f"{process.name} has ended:\n{process.log()[-2000:]}")
            return any(row.identity.pid == process.pid and row.online for row in self.client.workers())

        self.wait_for(online, f"{process.name} is online", _ONLINE_SECONDS)

    def submitter(
        self,
        name: str = "c1",
        place: str = NEAR,
        failpoint: str = "",
        environment: Mapping[str, str] | None = None,
        **plan: Any,
    ) -> Process:
        """Start a client that submits; the scene fills in the parts that the plan leaves out."""
        whole = ClientPlan(**({"count": self.tasks, "seed": len(self.processes)} | plan))
        command = ["-m", "verification.faults.client", msgspec.json.encode(whole).decode()]
        fatal = {FAILPOINT: failpoint} if failpoint else {}
        client = self._start(name, command, name, place, fatal | dict(environment or {}))
        self._clients.append(client)
        return client

    def _start(self, name: str, command: list[str], who: str, place: str, environment: Mapping[str, str]) -> Process:
        process = Process(name, command, self._environment(who, place) | dict(environment), self.folder)
        self.processes.append(process)
        return process

    def _environment(self, who: str, place: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("YADTQ_", "FAULTS_"))}
        return kept | {
            "YADTQ_BROKER": PREFIX + self.stage.broker(place),
            "YADTQ_BACKEND": PREFIX + self.stage.backend(place),
            "YADTQ_NAMESPACE": self.namespace,
            "YADTQ_PUBLISH_GRACE": "3",
            "CLAIM_STALE_SECONDS": str(self.lease),
            BLOCK: ",".join(one.name for one in (*entry_points(HOOKS), *blocked_entry_points(HOOKS))),  # yadtq alone
            "PYTHONPATH": os.pathsep.join((str(self.folder / "site"), str(ROOT))),
            h.HISTORY: str(self.file),
            h.NAME: who,
            LEDGER: str(self.folder / "ledger.sqlite"),
        }

    def _install_recorder(self) -> None:
        """Let the recording plugin count as installed, for the processes of this scene."""
        metadata = self.folder / "site" / "yadtq_fault_runs-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: yadtq-fault-runs\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[yadtq.plugins]\nrecorder = verification.faults.recording\n")

    # Faults

    @contextmanager
    def fault(self, name: str, *repeats: str, loses: bool = False, since: str = "a") -> Iterator[None]:
        """Write a fault into the history that lasts as long as the block; the words are those of `history.Fault`."""
        b = h.now()
        try:
            yield
        finally:
            self.writer.write(h.Fault("harness", b, h.now(), name, repeats, loses, since))

    def asked_to_end(self, process: Process, name: str, timeout: float, *, everyone: bool = False) -> int:
        """End a worker in order, and write that into the history. everyone: its children get the signal too."""
        b = h.now()
        (process.signal_all if everyone else process.signal)(signal.SIGTERM)
        code = process.wait(timeout)
        self.writer.write(h.Exited("harness", b, h.now(), name, code))
        return code

    def provision(self) -> None:
        """Make the topics; again and again, while Kafka still takes leave of those that were there."""

        def provisioned() -> bool:
            try:
                self.client.provision()
            except YadtqError:
                return False
            return True

        self.wait_for(provisioned, "the topic stands", 60)

    # Waiting

    def wait_for(self, condition: Callable[[], bool], description: str, seconds: float) -> None:
        """Wait for a condition; raises AssertionError."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise AssertionError(f"not within {seconds:g} s: {description}")
            time.sleep(_LOOK_SECONDS)

    def events(self) -> list[h.Known]:
        """Return the events written until now."""
        return self._reader.read()

    def started(self, least: int, worker: str = "") -> Callable[[], bool]:
        """Return the condition that `least` runs have begun (in this worker)."""

        def condition() -> bool:
            begun = [one for one in self.events() if isinstance(one, h.Started) and worker in ("", one.worker)]
            return len(begun) >= least

        return condition

    def wait_running(self, worker: str, least: float = 0.0) -> None:
        """Wait until this worker runs something, for `least` seconds already, as far as the history knows."""
        self.wait_for(lambda: runs(self.events(), worker, least), f"{worker} runs something", 60)

    def come_to_rest(self, seconds: float) -> None:
        """Wait until every client has ended, every task too, and the group has settled the whole topic."""
        until = time.monotonic() + seconds
        for client in self._clients:
            try:
                client.wait(max(1.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise NotAtRest(f"client {client.name} still submits after {seconds:g} s") from None
        what = "nothing was looked at"
        while time.monotonic() < until:
            what = self._left()
            if not what:
                return
            time.sleep(_LOOK_SECONDS)
        raise NotAtRest(f"not at rest after {seconds:g} s: {what}")

    def _left(self) -> str:
        """Return what is still to be done, in words; empty if nothing is left."""
        try:
            freeze = self.lookout.freeze()
            open_ = [f"{task_id} {row.status}" for task_id, row in freeze.records.items() if row.status not in TERMINAL]
            if open_ or freeze.indexes:
                return f"{len(open_)} tasks are unfinished, {len(freeze.indexes)} are listed: {', '.join(open_[:3])}"
            committed = {one.partition: one.offset for one in self.lookout.group().offsets}
            behind = {part: end for part, end in self.lookout.ends().items() if committed.get(part, 0) < end}
            return f"partitions are not settled: {behind}, committed {committed}" if behind else ""
        except (redis.RedisError, KafkaError, OSError, RuntimeError) as error:
            return repr(error)

    def last_look(self) -> None:
        """Write the final state into the history.

        Messages that a worker had sent before it was cut off may have arrived late: the group gets time to settle them.
        """
        topic = self.lookout.topic()
        until = time.monotonic() + _SETTLE_SECONDS
        while _behind(topic.ends, self.lookout.group().offsets) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        self.lookout.freeze(final=True)

    def _resident(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.workers_by_name.items() if process.exit_code is None}

    def close(self) -> None:
        """End every process, and release everything else."""
        self.lookout.end()
        with suppress(Exception):  # its services may be gone
            self.client.close()
        for process in self.processes:
            process.end()
        self.at_end.close()
        self.writer.close()
