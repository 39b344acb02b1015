"""The yadtq side: a client in this process, and workers in separate processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import processes
from benchmarks.by_hand import ARGUMENTS, TASK, Submitted
from benchmarks.services import PARTITIONS, Services
from yadtq_core import Client, call
from yadtq_core.client.submitter import Confirm

YADTQ = str(Path(sys.executable).with_name("yadtq"))
_LOOK_SECONDS = 0.005
_START_SECONDS = 60.0
_PATIENCE_SECONDS = 120.0
_STOP_SECONDS = 30.0
_TAIL_LINES = 20


class Cpu(NamedTuple):
    """CPU seconds of a worker process, and of its children."""

    parent: float
    children: float


class Worker:
    """A worker's process; its log goes to a file."""

    def __init__(self, engine: Engine, children: int) -> None:
        self.log = engine.folder / f"{engine.namespace}-{children}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [YADTQ, "worker", "-c", str(children), "--id", f"{engine.namespace}.{children}"],
                env=engine.environment,
                cwd=engine.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # ctrl-C ends only the benchmark, which then stops its workers
            )

    def check(self) -> None:
        """Raise RuntimeError with the end of its log if the worker has ended."""
        if self.process.poll() is not None:
            tail = self.log.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:]
            raise RuntimeError("\n".join([f"the worker ended ({self.process.returncode}):", *tail]))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process. Keep this much shorter than its session with the broker (10 s), which would end."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def cpu(self) -> Cpu:
        """Return the CPU time since the start; zero if the system does not report it."""
        if not processes.AVAILABLE:
            return Cpu(0.0, 0.0)
        pid = self.process.pid
        return Cpu(processes.cpu_seconds(pid), sum(map(processes.cpu_seconds, processes.children(pid))))

    def stop(self) -> None:
        """Send SIGTERM, and wait for the end."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _signal(self, number: int) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, number)


class Engine:
    """One namespace with its topic. It ignores YADTQ_ variables, so that all settings are yadtq's defaults.

    streams: the tasks are carried by Redis streams, not by Kafka.
    """

    def __init__(self, services: Services, name: str, folder: Path, *, streams: bool = False) -> None:
        self.namespace = services.namespace(name)
        self.folder = folder
        self._services = services
        self._broker = services.redis_url.replace("://", "+streams://", 1) if streams else services.kafka_url
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("YADTQ_")},
            "YADTQ_BROKER": self._broker,
            "YADTQ_BACKEND": services.redis_url,
            "YADTQ_NAMESPACE": self.namespace,
            "YADTQ_PARTITIONS": str(PARTITIONS),
        }
        self.client = self.connect()
        self.client.provision()

    def connect(self, confirm: Confirm = "broker") -> Client:
        """Return another client of this namespace."""
        return Client.connect(
            self._broker,
            self._services.redis_url,
            confirm=confirm,
            namespace=self.namespace,
            partitions=PARTITIONS,
        )

    def start(self, children: int) -> Worker:
        """Start a worker; return at once."""
        return Worker(self, children)

    def wait_online(self, worker: Worker) -> None:
        """Return when the backend has a heartbeat of this process."""
        until = time.monotonic() + _START_SECONDS
        while not any(row.identity.pid == worker.process.pid and row.online for row in self.client.workers()):
            worker.check()
            if time.monotonic() > until:
                raise TimeoutError(f"the worker is not online after {_START_SECONDS:g} s; see {worker.log}")
            time.sleep(_LOOK_SECONDS)

    def submit(self, count: int) -> Submitted:
        """Submit one call, and then `count` calls with the time; closing the client confirms the rest."""
        with self.connect() as client:
            client.submit(TASK, *ARGUMENTS)  # opens the broker
            begun, cpu = time.perf_counter(), time.process_time()
            client.submit_many(call(TASK, *ARGUMENTS) for _ in range(count))
            acknowledged = time.perf_counter() - begun
            client.close()
            return Submitted(count + 1, acknowledged, time.perf_counter() - begun, time.process_time() - cpu)

    def ended(self) -> int:
        """Return how many tasks have succeeded since the namespace was created."""
        return self.client.counts().total("success")

    def wait_ended(self, worker: Worker, ended: int) -> None:
        """Return when `ended` tasks have succeeded; raises TimeoutError, or RuntimeError if the worker has ended."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while (now := self.ended()) < ended:
            worker.check()
            if time.monotonic() > until:
                raise TimeoutError(f"{now} of {ended} tasks have ended after {_PATIENCE_SECONDS:g} s; {worker.log}")
            time.sleep(_LOOK_SECONDS)

    def round_trip(self) -> float:
        """Submit one call and wait for its result; return the seconds."""
        begun = time.perf_counter()
        self.client.submit(TASK, *ARGUMENTS).result(timeout=10)
        return time.perf_counter() - begun

    def close(self) -> None:
        """Close the client."""
        self.client.close()
