"""A whole worker and a client on Kafka and a store that is not Redis: the example's SQLite, by its plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import acme_sqlite
from tests.waiting import wait_until
from yadtq_core import Client, Status, call
from yadtq_core.model import WorkerIdentity
from yadtq_core.plugin import load_plugins, open_backend, open_broker
from yadtq_core.settings import Settings
from yadtq_core.worker.assembly import Assembly
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.worker import Worker


@pytest.fixture
def settings(kafka_url: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(broker=kafka_url, backend=f"sqlite://{tmp_path}", namespace=namespace, partitions=2, processes=1)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """A client whose tasks a worker in this process executes, on separate connections."""
    plugins = load_plugins(acme_sqlite)
    broker, backend = open_broker(settings), open_backend(settings, plugins)
    broker.ensure(settings.queues, create=True)
    executor = Executor(settings, ["tests.integration.chores"])
    executor.start()
    identity = WorkerIdentity("w", "i", "host", 1, 0.0)
    worker = Worker(Assembly(settings, identity, broker, backend, executor=executor, events=Events(plugins, identity)))
    worker.start()
    with Client(settings, plugins=plugins) as made:
        yield made
    worker.stop()
    wait_until(lambda: worker.all_done, "nothing runs")
    worker.close()


def test_tasks_run_once_each_on_a_third_party_store(client: Client) -> None:
    handles = client.submit_many(call("chores.add", number, 1) for number in range(300))
    assert [handle.result(timeout=60) for handle in handles] == [number + 1 for number in range(300)]
    records = client.query([handle.id for handle in handles])
    assert {(record.status, record.attempt) for record in records if record} == {(Status.SUCCESS, 1)}
    assert client.counts().ended == {"success": 300}


def test_a_running_task_is_cancelled(client: Client) -> None:
    handle = client.submit("chores.until_cancelled")
    wait_until(lambda: handle.status() == Status.PROCESSING, "it runs", 60.0)
    handle.cancel()
    wait_until(lambda: handle.status() == Status.CANCELLED, "it has stopped", 60.0)
