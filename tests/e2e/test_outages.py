"""Kafka and Redis killed, stopped, cut off, filled and lied to, under load: nothing is lost, nothing runs twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from tests.e2e.site import Site, WorkerProcess, site
from tests.proxy import Proxy
from tests.waiting import wait_until
from yadtq_core import Status, YadtqError, call
from yadtq_core.errors import ConfigurationRefused, OutcomeUnknown
from yadtq_local import LocalKafka, LocalValkey

pytestmark = pytest.mark.timeout(300)

LEASE = 3.0
ENDED = (Status.SUCCESS, Status.FAILED, Status.CANCELLED)


class Load:
    """Submits squares from two threads, some 40 a second, and keeps what became of each."""

    def __init__(self, here: Site) -> None:
        self._here = here
        self._stop = threading.Event()
        self.outcomes: dict[str, str] = {}
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(2)]

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            task_id, began = str(uuid4()), time.monotonic()
            try:
                self._here.client.using(id=task_id).submit("site.square", 7)
                outcome = "accepted"
            except OutcomeUnknown:
                outcome = "unknown"
            except YadtqError:
                outcome = "refused"
            self.outcomes[task_id] = outcome
            self.slowest = max(self.slowest, time.monotonic() - began)

    def ids(self, outcome: str) -> list[str]:
        """The IDs of the submits that ended so."""
        return [task_id for task_id, each in self.outcomes.items() if each == outcome]

    def settle(self, timeout: float) -> None:
        """Stop; then every accepted task ends once, every unknown one once or never, and no refused one."""
        here = self._here
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        accepted, unknown = self.ids("accepted"), self.ids("unknown")

        def all_ended() -> bool:
            records = here.client.query(accepted)
            rest = [record for record in here.client.query(unknown) if record is not None]
            return all(r is not None and r.status in ENDED for r in records) and all(r.status in ENDED for r in rest)

        wait_until(all_ended, "every accepted task has ended", timeout)
        assert Counter(len(here.runs(task_id)) for task_id in accepted) == {1: len(accepted)}
        assert all(len(here.runs(task_id)) <= 1 for task_id in unknown)
        assert not any(here.runs(task_id) for task_id in self.ids("refused"))


@contextmanager
def load(here: Site) -> Iterator[Load]:
    """Submit while the block runs."""
    made = Load(here)
    for thread in made._threads:
        thread.start()
    try:
        yield made
    finally:
        made._stop.set()


def cpu_and_memory(worker: WorkerProcess) -> tuple[float, int]:
    """Return (seconds of CPU, resident bytes) of the worker's own process."""
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


def test_kafka_stopped_killed_and_its_topic_recreated(
    tmp_path: Path, redis_url: str, make_kafka: Callable[..., LocalKafka], namespace: str
) -> None:
    kafka = make_kafka()
    with site(tmp_path, kafka.url, redis_url, namespace, LEASE) as here:
        here.client.provision()
        (worker,) = here.workers("one", options=("-c", "1"))
        with load(here) as stopped:
            time.sleep(1.0)
            cpu, memory = cpu_and_memory(worker)
            os.kill(kafka.pid, signal.SIGSTOP)
            time.sleep(6.0)
            spent, grown = (now - before for now, before in zip(cpu_and_memory(worker), (cpu, memory), strict=True))
            os.kill(kafka.pid, signal.SIGCONT)
            time.sleep(0.5)
            stopped.settle(60)
        assert stopped.slowest < 20.0  # the 6 s of the stop, and nothing of the 30 s that a message is kept
        assert not stopped.ids("refused")
        assert spent < 2.0  # a heartbeat without an answer once made it spin, at 20 MB a second
        assert grown < 30_000_000
        with load(here) as killed:
            time.sleep(0.5)
            kafka.kill()
            time.sleep(1.0)
            kafka.start()
            time.sleep(1.0)
            killed.settle(90)
        _make_anew(here, kafka, f"yadtq.{namespace}.default")
        time.sleep(2.0)  # a message of these seconds may be passed over; the sweep publishes it again
        assert here.client.submit("site.square", 3).result(timeout=60) == 9
        assert worker.terminate(30) == 0, worker.log()


