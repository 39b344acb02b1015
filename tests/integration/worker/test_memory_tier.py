"""The memory tier with a whole worker in this process: the same rules on the reference implementations."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.waiting import wait_until
from yadtq_core import Client, Status, call
from yadtq_core.brokers import memory
from yadtq_core.model import Outgoing, WorkerIdentity, new_id
from yadtq_core.plugin import load_plugins, open_backend, open_broker
from yadtq_core.settings import Settings
from yadtq_core.worker.assembly import Assembly
from yadtq_core.worker.events import Events
from yadtq_core.worker.executor import Executor
from yadtq_core.worker.worker import Worker

URL = "memory://"


@pytest.fixture
def lease() -> float:
    """Seconds; no run of a busy machine outlasts it."""
    return 30.0


@pytest.fixture
def settings(namespace: str, lease: float) -> Settings:
    """The settings of a new namespace."""
    return Settings(broker=URL, backend=URL, namespace=namespace, processes=1, claim_stale_seconds=lease)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    """A client whose tasks a worker in this process executes, in a separate child."""
    broker, backend = open_broker(settings), open_backend(settings)
    broker.ensure(settings.queues, create=True)
    executor = Executor(settings, ["tests.integration.chores"])
    executor.start()
    identity = WorkerIdentity("w", "i", "host", 1, 0.0)
    worker = Worker(
        Assembly(settings, identity, broker, backend, executor=executor, events=Events(load_plugins(), identity))
    )
    worker.start()
    with Client.connect(URL, URL, namespace=settings.namespace) as made:
        yield made
    worker.stop()
    wait_until(lambda: worker.all_done, "nothing runs")
    worker.close()


def test_tasks_run_once_each_and_are_waited_for(client: Client) -> None:
    handles = client.submit_many(call("chores.add", number, 1) for number in range(2000))
    assert [handle.result(timeout=60) for handle in handles] == [number + 1 for number in range(2000)]
    records = client.query([handle.id for handle in handles])
    assert {(record.status, record.attempt) for record in records if record} == {(Status.SUCCESS, 1)}


def test_cancel_reaches_a_running_task_of_the_memory_tier(client: Client) -> None:
    handle = client.submit("chores.until_cancelled")
    wait_until(lambda: handle.status() == Status.PROCESSING, "it runs")
    handle.cancel()
    wait_until(lambda: handle.status() == Status.CANCELLED, "it has stopped")
    assert client.counts().ended == {"cancelled": 1}


@pytest.mark.parametrize("lease", [1.0])
def test_an_unreadable_message_is_dead_lettered_and_a_newer_one_is_left(client: Client, settings: Settings) -> None:
    broker = memory.open(settings)
    newer = b'{"v":99,"id":"%b"}' % new_id().encode()
    broker.publish([Outgoing("x", "default", newer), Outgoing("y", "default", b"nonsense")], timestamp_ms=1)
    queues = broker._queues
    wait_until(lambda: list(queues.dead.values()) == [b"nonsense"], "the dead letter is there")
    wait_until(lambda: sum(map(len, queues.pending.values())) == 1, "it is settled")
    assert client.submit("chores.add", 1, 2).result(timeout=30) == 3
    time.sleep(2.5 * settings.claim_stale_seconds)  # it is delivered again after each lease, and never copied
    assert [entry.body for entry in queues.pending["default"].values()] == [newer]
    assert queues.waiting["default"] == {}
    assert len(queues.dead) == 1
