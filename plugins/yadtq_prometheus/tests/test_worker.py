"""A real worker with its endpoint, a real backend, and `yadtq metrics`."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.yadtq_prometheus.tests.scraping import Scrape, scrape
from tests.e2e.site import WorkerProcess, site
from tests.waiting import wait_until
from yadtq_core import Client, InvalidSetting
from yadtq_prometheus import catalogue

ONLY = {"YADTQ_BLOCK_PLUGINS": "crypt,msgpack,opentelemetry,sentry", "YADTQ_PROMETHEUS_PORT": "0"}
LEASE = 3.0


def url_of(worker: WorkerProcess) -> str:
    """Return a worker's endpoint, once it has logged it."""
    wait_until(lambda: "metrics: http" in worker.log(), f"it opens its endpoint: {worker.log()}", 60)
    (url,) = re.findall(r"metrics: (http://127\.0\.0\.1:\d+/metrics)", worker.log())
    return str(url)


def test_two_workers_of_which_one_is_killed(tmp_path: Path, redis_url: str, namespace: str) -> None:
    streams = redis_url.replace("://", "+streams://", 1)
    with site(tmp_path, streams, redis_url, namespace, LEASE) as here:
        here.client.provision()
        first = here.worker("first", "-c", "1", environment=ONLY)
        here.wait_online(first)
        gate = tmp_path / "gate"
        held = [here.client.submit("site.held", str(gate)) for _ in range(3)]
        url = url_of(first)

        def busy() -> bool:
            told = scrape(url)
            return queue(told) == {"ready": 2, "running": 1} and told.value("yadtq_worker_running") == 1

        wait_until(busy, "one runs and two wait", 60)
        told = scrape(url)
        assert told.value("yadtq_tasks_started_total", task="site.held", queue="default") == 1
        assert told.value("yadtq_worker_free_slots") == 0
        assert (told.value("yadtq_worker_memory_bytes") or 0) > 1024 * 1024
        second = here.worker("second", "-c", "3", environment=ONLY)
        here.wait_online(second)
        first.kill()
        other = url_of(second)
        wait_until(lambda: queue(scrape(other)) == {"ready": 0, "running": 3}, "all three run in the second", 90)
        gate.touch()
        for handle in held:
            assert handle.result(timeout=60) == "second"
        wait_until(lambda: ended(scrape(other)) == 3, "three ends are counted", 60)
        last = scrape(other)
        assert last.value("yadtq_tasks_reclaimed_total", task="site.held", queue="default") == 1
        assert {one.name for one in (*catalogue.OF_WORKER, *catalogue.OF_QUEUES)} <= set(last.families)
        wait_until(lambda: scrape(other).value("yadtq_records_ended_total", status="success") == 3, "the records", 60)
        assert second.terminate(60) == 0, second.log()
        assert "Traceback" not in second.log()


def queue(told: Scrape) -> dict[str, float | None]:
    return {name: told.value(f"yadtq_queue_{name}", queue="default") for name in ("ready", "running")}


def ended(told: Scrape) -> float | None:
    return told.value("yadtq_tasks_finished_total", task="site.held", queue="default", status="success")


@pytest.fixture
def command(redis_url: str, namespace: str, unblocked: Callable[..., None]) -> list[str]:
    """`yadtq metrics` of a namespace with one waiting task."""
    unblocked("prometheus")
    streams = redis_url.replace("://", "+streams://", 1)
    with Client.connect(streams, redis_url, namespace=namespace) as client:
        client.provision()
        client.submit("nobody.knows")
    of = ["--broker", streams, "--backend", redis_url, "--namespace", namespace]
    return [sys.executable, "-m", "yadtq_core.cli", *of, "metrics"]


def test_the_command_serves_the_queues_without_a_worker(command: list[str]) -> None:
    with subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("metrics: http://127.0.0.1:"), line
            told = scrape(line.split()[1])
            assert queue(told) == {"ready": 1, "running": 0}
            assert told.value("yadtq_worker_running") is None
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stderr.read() == ""
        finally:
            process.kill()


def test_the_command_without_a_port_and_with_one_that_is_taken(command: list[str]) -> None:
    def told(*options: str) -> tuple[int, str]:
        done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=100, check=False)
        return done.returncode, done.stderr

    code = InvalidSetting.exit_code
    assert told() == (code, "Error: no port for the metrics: give --port, or set YADTQ_PROMETHEUS_PORT\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = f"127.0.0.1 port {port} cannot be opened: Address already in use; choose another by --port"
        assert told("--port", str(port)) == (code, f"Error: {line}\n")
