"""The command line against a real Kafka and a real Redis: what a user types, and what a user sees."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.waiting import wait_until
from yadtq_core import Client, Record, Status

EXAMPLES = Path(__file__).parents[2] / "examples"
YADTQ = (sys.executable, "-c", "from yadtq_core.cli import main; main()")
UNKNOWN_ID = "0b2f8c1e-5a0d-4c55-9d0e-3f5f7f0c9a11"
ID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

Done = subprocess.CompletedProcess[str]


class Shell:
    """A terminal with the services' addresses in its environment; its processes end with it.

    `client` is for waiting: a command that is repeated until a task has ended costs a second of CPU each time.
    """

    def __init__(self, broker: str, backend: str, namespace: str, folder: Path) -> None:
        self.client = Client.connect(broker, backend, namespace=namespace)
        self.client.provision()
        addresses = {"YADTQ_BROKER": broker, "YADTQ_BACKEND": backend, "YADTQ_NAMESPACE": namespace}
        self._environment = {**os.environ, **addresses}
        self._folder = folder
        self._started = ExitStack()
        self._started.callback(self.client.close)

    def yadtq(self, *words: str, stdin: str | None = None) -> Done:
        """Run one command to its end."""
        return self.run(*YADTQ, *words, stdin=stdin)

    def run(self, *words: str, stdin: str | None = None, folder: Path | None = None) -> Done:
        """Run a program to its end, in a folder."""
        return subprocess.run(
            words,
            input=stdin,
            env=self._environment,
            cwd=folder or self._folder,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def start(self, *words: str, folder: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        """Start a program; it is killed at the end of the test."""
        process = subprocess.Popen(
            words,
            env=self._environment | environment,
            cwd=folder or self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.callback(process.communicate)
        self._started.callback(process.kill)
        return process

    def worker(self, name: str, *modules: str) -> subprocess.Popen[str]:
        """Start a worker with two children; return once it is online."""
        process = self.start(*YADTQ, "worker", *modules, "--id", name, "-c", "2", folder=EXAMPLES)
        self.wait_online(name)
        return process

    def wait_online(self, *names: str) -> None:
        """Wait until these workers are online."""

        def online() -> bool:
            return set(names) <= {row.identity.id for row in self.client.workers() if row.online}

        wait_until(online, f"{names} are online", 60)

    def record(self, task_id: str) -> Record:
        """Return a task's record."""
        (record,) = self.client.query([task_id])
        assert record is not None
        return record

    def close(self) -> None:
        """End what was started."""
        self._started.close()


