"""The local Kafka and Valkey answer, keep their data through a crash, and end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from tests.waiting import wait_until
from yadtq_core.errors import LocalStackError
from yadtq_local import LocalKafka, LocalValkey
from yadtq_local.ports import free_port

pytestmark = pytest.mark.slow

STARTS_AND_WAITS = """
import sys
from pathlib import Path
from yadtq_local import LocalKafka, LocalValkey

server = {"kafka": LocalKafka, "valkey": LocalValkey}[sys.argv[1]](Path(sys.argv[2]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


def test_a_valkey_answers_on_a_socket_that_only_its_user_reaches(
    make_valkey: Callable[..., LocalValkey],
) -> None:
    valkey = make_valkey()
    assert valkey.url.startswith("unix:///")
    path = Path(valkey.url.removeprefix("unix://"))
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o077 == 0
    with redis.Redis.from_url(valkey.url) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_path_too_long_for_a_socket_means_a_loopback_port(tmp_path: Path) -> None:
    with LocalValkey(tmp_path / ("long" * 30)) as valkey:
        assert valkey.url.startswith("redis://127.0.0.1:")
        with redis.Redis.from_url(valkey.url) as client:
            assert client.ping()


@pytest.mark.parametrize("port", [None, 0], ids=["socket", "port"])
def test_a_valkey_that_was_killed_comes_back_where_it_was_with_its_data(
    make_valkey: Callable[..., LocalValkey], port: int | None
) -> None:
    valkey = make_valkey(port=port)
    url = valkey.url
    with redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
    valkey.kill()
    assert not valkey.running
    valkey.start()
    assert valkey.url == url
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"


def test_configuration_is_passed_on_and_a_stop_is_idempotent(make_valkey: Callable[..., LocalValkey]) -> None:
    valkey = make_valkey(aof=False, config={"maxmemory": "50mb"})
    with redis.Redis.from_url(valkey.url) as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(50 * 1024 * 1024)}
        assert client.config_get("appendonly") == {"appendonly": "no"}
    valkey.stop()
    valkey.stop()
    with pytest.raises(LocalStackError, match="not running"):
        _ = valkey.pid


def test_two_servers_never_share_a_folder(make_valkey: Callable[..., LocalValkey]) -> None:
    valkey = make_valkey()
    with pytest.raises(LocalStackError, match="use another folder"):
        LocalValkey(valkey.folder).start()
    with redis.Redis.from_url(valkey.url) as client:
        assert client.ping()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=r"(?s)ended while it started.*no-such-setting"):
        LocalValkey(tmp_path, config={"no-such-setting": "1"}).start()


def test_a_kafka_that_was_killed_comes_back_where_it_was_with_its_data(
    make_kafka: Callable[..., LocalKafka],
) -> None:
    kafka = make_kafka()
    bootstrap = kafka.url.removeprefix("kafka://")
    create_topic(bootstrap, "kept")
    send(bootstrap, "kept", b"before")
    kafka.kill()
    kafka.start()
    assert kafka.url == f"kafka://{bootstrap}"
    send(bootstrap, "kept", b"after")
    assert read(bootstrap, "kept", 2) == [b"before", b"after"]


def test_a_listener_for_a_proxy_tells_its_clients_the_proxys_port(
    make_kafka: Callable[..., LocalKafka],
) -> None:
    proxy = free_port()  # the broker's own other port stands in for a proxy
    kafka = make_kafka(port=proxy, advertised={"PROXY": proxy})
    assert kafka.ports["PROXY"] != proxy
    client = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{kafka.ports['PROXY']}")
    try:
        brokers = client.describe_cluster()["brokers"]
    finally:
        client.close()
    assert [broker["port"] for broker in brokers] == [proxy]


@pytest.mark.parametrize("kind", ["valkey", "kafka"])
def test_a_server_ends_when_its_parent_is_killed(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("make_kafka" if kind == "kafka" else "make_valkey")()  # skips if there is none
    command = [sys.executable, "-c", STARTS_AND_WAITS, kind, str(tmp_path / "orphan")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert is_alive(server)
        parent.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_alive(server), f"the {kind} of a killed parent ends")


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def create_topic(bootstrap: str, topic: str) -> None:
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        client.create_topics([NewTopic(topic, 1, 1)])
    finally:
        client.close()


def send(bootstrap: str, topic: str, value: bytes) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    try:
        producer.send(topic, value).get(timeout=30)
    finally:
        producer.close()


def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """Return the first `count` values of the topic's one partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        values: list[bytes] = []

        def enough() -> bool:
            values.extend(record.value for record in consumer.poll(200).get(partition, []))
            return len(values) >= count

        wait_until(enough, f"{count} records of {topic}")
        return values
    finally:
        consumer.close()