def _make_anew(here: Site, kafka: LocalKafka, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.url.removeprefix("kafka://"))
    admin.delete_topics([topic])
    admin.close()

    def provisioned() -> bool:
        try:
            here.client.provision()
        except YadtqError:
            return False
        return True

    wait_until(provisioned, "the topic exists again", 60)


def test_redis_killed_stopped_and_full(
    tmp_path: Path, kafka_url: str, make_valkey: Callable[..., LocalValkey], namespace: str
) -> None:
    valkey = make_valkey()
    with site(tmp_path, kafka_url, valkey.url, namespace, LEASE) as here:
        here.client.provision()
        here.workers("one", "two", options=("-c", "1"))
        with load(here) as made:
            time.sleep(0.5)
            valkey.kill()
            time.sleep(0.5)
            valkey.start()
            time.sleep(1.0)
            os.kill(valkey.pid, signal.SIGSTOP)
            time.sleep(1.5 * LEASE)
            os.kill(valkey.pid, signal.SIGCONT)
            time.sleep(0.5)
            made.settle(90)
        _fill(here, valkey)
        counts = here.client.counts()
        assert not counts.queues
        assert {row.stats.state for row in here.client.workers() if row.online} == {"online"}


def _fill(here: Site, valkey: LocalValkey) -> None:
    """A full Redis refuses new work and nothing else."""
    before = [here.client.submit("site.nap", 0.05) for _ in range(10)]
    flaky = here.client.submit("site.flaky", 1, 0.5)
    store = redis.Redis.from_url(valkey.url)
    store.config_set("maxmemory", 1_100_000)
    with pytest.raises(ConfigurationRefused, match="store is full"):
        here.client.submit("site.square", 1)
    handles = [*before, flaky]
    wait_until(lambda: all(h.status() in ENDED for h in handles), "what was there ends", 60)
    store.config_set("maxmemory", 0)
    assert here.client.submit("site.square", 2).result(timeout=60) == 4


def test_a_worker_whose_services_hang_ends_within_seconds(
    tmp_path: Path,
    make_kafka: Callable[..., LocalKafka],
    make_valkey: Callable[..., LocalValkey],
    namespace: str,
) -> None:
    kafka, valkey = make_kafka(), make_valkey()
    with site(tmp_path, kafka.url, valkey.url, namespace, LEASE) as here:
        here.client.provision()
        (worker,) = here.workers("one", options=("-c", "1"))
        for server in (kafka, valkey):
            os.kill(server.pid, signal.SIGSTOP)
        time.sleep(2.0)
        began = time.monotonic()
        assert worker.terminate(60) == 0, worker.log()
        assert time.monotonic() - began < 20.0
        assert "Traceback" not in worker.log()
        for server in (kafka, valkey):  # or the client's close waits for them
            os.kill(server.pid, signal.SIGCONT)


def test_a_bad_network_to_redis_costs_repeats_at_most(
    tmp_path: Path, kafka_url: str, make_valkey: Callable[..., LocalValkey], namespace: str
) -> None:
    valkey = make_valkey(port=0)
    with (
        Proxy(int(valkey.url.rpartition(":")[2])) as proxy,
        site(tmp_path, kafka_url, valkey.url, namespace, LEASE) as here,
    ):
        here.client.provision()
        far = here.worker("far", "-c", "1", environment={"YADTQ_BACKEND": f"redis://127.0.0.1:{proxy.port}"})
        here.wait_online(far)
        here.wait_online(here.worker("near", "-c", "1"))
        handles = here.client.submit_many(call("site.nap", 0.02) for _ in range(60))
        proxy.resets = 0.1
        time.sleep(2.0)
        proxy.resets, proxy.latency = 0.0, 0.05
        handles += here.client.submit_many(call("site.nap", 0.02) for _ in range(60))
        time.sleep(1.0)
        proxy.latency = 0.0
        with proxy.losing_replies():
            handles += here.client.submit_many(call("site.nap", 0.02) for _ in range(60))
            time.sleep(LEASE)
        for handle in handles:
            handle.result(timeout=60)
        records = here.client.query([handle.id for handle in handles])
        for record in records:
            assert record is not None
            assert len(here.runs(record.id)) <= 1 + record.lost
        assert "bug" not in far.log()


