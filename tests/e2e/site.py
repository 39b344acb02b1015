"""A site of real processes: workers and commands on the shared services, in a namespace of the test's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import wait_until
from yadtq_core import Client
from yadtq_core.installed import BLOCK

TASKS = Path(__file__).with_name("site_tasks.py")


class WorkerProcess:
    """One worker in a separate process group, its log in a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log_file = log

    @property
    def pid(self) -> int:
        """The worker's own process."""
        return self.process.pid

    def log(self) -> str:
        """Return its log."""
        return self.log_file.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to the worker's own process, not to its children."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a crash does: SIGKILL to the worker's own process."""
        self.process.kill()
        self.process.wait(30)

    def terminate(self, timeout: float) -> int:
        """Ask it to stop; return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout)

    def children(self) -> list[int]:
        """The process IDs of its children."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]


class Site:
    """Workers, commands and a client that share one namespace. `lease` is in seconds."""

    def __init__(self, folder: Path, broker_url: str, redis_url: str, namespace: str, lease: float) -> None:
        self.folder = folder
        self.lease = lease
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("YADTQ_")},
            BLOCK: os.environ.get(BLOCK, ""),
            "YADTQ_BROKER": broker_url,
            "YADTQ_BACKEND": redis_url,
            "YADTQ_NAMESPACE": namespace,
            "CLAIM_STALE_SECONDS": str(lease),
            "PYTHONPATH": str(TASKS.parent),
        }
        self.client = Client.connect(broker_url, redis_url, namespace=namespace, claim_stale_seconds=lease)
        self._workers: list[WorkerProcess] = []
        self.ran = folder / "ran"
        self.ran.mkdir()
        self.environment["SITE_RAN"] = str(self.ran)

    def worker(self, name: str, *options: str, environment: Mapping[str, str] | None = None) -> WorkerProcess:
        """Start a worker that knows the tasks of `site_tasks`; returns at once."""
        log = self.folder / f"{name}-{len(self._workers)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from yadtq_core.cli import main; main()",
                    "worker",
                    "site_tasks",
                    "--id",
                    name,
                    *options,
                ],
                env={**self.environment, **(environment or {})},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = WorkerProcess(name, process, log)
        self._workers.append(worker)
        return worker

    def workers(self, *names: str, options: Sequence[str] = ()) -> list[WorkerProcess]:
        """Start workers; return when all are online and share the partitions."""
        started = [self.worker(name, *options) for name in names]
        for worker in started:
            self.wait_online(worker)
        return started

    def wait_online(self, worker: WorkerProcess) -> None:
        """Wait until the backend has heard of this very process."""

        def online() -> bool:
            assert worker.process.poll() is None, worker.log()
            return any(row.identity.pid == worker.pid and row.online for row in self.client.workers())

        wait_until(online, f"worker {worker.name} is online: {worker.log()}", 60)

    def run(self, *arguments: str, timeout: float = 100, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `yadtq` with these arguments."""
        return subprocess.run(
            [sys.executable, "-m", "yadtq_core.cli", *arguments],
            env=self.environment,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def runs(self, task_id: str) -> list[dict[str, Any]]:
        """Every begin of a recording task of this ID: attempt, fence, worker, time."""
        file = self.ran / task_id
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def close(self) -> None:
        """End what is left."""
        self.client.close()
        for worker in self._workers:
            for pid in _and_children(worker):
                _end(pid)
            worker.process.wait(30)


def _and_children(worker: WorkerProcess) -> Iterator[int]:
    if worker.process.poll() is None:
        yield from worker.children()
        yield worker.pid


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


@contextmanager
def site(folder: Path, broker_url: str, redis_url: str, namespace: str, lease: float) -> Iterator[Site]:
    """Yield a site; end all its processes afterwards."""
    made = Site(folder, broker_url, redis_url, namespace, lease)
    try:
        yield made
    finally:
        made.close()
