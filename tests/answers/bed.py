"""The place of the cases: a folder, a Valkey and a Kafka, and commands as a shell runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.waiting import wait_until
from yadtq_core.net.redis_client import Store, open_store
from yadtq_local import LocalKafka, LocalValkey

YADTQ = (sys.executable, "-c", "from yadtq_core.cli import main; main()")
TASKS = Path(__file__).parent / "modules"
NOTHING: Mapping[str, str] = {}
NO_ID = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"


Environment = Mapping[str, str]


class Answer(NamedTuple):
    """What a command answered; `seconds` is how long it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        """Both streams."""
        return self.out + self.err


class Case(NamedTuple):
    """One thing that goes wrong: an action, and the answer that it must get.

    row: the number in the catalogue of bad inputs, or `service`. done: the command, as it is shown. text: a regular
    expression that the answer must contain. writes: it may leave records.
    """

    row: str
    name: str
    done: str
    ask: Callable[[Bed], Answer]
    code: int
    text: str
    writes: bool = False
    within: float = 60.0


class Bed:
    """A folder with a separate Valkey, and a Kafka. Servers for one case are made by `valkey` and `kafka`.

    Cases may be tried by several threads at a time.
    """

    def __init__(self, folder: Path, kafka_url: str, namespace: str) -> None:
        self.folder = folder
        self.namespace = namespace
        self.kafka_url = kafka_url
        self._at_end = ExitStack()
        self._numbers = count()
        self._lock = threading.Lock()
        self._kafka = LocalKafka(folder / "kafka")
        self._at_end.callback(self._kafka.kill)
        self._starting = threading.Lock()
        self._works = False
        self.server = self.valkey(port=0)
        self.redis_url = self.server.url
        self.store = self.opened(self.redis_url)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("YADTQ_")},
            "YADTQ_BROKER": kafka_url,
            "YADTQ_BACKEND": self.redis_url,
            "YADTQ_NAMESPACE": namespace,
            "YADTQ_PARTITIONS": "2",
            "PYTHONPATH": os.pathsep.join([str(TASKS), os.environ.get("PYTHONPATH", "")]),
            "COLUMNS": "200",
        }
        self.provision()

    def valkey(self, **options: object) -> LocalValkey:
        """Start a Valkey; it ends with the bed."""
        server = LocalValkey(self.folder / f"valkey{next(self._numbers)}", **options)  # type: ignore[arg-type]
        server.start()
        self._at_end.callback(server.kill)
        return server

    @contextmanager
    def kafka(self) -> Iterator[LocalKafka]:
        """Yield a Kafka that may be killed and paused, for one case at a time."""
        with self._lock:
            self._kafka.start()
            yield self._kafka

    def opened(self, url: str) -> Store:
        """Return a connection to a Redis."""
        store = open_store(url)
        self._at_end.callback(store.close)
        return store

    def records(self) -> list[str]:
        """Return the keys of tasks in the namespace, and in those of single cases."""
        keys = [key.decode() for key in self.store.run("KEYS", f"yadtq:{{{self.namespace}*")]
        return [key for key in keys if ":task:" in key or ":message:" in key or key.endswith((":open", ":counts"))]

    def run(
        self,
        *words: str,
        stdin: bytes = b"",
        wait: float = 120.0,
        folder: Path | None = None,
        env: Environment = NOTHING,
    ) -> Answer:
        """Run one `yadtq` command to its end."""
        return self.python(*YADTQ[1:], *words, stdin=stdin, wait=wait, folder=folder, env=env)

    def provision(self, env: Environment = NOTHING) -> None:
        """Make a namespace's topics; tried thrice, as a loaded Kafka may take longer than a command waits."""
        answers = [self.run("provision", env=env)]
        while answers[-1].code == 3 and len(answers) < 3:
            answers.append(self.run("provision", env=env))
        assert answers[-1].code == 0, answers

    def python(
        self,
        *words: str,
        stdin: bytes = b"",
        wait: float = 120.0,
        folder: Path | None = None,
        env: Environment = NOTHING,
    ) -> Answer:
        """Run a Python program to its end."""
        began = time.monotonic()
        done = subprocess.run(
            [os.fsencode(word) for word in (sys.executable, *words)],
            input=stdin,
            env={**self.environment, **env},
            cwd=folder or self.folder,
            capture_output=True,
            timeout=wait,
            check=False,
        )
        taken = time.monotonic() - began
        return Answer(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"), taken)

    def start(self, *words: str, log: Path | None = None, env: Environment = NOTHING) -> subprocess.Popen[bytes]:
        """Start a `yadtq` command; it is killed with the bed. log: where its output goes, else to pipes."""
        onto = subprocess.PIPE if log is None else log.open("wb")
        process = subprocess.Popen(
            [*YADTQ, *words],
            env={**self.environment, **env},
            cwd=self.folder,
            stdout=onto,
            stderr=subprocess.STDOUT if log else subprocess.PIPE,
        )
        if log is not None:
            onto.close()  # type: ignore[union-attr]  # not PIPE here
        self._at_end.callback(_end, process)
        return process

    def worked(self, *words: str) -> Answer:
        """Run a command beside a worker (one for all cases, in a separate namespace) that knows the hostile tasks."""
        env = {"YADTQ_NAMESPACE": self.namespace + "w", "YADTQ_IMPORTS": "hostile"}
        with self._starting:
            if not self._works:
                self.provision(env)
                self.worker("hostile-worker", env=env)
                self._works = True
        return self.run(*words, env=env)

    def worker(self, name: str, *words: str, env: Environment = NOTHING) -> subprocess.Popen[bytes]:
        """Start a worker; return when it is online."""
        process = self.start("worker", "--id", name, "-c", "2", *words, log=self.folder / f"{name}.log", env=env)

        def online() -> bool:
            assert process.poll() is None, self.log(name)
            shown = self.run("monitor", "--once", env=env).out
            return f"worker:{name} state online" in shown

        wait_until(online, f"{name} online", 60)
        return process

    def log(self, name: str) -> str:
        """Return what a worker has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def submitted(self, *words: str) -> str:
        """Submit a task; return its ID."""
        answer = self.run("submit", *words, "--json")
        assert answer.code == 0, answer
        return str(json.loads(answer.out)["task_id"])

    def file(self, name: str, data: bytes) -> Path:
        """Write a file into a new folder; return its path."""
        path = self.folder / f"files{next(self._numbers)}" / name
        path.parent.mkdir()
        path.write_bytes(data)
        return path

    def other_namespace(self) -> str:
        """Return a namespace that no other case has."""
        return f"{self.namespace}-{next(self._numbers)}"

    def close(self) -> None:
        """End all that was started."""
        self._at_end.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


@contextmanager
def bed(folder: Path, kafka_url: str, namespace: str) -> Iterator[Bed]:
    """Yield a bed; end its servers and programs afterwards."""
    made = Bed(folder, kafka_url, namespace)
    try:
        yield made
    finally:
        made.close()


def cli(
    row: str,
    name: str,
    words: list[str],
    code: int,
    text: str,
    *,
    stdin: bytes = b"",
    writes: bool = False,
    within: float = 60.0,
    env: Environment = NOTHING,
) -> Case:
    """Return the case of one command line; {redis} and {kafka} in its environment are where those listen."""

    def ask(bed: Bed) -> Answer:
        places = {"{redis}": bed.redis_url.partition("//")[2], "{kafka}": bed.kafka_url.partition("//")[2]}
        told = {name: value[:-7] + places[value[-7:]] if value[-7:] in places else value for name, value in env.items()}
        return bed.run(*words, stdin=stdin, env=told)

    shown = " ".join([*(f"{key}={value}" for key, value in env.items()), "yadtq", *map(_quoted, words)])
    return Case(row, name, shown, ask, code, text, writes, within)


def _quoted(word: str) -> str:
    shown = word if len(word) <= 60 else f"{word[:40]}… ({len(word)} characters)"
    return f"'{shown}'" if re.search(r"[^\w./:@=-]", word) or not word else shown
