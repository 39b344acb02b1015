"""The client on a real Kafka and a real Redis."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from typing import Any

import msgspec
import pytest

from tests.integration.client.worker import Worker
from tests.waiting import wait_until
from yadtq_core import (
    CancelCode,
    Client,
    ConfigurationRefused,
    Handle,
    IdConflict,
    Status,
    TaskCancelled,
    WaitTimeout,
    call,
)
from yadtq_core.plugin import open_broker
from yadtq_core.settings import Settings


def test_a_task_is_submitted_run_and_waited_for(client: Client, worker: Worker) -> None:
    handle = client.using(headers={"trace": "7"}, retries=2).submit("t.double", 21)
    record = handle.record()
    assert (record.task, record.status, record.queue) == ("t.double", Status.QUEUED, "default")
    wait_until(lambda: handle.record().position, "the position is confirmed behind the caller")
    threading.Timer(0.2, worker.run, (1,)).start()
    assert handle.result(timeout=60) == 42
    (message,) = worker.seen
    assert (message.id, message.headers, message.retries) == (handle.id, {"trace": "7"}, 2)
    assert message.submitted_at_ms == round(record.submitted_at * 1000)
    assert client.query([handle.id])[0] == handle.record()
    assert client.counts().total("success") == 1


def test_many_are_submitted_confirmed_run_and_pushed(client: Client, worker: Worker) -> None:
    handles = client.submit_many(call("t.double", number) for number in range(3000))
    records = client.query([handle.id for handle in handles])
    assert {record.status for record in records if record} == {Status.QUEUED}
    wait_until(lambda: all(r and r.position for r in client.query([h.id for h in handles])), "all are confirmed")
    threading.Thread(target=worker.run, args=(3000,)).start()
    ended = client.wait_all(handles, timeout=90)
    assert [msgspec.json.decode(r.result) for r in ended if r and r.result] == [2 * number for number in range(3000)]
    assert len({message.id for message in worker.seen}) == len(worker.seen) == 3000


def test_the_same_id_again(client: Client, worker: Worker) -> None:
    again = client.using(idempotency_key="order 7")
    handle = again.submit("t.double", 1)
    assert again.submit("t.double", 1) == handle
    with pytest.raises(IdConflict):
        again.submit("t.double", 2)
    worker.run(1)
    assert again.submit("t.double", 1).result(timeout=30) == 2
    assert {message.id for message in worker.seen} == {handle.id}


def test_delayed_and_cancelled(client: Client) -> None:
    handle = client.using(delay=3600).submit("t.double", 1)
    record = handle.record()
    assert record.status is Status.SCHEDULED
    assert record.due_at is not None
    assert record.due_at - record.submitted_at == pytest.approx(3600, abs=0.01)
    threading.Timer(0.2, handle.cancel, ("not needed",)).start()
    with pytest.raises(TaskCancelled):
        handle.result(timeout=30)
    assert handle.cancel() is CancelCode.ENDED


def test_a_queue_without_topic_is_refused_before_anything_is_written(client: Client) -> None:
    with pytest.raises(ConfigurationRefused, match="yadtq provision"):
        client.using(queue="nowhere").submit("t.double", 1)
    assert sum(client.counts().total(status) for status in Status) == 0
    assert client.using(queue="slow").submit("t.double", 1).record().queue == "slow"


@pytest.fixture(params=["kafka_url", "streams"])
def broker_url(request: pytest.FixtureRequest, redis_url: str) -> str:
    """The address of Kafka, then that of the streams beside the records."""
    if request.param == "streams":
        return redis_url.replace("://", "+streams://", 1)
    url: str = request.getfixturevalue(request.param)
    return url


def test_the_first_submit_creates_default_and_the_queues_of_the_settings(
    broker_url: str, redis_url: str, namespace: str
) -> None:
    with Client.connect(broker_url, redis_url, namespace=namespace, queues=["slow"], partitions=3) as client:
        with pytest.raises(ConfigurationRefused, match="yadtq provision"):
            client.using(queue="nowhere").submit("t.double", 1)
        assert client.submit("t.double", 1).status() is Status.QUEUED
        assert asyncio.run(client.using(queue="slow").asubmit("t.double", 1)).status() is Status.QUEUED
        broker = open_broker(client.settings)
        broker.ensure(["default", "slow"], create=False)
        broker.close(1.0)


def test_threads_and_coroutines_share_one_client(client: Client) -> None:
    found: list[Handle[Any]] = []

    def submits() -> None:
        for number in range(50):
            found.append(client.submit("t.double", number))

    async def main() -> list[Handle[Any]]:
        return await asyncio.gather(*(client.asubmit("t.double", number) for number in range(100)))

    threads = [threading.Thread(target=submits) for _ in range(8)]
    for thread in threads:
        thread.start()
    found += asyncio.run(main())
    for thread in threads:
        thread.join(30)
    assert len(found) == 500
    assert {record.status for record in client.query([handle.id for handle in found]) if record} == {Status.QUEUED}


def test_coroutines_are_pushed_their_results(client: Client, worker: Worker) -> None:
    async def main() -> list[Any]:
        handles = [await client.asubmit("t.double", number) for number in range(20)]
        running = asyncio.create_task(asyncio.to_thread(worker.run, 20))
        with pytest.raises(WaitTimeout):
            await (await client.asubmit("t.double", 1)).aresult(timeout=0)
        results = await asyncio.gather(*(handle.aresult(timeout=60) for handle in handles))
        await running
        return results

    assert asyncio.run(main()) == [2 * number for number in range(20)]


def test_a_forked_process_submits_with_its_parents_client(client: Client) -> None:
    before = client.submit("t.double", 1)
    queue = multiprocessing.get_context("fork").SimpleQueue()

    def child() -> None:
        queue.put((before.status().value, client.submit("t.double", 2).id))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    status, task_id = queue.get()
    process.join(30)
    assert process.exitcode == 0
    assert status == "queued"
    assert client.handle(task_id).status() is Status.QUEUED
    assert client.submit("t.double", 3).status() is Status.QUEUED


def test_a_task_accepted_by_its_record_is_published_at_exit(client: Client, settings_of: dict[str, str]) -> None:
    code = """
from yadtq_core import Client
client = Client.connect(confirm="record")
print(*(client.submit("t.double", number).id for number in range(100)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings_of},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    records = client.query(done.stdout.split())
    assert len(records) == 100
    assert all(record is not None and record.position for record in records), "published and confirmed"


@pytest.fixture
def settings_of(client: Client) -> dict[str, str]:
    """The client's settings, as a program's environment."""
    settings: Settings = client.settings
    return {
        "YADTQ_BROKER": settings.broker,
        "YADTQ_BACKEND": settings.backend,
        "YADTQ_NAMESPACE": settings.namespace,
    }