def test_unreadable_messages_stop_no_task(here: Site, kafka_url: str, namespace: str) -> None:
    here.workers("one", options=("-c", "1", "--threads", "2"))
    topic = f"yadtq.{namespace}.default"
    servers = kafka_url.removeprefix("kafka://")
    twin = str(uuid4())
    wanted = f'{{"v":1,"id":"{twin}","task":"site.nap","args":[[0.2],{{}}],"hash":"x","queue":"default"}}'.encode()
    rubbish = _rubbish()
    producer = KafkaProducer(bootstrap_servers=servers, max_request_size=2_000_000, enable_idempotence=False)
    for number, body in enumerate([*rubbish, *[wanted] * 50, _of_a_newer_format()]):
        producer.send(topic, body, key=b"k" if body is None else None, partition=number % 8)
    producer.flush()
    producer.close()
    began = time.monotonic()
    flaky = here.client.submit("site.flaky", 1, 0.2)
    assert flaky.result(timeout=60) == 2
    assert time.monotonic() - began < 15.0  # unreadable messages do not stop the sweep
    consumer = KafkaConsumer(bootstrap_servers=servers)
    dead = TopicPartition(f"{topic}.dead", 0)
    wait_until(lambda: consumer.end_offsets([dead])[dead] == len(rubbish), "all rubbish is among the dead letters", 60)
    consumer.close()
    wait_until(lambda: here.runs(twin), "the twins have run")
    time.sleep(1.5)
    assert len(here.runs(twin)) == 1


def _rubbish() -> list[bytes | None]:
    odd = [b"not json", None, b"", b"{}", b"\xff\xfe\x00", b"[" * 900_000, b'{"v":true}', b'{"v":1e400,"id":"x"}']
    task_id = str(uuid4())
    fields: list[dict[str, Any]] = [
        {"id": 5},
        {"task": "../../x"},
        {"retries": 10**30},
        {"submitted_at": -5},
        {"headers": {"a": 1}},
        {"queue": "{x}"},
    ]
    whole: dict[str, Any] = {"v": 1, "id": task_id, "task": "site.square", "args": [[1], {}], "hash": "x"}
    odd += [_json(whole | {"queue": "default"} | each) for each in fields]
    return odd * 5


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _of_a_newer_format() -> bytes:
    return _json({"v": 99, "id": str(uuid4()), "what": "is to come"})


def test_thousands_of_failures_delay_no_retry(here: Site) -> None:
    here.workers("one", options=("-c", "2", "--threads", "8"))
    here.client.submit_many(call("site.broken") for _ in range(6_000))
    flaky = here.client.submit("site.flaky", 1, 0.5)
    wait_until(lambda: flaky.status() == Status.SCHEDULED, "the flaky one has failed once", 60)
    began = time.monotonic()
    assert flaky.result(timeout=60) == 2
    assert time.monotonic() - began < 15.0  # 200 dead letters a second would take 30


def test_children_killed_again_and_again(here: Site) -> None:
    (worker,) = here.workers("one", options=("-c", "2", "--threads", "2"))
    handles = here.client.submit_many(call("site.nap", 0.1) for _ in range(80))
    for number in range(25):
        time.sleep(0.15)
        children = worker.children()
        if children:
            os.kill(children[number % len(children)], signal.SIGKILL)
    wait_until(lambda: all(h.status() in ENDED for h in handles), "every task ends", 90)
    for handle in handles:
        record = handle.record()
        assert record.lost <= 4
        assert len(here.runs(handle.id)) <= 1 + record.lost
        assert record.status == Status.SUCCESS or record.lost == 4
    assert worker.terminate(30) == 0


def test_a_worker_started_with_its_output_closed(here: Site) -> None:
    command = f"exec {sys.executable} -m yadtq_core.cli worker site_tasks --id mute -c 1 <&- >&- 2>&-"
    process = subprocess.Popen(["sh", "-c", command], env=here.environment, cwd=here.folder)
    try:
        assert here.client.submit("site.square", 6).result(timeout=60) == 36
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
