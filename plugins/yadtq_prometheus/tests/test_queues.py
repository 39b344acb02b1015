"""The metrics of the queues: read from the backend at the scrape, and absent during an outage."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from plugins.yadtq_prometheus.tests.scraping import seen
from tests.waiting import wait_until
from yadtq_core import Client, call
from yadtq_core.interfaces import Counts
from yadtq_core.settings import Settings
from yadtq_local import LocalValkey
from yadtq_prometheus import queues
from yadtq_prometheus.queues import QueueCollector

QUEUE = "yadtq_queue_"


class Counted(Client):
    """A client that counts its calls."""

    asked = 0

    def counts(self) -> Counts:
        """Return the counts."""
        self.asked += 1
        return super().counts()


def settings(redis_url: str, namespace: str) -> Settings:
    streams = redis_url.replace("://", "+streams://", 1)
    return Settings(broker=streams, backend=redis_url, namespace=namespace, queues=("default", "empty"))


def collected(collector: QueueCollector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


def test_what_waits_and_what_is_for_later_is_shown_by_queue(redis_url: str, namespace: str) -> None:
    with Client(settings(redis_url, namespace)) as client:
        client.provision(["default", "slow"])
        client.submit_many(call("nobody.knows") for _ in range(3))
        client.using(queue="slow").submit("nobody.knows")
        client.using(delay=1000).submit("nobody.knows")
        client.cancel([client.using(queue="slow").submit("nobody.knows").id])
        told = seen(collected(QueueCollector(lambda: client, ("default", "empty"), 10)))
        shown = {
            (name.removeprefix(QUEUE), *dict(labels).values()): value
            for (name, labels), value in told.samples.items()
            if name.startswith(QUEUE)
        }
        assert shown == {
            ("ready", "default"): 3,
            ("ready", "slow"): 1,
            ("ready", "empty"): 0,
            ("running", "default"): 0,
            ("running", "slow"): 0,
            ("running", "empty"): 0,
            ("scheduled", "default"): 1,
            ("scheduled", "slow"): 0,
            ("scheduled", "empty"): 0,
        }
        assert told.value("yadtq_backend_up") == 1
        assert told.value("yadtq_records_ended_total", status="cancelled") == 1
        assert told.value("yadtq_records_ended_total", status="failed") == 0


def test_queues_past_the_limit_are_added_up(redis_url: str, namespace: str) -> None:
    with Client(settings(redis_url, namespace)) as client:
        names = [f"queue{number}" for number in range(5)]
        client.provision(names)
        client.submit_many(call("nobody.knows").using(queue=name) for name in names)
        registry = collected(QueueCollector(lambda: client, ("default",), 3))
        told = seen(registry)
        assert told.value("yadtq_queue_ready", queue="queue0") == 1
        assert told.value("yadtq_queue_ready", queue="other") == 3
        assert {dict(labels)["queue"] for name, labels in told.samples if name == "yadtq_queue_ready"} == {
            "default",
            "queue0",
            "queue1",
            "other",
        }


def test_scrapes_within_a_second_ask_once(redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert queues.CACHE_SECONDS >= 1
    monkeypatch.setattr(queues, "CACHE_SECONDS", 1000.0)
    with Counted(settings(redis_url, namespace)) as client:
        registry = collected(QueueCollector(lambda: client, ("default",), 10))
        assert client.asked == 0, "a registration reads nothing"
        first, second = seen(registry), seen(registry)
        assert first.samples == second.samples
        assert client.asked == 1
        monkeypatch.setattr(queues, "CACHE_SECONDS", 0.0)
        seen(registry)
        assert client.asked == 2


def test_a_backend_that_is_away_is_said_so_until_it_is_back(
    make_valkey: Callable[..., LocalValkey],
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(queues, "CACHE_SECONDS", 0.0)
    server = make_valkey(config={"appendfsync": "always"})
    with Client(settings(server.url, namespace)) as client:
        client.provision(["default"])
        client.submit("nobody.knows")
        registry = collected(QueueCollector(lambda: client, ("default",), 10))
        assert seen(registry).value("yadtq_queue_ready", queue="default") == 1
        server.kill()
        for _ in range(3):
            away = seen(registry)
            assert away.names() == {"yadtq_backend_up"}
            assert away.value("yadtq_backend_up") == 0
        told = [one for one in caplog.records if one.name == "yadtq.prometheus"]
        assert len(told) == 1
        assert told[0].levelno == logging.WARNING
        server.start()
        back = seen(registry)
        assert back.value("yadtq_backend_up") == 1
        assert back.value("yadtq_queue_ready", queue="default") == 1


def test_a_backend_that_hangs_is_away_too(make_valkey: Callable[..., LocalValkey], namespace: str) -> None:
    server = make_valkey()
    with Client(settings(server.url, namespace)) as client:
        client.counts()
        registry = collected(QueueCollector(lambda: client, ("default",), 10))
        os.kill(server.pid, signal.SIGSTOP)
        begun = time.monotonic()
        assert seen(registry).samples == {("yadtq_backend_up", ()): 0}
        assert time.monotonic() - begun < 60
        os.kill(server.pid, signal.SIGCONT)
        wait_until(lambda: seen(registry).value("yadtq_backend_up") == 1, "the backend is back", 60)


def test_a_worker_that_starts_while_the_backend_is_away_shows_it_and_tries_again(namespace: str) -> None:
    nowhere = settings("redis://127.0.0.1:1", namespace)
    collector = QueueCollector(lambda: Client(nowhere), nowhere.queues, 10)
    assert seen(collected(collector)).samples == {("yadtq_backend_up", ()): 0}
    collector.close()
    assert seen(collected(collector)).samples == {("yadtq_backend_up", ()): 0}
