"""A worker's events as metrics of its endpoint; the worker is an engine."""

from __future__ import annotations

import logging
import re
import socket
import socketserver
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from plugins.yadtq_prometheus.tests.scraping import Scrape, scrape
from yadtq_core import Cancelled, InvalidSetting, Retry, task
from yadtq_core.interfaces import WorkerStats
from yadtq_core.testing import Engine
from yadtq_prometheus.plugin import PrometheusPlugin

FREE = {"port": 0}


@task(name="shop.pay", retries=1)
def pay(how: str) -> str:
    if how == "broken":
        raise ValueError(how)
    if how == "later":
        raise Retry("later", delay=5)
    if how == "cancelled":
        raise Cancelled
    return how


@pytest.fixture(autouse=True)
def _quick_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an endpoint notice within 10 ms that it is closed: the standard library looks every 0.5 s."""
    monkeypatch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.01,))


def opened(caplog: pytest.LogCaptureFixture, section: dict[str, Any], **settings: Any) -> tuple[Engine, str]:
    """Return an engine with the plugin, and its endpoint."""
    caplog.set_level(logging.INFO, "yadtq.prometheus")
    engine = Engine(PrometheusPlugin(), sections={"prometheus": section}, **settings)
    (url,) = re.findall(r"metrics: (\S+)", caplog.text)
    return engine, url


def test_runs_are_counted_by_task_queue_and_status(caplog: pytest.LogCaptureFixture) -> None:
    engine, url = opened(caplog, FREE, queues=("default", "slow"))
    with engine:
        for how in ("card", "card", "cash", "broken", "later", "cancelled"):
            engine.client.submit(pay, how)
        engine.client.using(queue="slow").submit(pay, "card")
        engine.run_until_idle()
        told = scrape(url)
    here = {"task": "shop.pay", "queue": "default"}
    assert told.value("yadtq_tasks_started_total", **here) == 8  # two of six are run twice
    ends = {status: told.value("yadtq_tasks_finished_total", **here, status=status) for status in STATUSES}
    assert ends == {"success": 3, "failed": 2, "scheduled": 2, "cancelled": 1}
    assert told.value("yadtq_task_run_seconds_count", **here) == 8
    assert told.value("yadtq_task_wait_seconds_count", **here) == 6
    assert told.value("yadtq_tasks_started_total", task="shop.pay", queue="slow") == 1
    assert not engine.hook_failures


STATUSES = ("success", "failed", "scheduled", "cancelled")


def test_a_wait_is_the_time_from_submit_to_the_first_run(caplog: pytest.LogCaptureFixture) -> None:
    engine, url = opened(caplog, {**FREE, "wait_buckets": [1, 60]})
    with engine:
        engine.client.submit(pay, "card")
        engine.run_until_idle()
        engine.client.submit(pay, "card")
        engine.advance(10)
        engine.run_until_idle()
        told = scrape(url)
    here = {"task": "shop.pay", "queue": "default"}
    assert told.value("yadtq_task_wait_seconds_sum", **here) == pytest.approx(10)
    counted = {le: told.value("yadtq_task_wait_seconds_bucket", **here, le=le) for le in ("1.0", "60.0", "+Inf")}
    assert counted == {"1.0": 1, "60.0": 2, "+Inf": 2}


def test_names_past_the_limit_are_counted_together(caplog: pytest.LogCaptureFixture) -> None:
    engine, url = opened(caplog, {**FREE, "max_names": 3})
    with engine:
        for number in range(20):

            @task(name=f"made.{number}")
            def made() -> None:
                pass

            engine.client.submit(made)
        engine.run_until_idle()
        told = scrape(url)
    counts = {
        dict(labels)["task"]: value for (name, labels), value in told.samples.items() if name.endswith("started_total")
    }
    assert counts == {"made.0": 1, "made.1": 1, "made.2": 1, "other": 17}


def test_a_heartbeat_shows_how_busy_the_worker_is(caplog: pytest.LogCaptureFixture) -> None:
    engine, url = opened(caplog, FREE)
    with engine:
        stats = WorkerStats("online", 9, running=3, slots=8, free=5, queues=("default",), tasks=(), memory=1234)
        engine.plugins.manager.notify("yadtq_heartbeat", worker=None, stats=stats)
        before = busy(scrape(url))
        engine.plugins.manager.notify("yadtq_worker_stopping", worker=None)
        after = busy(scrape(url))
        host, labels = "localhost", {"worker": "engine", "version": "0.1.0"}
        assert scrape(url).value("yadtq_worker_info", host=host, **labels) == 1
    assert before == {
        "running": 3,
        "slots": 8,
        "free_slots": 5,
        "memory_bytes": 1234,
        "stopping": 0,
        "heartbeats_total": 1,
    }
    assert after == {**before, "free_slots": 0, "stopping": 1}


def busy(told: Scrape) -> dict[str, float]:
    names = ("running", "slots", "free_slots", "memory_bytes", "stopping", "heartbeats_total")
    return {name: value for name in names if (value := told.value(f"yadtq_worker_{name}")) is not None}


def test_the_endpoint_closes_with_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    engine, url = opened(caplog, FREE)
    with engine:
        assert scrape(url).value("yadtq_worker_stopping") == 0
    port = int(re.findall(r":(\d+)/", url)[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_port_that_is_taken_is_logged_and_the_worker_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Engine(PrometheusPlugin(), sections={"prometheus": {"port": port}}) as engine:
            handle = engine.client.submit(pay, "card")
            engine.run_until_idle()
            assert handle.result(timeout=0) == "card"
            assert not engine.hook_failures
    (record,) = (one for one in caplog.records if one.name == "yadtq.prometheus")
    assert record.getMessage() == (
        f"no metrics of this worker: 127.0.0.1 port {port} cannot be opened: Address already in use; "
        "give each worker of a host its own (YADTQ_PROMETHEUS_PORT)"
    )


def test_without_a_port_nothing_is_opened_and_nothing_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "yadtq.prometheus")
    plugin = PrometheusPlugin()
    with Engine(plugin) as engine:
        engine.client.submit(pay, "card")
        engine.run_until_idle()
        kept = {name: value for name, value in vars(plugin).items() if name != "_settings"}
        assert set(kept.values()) == {None}, kept
    assert not [one for one in caplog.records if one.name == "yadtq.prometheus"]


@pytest.mark.slow
def test_the_library_is_not_loaded_where_there_is_no_port(unblocked: Callable[..., None]) -> None:
    unblocked("prometheus")
    code = (
        "import sys; from yadtq_core.plugin import load_plugins; from yadtq_core.settings import Settings; "
        "plugins = load_plugins(); plugins.configure(Settings()); "
        "assert 'yadtq_prometheus.plugin' in sys.modules; "
        "plugins.manager.notify('yadtq_worker_started', worker=None); "
        "assert not plugins.manager.failures; "
        "assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"port": 70000}, "port"),
        ({"prot": 9464}, "unknown setting prometheus.prot; did you mean 'port'?"),
        ({"run_buckets": [1, 1]}, "run_buckets takes one number or more, each larger than the one before"),
        ({"wait_buckets": []}, "wait_buckets takes one number or more"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(section: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidSetting, match=re.escape(text)):
        Engine(PrometheusPlugin(), sections={"prometheus": section})
