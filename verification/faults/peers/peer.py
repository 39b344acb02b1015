"""The peers through rows W1, K2 and R1: the same faults, the same number of tasks, what became of them.

A peer has no fences, leases or counters: of the invariants only I1 (what was accepted ends) and I14 (results are right)
can be asked of it. A submit that raised may have been sent, so nothing is held against it.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from kafka import KafkaAdminClient
from msgspec import Struct, structs

from verification.faults import history as h
from verification.faults.checker import every_accepted_task_ends_once, results_are_right
from verification.faults.peers.plan import BACKEND, BROKER, PARTITIONS, TOPIC, PeerPlan
from verification.faults.processes import Process
from verification.faults.row import Result, recovery
from verification.faults.rows import ROWS
from verification.faults.scene import ROOT, runs
from verification.faults.stage import Stage
from verification.faults.view import Rules, View

HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / "build" / "peers"
QUIET_SECONDS = 45.0
"""Silence (seconds) after which a run is over: longer than any retry or session of the peers."""
MOST_SECONDS = 240.0


class Peer(Struct, frozen=True):
    """Another queue: its name, and how its worker is started in its own environment."""

    name: str
    worker: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The folder of its environment."""
        return ENVIRONMENTS / self.name

    @property
    def module(self) -> str:
        """The module of its programs."""
        return f"verification.faults.peers.{self.name}_app"

    @property
    def versions(self) -> str:
        """What is compared, as its requirements pin it."""
        lines = (HERE / f"requirements-{self.name}.txt").read_text().splitlines()
        return next(line for line in lines if line and not line.startswith("#")).replace("==", " ")

    def install(self) -> None:
        """Make its environment, unless it is there."""
        requirements = HERE / f"requirements-{self.name}.txt"
        done = self.folder / "installed.txt"
        if done.exists() and done.read_text() == requirements.read_text():
            return
        sys.stderr.write(f"making an environment for {self.name} in {self.folder}\n")
        subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
        pip = [str(self.folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(requirements)], check=True)
        done.write_text(requirements.read_text())