@pytest.fixture
def shell(kafka_url: str, redis_url: str, namespace: str, tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(kafka_url, redis_url, namespace, tmp_path)
    yield opened
    opened.close()


def id_in(done: Done) -> str:
    """Return the ID that a submit printed."""
    found = re.match(rf"Task ID: ({ID})\n", done.stdout)
    assert found, done
    return found[1]


def ended(shell: Shell, task_id: str) -> Callable[[], bool]:
    """Return the condition that a task has ended."""
    return lambda: shell.record(task_id).finished_at is not None


def test_three_workers_and_a_kill_in_the_middle_of_slow_task(shell: Shell) -> None:
    classic = EXAMPLES / "classic"
    given = {"YADTQ_PROCESSES": "1", "CLAIM_STALE_SECONDS": "3"}
    workers = {
        name: shell.start(sys.executable, "worker.py", folder=classic, WORKER_ID=name, **given)
        for name in ("worker1", "worker2", "worker3")
    }
    shell.wait_online(*workers)
    task_id = id_in(shell.run(sys.executable, "client.py", "--submit", "slow_task", "[12]", folder=classic))

    def runs_on(attempt: int) -> str | None:
        record = shell.record(task_id)
        return record.worker_id if (record.status, record.attempt) == (Status.PROCESSING, attempt) else None

    wait_until(lambda: runs_on(1), "slow_task has begun")
    victim = runs_on(1)
    assert victim is not None
    time.sleep(1.0)
    workers[victim].kill()
    wait_until(lambda: runs_on(2) not in (None, victim), "another has taken it")
    wait_until(ended(shell, task_id), "it has ended", 60)
    shown = shell.run(sys.executable, "client.py", "--query", task_id, folder=classic)
    assert shown.stdout == f"Task ID: {task_id}\nStatus: success\nResult: 12\n"


def test_the_original_s_session_word_for_word(shell: Shell) -> None:
    classic = EXAMPLES / "classic"
    shell.start(sys.executable, "worker.py", folder=classic, WORKER_ID="worker1", YADTQ_PROCESSES="1")
    for arguments, result in (("add", "[1,2,3]"), "6"), (("sub", "[10,4]"), "6"), (("mul", "[2,3,4]"), "24"):
        task_id = id_in(shell.run(sys.executable, "client.py", "--submit", *arguments, folder=classic))
        wait_until(ended(shell, task_id), f"{arguments} has ended", 60)
        shown = shell.run(sys.executable, "client.py", "--query", task_id, folder=classic)
        assert shown.stdout == f"Task ID: {task_id}\nStatus: success\nResult: {result}\n"
    monitor = shell.start(sys.executable, "monitor.py", folder=classic)
    assert monitor.stdout is not None
    lines = [monitor.stdout.readline() for _ in range(3)]
    assert lines[0] == "=== WORKERS ===\n"
    assert re.fullmatch(r"worker:worker1 state online last_seen \d{10} tasks_executed \d+\n", lines[1])
    assert lines[2] == "=== TASKS === {'queued': 0, 'processing': 0, 'success': 3, 'failed': 0}\n"


def test_waiting_for_the_end(shell: Shell) -> None:
    shell.worker("w1", "shop")
    good = shell.yadtq("submit", "shop.total", "[[19.9, 5.0, 5.0], 0.1]", "--wait")
    assert re.fullmatch(rf"Task ID: {ID}\nStatus: success\nResult: 26.91\n", good.stdout)
    assert (good.returncode, good.stderr) == (0, "")
    bad = shell.yadtq("submit", "shop.total", "[5]", "--wait")
    assert "Status: failed\nError: InvalidArguments: " in bad.stdout
    assert (bad.returncode, bad.stderr) == (1, "")
    assert shell.yadtq("query", id_in(bad)).returncode == 0
    assert "prices: expected array, got int" in shell.yadtq("query", id_in(bad), "--full").stdout
    late = shell.yadtq("submit", "sleep", "[60]", "--wait", "--timeout", "200ms")
    assert (late.returncode, late.stderr.count("\n")) == (5, 1)
    assert "it goes on" in late.stderr
    record = json.loads(shell.yadtq("submit", "add", "[1, 2]", "--wait", "--json").stdout)
    assert list(record) == [
        "task_id",
        "task",
        "status",
        "result",
        "error",
        "worker_id",
        "attempt",
        "submitted_at",
        "started_at",
        "finished_at",
        "queue",
        "progress",
    ]
    assert (record["task"], record["status"], record["result"], record["error"]) == ("add", "success", 3, None)
    assert (record["worker_id"], record["attempt"], record["queue"]) == ("w1", 1, "default")


def test_unknown_tasks_are_refused_unless_a_worker_knows_them(shell: Shell) -> None:
    refused = shell.yadtq("submit", "shop.totl", "[[1]]")
    assert refused.returncode == 2
    assert "unknown task 'shop.totl'; known: add, " in refused.stderr
    shell.worker("w1", "shop")
    assert "did you mean 'shop.total'?" in shell.yadtq("submit", "shop.totl", "[[1]]").stderr
    assert shell.yadtq("submit", "shop.total", "[[1.5]]", "--wait").returncode == 0
    task_id = id_in(shell.yadtq("submit", "shop.totl", "[[1]]", "--unchecked"))
    wait_until(lambda: bool(shell.record(task_id).note), "the worker has requeued it with a reason", 60)
    assert "Note: " in shell.yadtq("query", task_id).stdout


def test_a_batch_with_bad_lines_runs_the_good_ones_and_exits_2(shell: Shell) -> None:
    shell.worker("w1")
    lines = [
        '{"task": "add", "args": [1, 2]}',
        "no json",
        "",
        f'{{"task": "sub", "args": [5, 2], "id": "{UNKNOWN_ID}"}}\r',
        '{"task": "mul", "args": ["a"]}',
        '{"task": "add", "args": [], "quue": "x"}',
        '{"task": "addd"}',
    ]
    done = shell.yadtq("submit", "--batch", "-", "--json", stdin="\n".join(lines))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 2
    assert [(answer["line"], "task_id" in answer) for answer in answers] == [
        (1, True),
        (2, False),
        (4, True),
        (5, False),
        (6, False),
        (7, False),
    ]
    assert answers[2]["task_id"] == UNKNOWN_ID
    for answer in (answers[0], answers[2]):
        wait_until(ended(shell, answer["task_id"]), f"line {answer['line']} has ended", 60)
        assert "Result: 3\n" in shell.yadtq("query", answer["task_id"]).stdout


def test_thousands_at_once(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "many.ndjson"
    file.write_text("".join(f'{{"task": "add", "args": [{n}, 1]}}\n' for n in range(6000)))
    done = shell.yadtq("submit", "--batch", str(file))
    assert done.returncode == 0
    assert len(set(done.stdout.splitlines())) == 6000
    assert json.loads(shell.yadtq("monitor", "--once", "--json").stdout)["tasks"]["queued"] == 6000


def test_cancelling(shell: Shell) -> None:
    waiting = id_in(shell.yadtq("submit", "add", "[1]", "--delay", "1h"))
    assert shell.yadtq("cancel", waiting).stdout == f"{waiting}: cancelled; it had not started\n"
    assert "Status: cancelled\n" in shell.yadtq("query", waiting).stdout
    assert shell.yadtq("cancel", waiting).stdout == f"{waiting}: had ended already\n"
    shell.worker("w1")
    running = id_in(shell.yadtq("submit", "slow_task", "[60]"))
    wait_until(lambda: shell.record(running).status is Status.PROCESSING, "slow_task runs", 40)
    assert "Status: processing" in shell.yadtq("query", running).stdout
    assert shell.yadtq("cancel", running).stdout == f"{running}: running; it was asked to stop\n"
    followed = shell.yadtq("query", running, "--follow")
    assert "Status: cancelled\n" in followed.stdout


def test_ids_that_are_not_known(shell: Shell) -> None:
    for command in ("query", "cancel"):
        done = shell.yadtq(command, UNKNOWN_ID)
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr == f"Error: no task {UNKNOWN_ID} (never submitted here, or its result has expired)\n"


def test_equal_keys_are_one_task(shell: Shell) -> None:
    first = shell.yadtq("submit", "add", "[1]", "--idempotency-key", "k")
    assert id_in(shell.yadtq("submit", "add", "[1]", "--idempotency-key", "k")) == id_in(first)
    other = shell.yadtq("submit", "add", "[2]", "--idempotency-key", "k")
    assert other.returncode == 2
    assert f"task ID {id_in(first)} exists already with another task or other arguments" in other.stderr


def test_following_shows_every_change_and_ends_with_the_task(shell: Shell) -> None:
    shell.worker("w1")
    task_id = id_in(shell.yadtq("submit", "slow_task", "[5]"))
    done = shell.yadtq("query", task_id, "-f", "--json")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["status"] for record in records][-1] == "success"
    assert len(records) >= 3
    assert (done.returncode, done.stderr) == (0, "")


def test_provision_makes_queues_and_grows_them(shell: Shell) -> None:
    refused = shell.yadtq("submit", "add", "[1]", "--queue", "slow")
    assert refused.returncode == 7
    assert shell.yadtq("provision", "-Q", "slow", "--partitions", "4").returncode == 0
    grown = shell.yadtq("provision", "-Q", "slow", "--partitions", "8")
    assert grown.stdout.endswith(": queue slow is ready with 8 partitions or more\n")
    assert shell.yadtq("provision", "-Q", "slow", "--partitions", "4").returncode == 7
    assert shell.yadtq("submit", "add", "[1]", "--queue", "slow").returncode == 0


def test_a_submit_that_is_interrupted_names_the_task(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"kafka://127.0.0.1:{mute.getsockname()[1]}"
        process = shell.start(*YADTQ, "submit", "add", "[1]", "--broker", address)
        mute.settimeout(60)
        connection, _ = mute.accept()  # it waits for an answer now, which never comes
        with connection:
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (6, "")
    assert re.match(rf"Error: outcome unknown for task {ID}: interrupted; it may still run: ", errors)