PEERS = (
    Peer(
        "celery",
        (
            *("-m", "celery", "-A", "verification.faults.peers.celery_app", "worker", "-c", "2", "-l", "info"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ),
    ),
    Peer(
        "taskiq",
        (
            *("-m", "taskiq", "worker", "verification.faults.peers.taskiq_app:broker", "--workers", "1"),
            *("--max-async-tasks", "2", "--max-threadpool-threads", "2", "--ack-type", "when_saved"),
        ),
    ),
)


class PeerScene:
    """One row's scene for a peer."""

    def __init__(self, peer: Peer, stage: Stage, folder: Path, *, tasks: int, outage: float) -> None:
        self.peer, self.stage, self.folder, self.tasks, self.outage = peer, stage, folder, tasks, outage
        self.file = folder / "history.jsonl"
        self.writer = h.Writer(self.file, "harness")
        self._reader = h.Reader(self.file)
        self.topic = f"peer-{peer.name}-{secrets.token_hex(3)}"
        self.processes: list[Process] = []
        at = h.now()
        self.writer.write(h.Clock("harness", at, at, at * 1000))
        self._make_topic()

    def _make_topic(self) -> None:
        """Make the topic: with taskiq, of those that would make it at the same time all but one end."""
        admin = KafkaAdminClient(bootstrap_servers=self.stage.straight_broker)
        try:
            admin.create_topics({self.topic: {"num_partitions": PARTITIONS, "replication_factor": 1}})
        finally:
            admin.close()

    def worker(self, name: str) -> Process:
        """Start a worker; returns at once."""
        return self._start(name, self.peer.worker, name)

    def program(self, name: str, *arguments: str) -> Process:
        """Start one of the peer's programs."""
        return self._start(name, ["-m", self.peer.module, *arguments], name)

    def submitter(self, rate: float = 25.0, naps: float = 0.4, threads: int = 4) -> Process:
        """Start a client that submits."""
        plan = PeerPlan(self.tasks, rate, threads, naps)
        return self.program("client", "submit", msgspec.json.encode(plan).decode())

    @contextmanager
    def fault(self, name: str, *repeats: str, since: str = "a") -> Iterator[None]:
        """Write a fault into the history that lasts as long as the block."""
        b = h.now()
        yield
        self.writer.write(h.Fault("harness", b, h.now(), name, repeats, since=since))

    def events(self) -> list[h.Known]:
        """Return the events written until now."""
        return self._reader.read()

    def wait_started(self, least: int, worker: str = "") -> None:
        """Wait until `least` runs have begun (in this worker)."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            begun = [one for one in self.events() if isinstance(one, h.Started) and worker in ("", one.worker)]
            if len(begun) >= least:
                return
            time.sleep(0.1)
        raise AssertionError(f"{self.peer.name}: fewer than {least} runs have begun")

    def wait_running(self, worker: str, least: float) -> None:
        """Wait until this worker runs something, for `least` seconds already."""
        until = time.monotonic() + 60
        while not runs(self.events(), worker, least):
            if time.monotonic() > until:
                raise AssertionError(f"{worker} runs nothing")
            time.sleep(0.05)

    def come_to_rest(self) -> None:
        """Wait until all that was accepted has ended, or nothing has happened for long."""
        until, seen, changed = time.monotonic() + MOST_SECONDS, 0, time.monotonic()
        while time.monotonic() < min(until, changed + QUIET_SECONDS):
            size = self.file.stat().st_size
            if size != seen:
                seen, changed = size, time.monotonic()
            if self.client_ended and not _unfinished(View(self.events())):
                break
            time.sleep(0.5)
        self.program("collect", "collect").wait(60)

    @property
    def client_ended(self) -> bool:
        """The client has nothing more to submit."""
        return all(process.exit_code is not None for process in self.processes if process.name == "client")

    def close(self) -> None:
        """End every process."""
        for process in self.processes:
            process.end()
        self.writer.close()

    def _start(self, name: str, command: Sequence[str], who: str) -> Process:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("YADTQ_", "FAULTS_"))},
            BROKER: self.stage.broker().removeprefix("kafka://"),
            BACKEND: self.stage.backend(),
            TOPIC: self.topic,
            "PYTHONPATH": str(ROOT),
            h.HISTORY: str(self.file),
            h.NAME: who,
        }
        python = str(self.peer.folder / "bin" / "python")
        process = Process(name, command, environment, self.folder, python=python)
        self.processes.append(process)
        return process


def w1(scene: PeerScene) -> None:
    """Kill a worker and its processes in the middle of its tasks, three times."""
    for name in ("w0", "w1"):
        scene.worker(name)
    scene.submitter(naps=0.8)
    for number in range(1, 4):
        scene.wait_started(4, f"w{number}")
        scene.wait_running(f"w{number}", 0.2)
        worker = next(process for process in scene.processes if process.name == f"w{number}")
        with scene.fault("killed", f"w{number}", since="b"):
            worker.signal_all(signal.SIGKILL)
            worker.wait(10)
        scene.worker(f"w{number + 1}")


def k2(scene: PeerScene) -> None:
    """Kill the broker while tasks are submitted, and start it again after long."""
    for name in ("w0", "w1"):
        scene.worker(name)
    scene.submitter(rate=30, naps=0.1, threads=8)
    scene.wait_started(10)
    with scene.fault("broker down"):
        scene.stage.kafka.kill()
        time.sleep(scene.outage)
        scene.stage.kafka.start()


def r1(scene: PeerScene) -> None:
    """Kill the store under load and start it again, three times."""
    for name in ("w0", "w1"):
        scene.worker(name)
    scene.submitter(rate=30, naps=0.1)
    for pause in (0.0, 0.5, 1.0):
        scene.wait_started(20)
        with scene.fault("store killed"):
            scene.stage.valkey.kill()
            time.sleep(pause)
            scene.stage.valkey.start()
        time.sleep(1.0)


PLAYS: dict[str, Callable[[PeerScene], None]] = {"W1": w1, "K2": k2, "R1": r1}


def run(peer: Peer, row: str, stage: Stage, folder: Path, *, tasks: int, outage: float) -> Result:
    """Play one row with a peer and return what came of it."""
    began = time.monotonic()
    folder.mkdir(parents=True)
    scene, trouble = PeerScene(peer, stage, folder, tasks=tasks, outage=outage), ""
    try:
        PLAYS[row](scene)
        scene.come_to_rest()
    except (AssertionError, subprocess.TimeoutExpired) as error:
        trouble = str(error)
    finally:
        stage.heal()
        scene.close()
    view = View(_once(h.read(scene.file)[0]))
    rules = Rules(lease=0.0)
    said = {"I1": list(every_accepted_task_ends_once(view, rules)), "I14": list(results_are_right(view, rules))}
    return Result(
        id=row,
        title=next(one.title for one in ROWS if one.id == row),
        tasks=len(view.submits),
        accepted=sum(1 for outcome in view.outcomes.values() if outcome == "ok"),
        repeats=sum(len(starts) - 1 for starts in view.starts.values()),
        recovery=tuple(recovery(view)),
        said={name: sentences for name, sentences in said.items() if sentences},
        trouble=trouble,
        seconds=time.monotonic() - began,
        history=str(scene.file),
        peer=peer.versions,
    )


def _unfinished(view: View) -> list[str]:
    return [task_id for task_id, outcome in view.outcomes.items() if outcome == "ok" and task_id not in view.ends]


def _once(events: Sequence[h.Known]) -> list[h.Known]:
    """Return the history with the first end of each task only: a peer's repeats are counted by their starts."""
    ended: set[str] = set()
    kept: list[h.Known] = []
    for event in events:
        if isinstance(event, h.Finished):
            if event.got[0].id in ended:
                continue
            ended.add(event.got[0].id)
        kept.append(structs.replace(event))
    return kept
