"""A published message is in the queue once, at the position that was returned."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from yadtq_core.brokers.kafka import KafkaBroker, Tuning
from yadtq_core.errors import BrokerUnavailable
from yadtq_core.model import Outgoing, new_id, shard_of
from yadtq_core.testing.contracts.broker_bed import message, messages, now_ms, publish
from yadtq_local import LocalKafka

Make = Callable[..., KafkaBroker]


def test_partitions_get_equal_shares(broker: KafkaBroker) -> None:
    shares = Counter(position.partition(":")[0] for position in publish(broker, messages(400)))
    assert shares == {str(number): 100 for number in range(4)}


def test_a_message_goes_to_a_partition_of_its_shard(make_broker: Make) -> None:
    broker = make_broker(shards=4, partitions=8)
    broker.ensure(["default"], create=True)
    sent = messages(400)
    for one, position in zip(sent, publish(broker, sent), strict=True):
        assert int(position.partition(":")[0]) % 4 == shard_of(one.id, 4)


def test_a_message_over_the_limit_is_refused_and_its_neighbours_are_not(broker: KafkaBroker) -> None:
    publication = broker.publish([*messages(1), message(new_id(), padding=1_100_000)], timestamp_ms=now_ms())
    positions = publication.wait(30.0)
    assert positions[0] is not None
    assert positions[1] is None
    assert list(publication.errors) == [1]
    assert "1,100," in publication.errors[1]
    assert "the limit is 1,048,576" in publication.errors[1]


def test_a_message_over_its_topics_own_limit_is_refused(
    broker: KafkaBroker, admin: KafkaAdminClient, namespace: str
) -> None:
    topic = f"yadtq.{namespace}.default"
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "20000"})])
    publication = broker.publish([message(new_id(), padding=50_000)], timestamp_ms=now_ms())
    assert publication.wait(30.0) == [None]
    assert "more than max.message.bytes of its topic" in publication.errors[0]


def test_the_time_of_a_message_is_the_given_one(broker: KafkaBroker, admin: KafkaAdminClient, namespace: str) -> None:
    """A broker whose clock is a day behind must take it too (faults.md, K20)."""
    tomorrow = now_ms() + 86_400_000
    (position,) = broker.publish(messages(1), timestamp_ms=tomorrow).wait(30.0)
    assert position is not None
    record = _record(admin, f"yadtq.{namespace}.default", position)
    assert record.timestamp == tomorrow


def test_threads_share_a_broker(broker: KafkaBroker) -> None:
    found: list[str] = []

    def work() -> None:
        for _ in range(10):
            found.extend(publish(broker, messages(50)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 2000
    assert broker.unacknowledged() == 0


def test_no_more_than_the_limit_waits_for_its_acknowledgement(
    make_kafka: Callable[..., LocalKafka], make_broker: Make
) -> None:
    """K18: with the broker away a submit waits for a bounded time, then says so."""
    server = make_kafka()
    broker = make_broker(broker=server.url, tuning=Tuning(outstanding=300), submit_timeout=0.5)
    broker.ensure(["default"], create=True)
    publish(broker, messages(10))
    server.kill()
    waiting = broker.publish(messages(250), timestamp_ms=now_ms())
    assert broker.unacknowledged() == 250
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="250 messages wait"):
        broker.publish(messages(100), timestamp_ms=now_ms())
    assert 0.4 < time.monotonic() - started < 4.0  # without the setting 5
    assert waiting.wait(0.1) == [None] * 250
    assert not waiting.errors
    started = time.monotonic()
    broker.close(0.5)
    assert time.monotonic() - started < 15.0  # it does not wait for the 30 s that a message is kept


def test_dead_letters_are_keyed_by_id_and_taken_back_by_an_empty_one(
    broker: KafkaBroker, admin: KafkaAdminClient, namespace: str
) -> None:
    (one,) = messages(1)
    positions = broker.publish_dead([one, Outgoing(one.id, one.queue, b"")], timestamp_ms=now_ms()).wait(30.0)
    topic = f"yadtq.{namespace}.default.dead"
    letter, taken_back = (_record(admin, topic, position) for position in positions if position)
    assert (letter.key, letter.value) == (one.id.encode(), one.body)
    assert (taken_back.key, taken_back.value) == (one.id.encode(), None)


def _record(admin: KafkaAdminClient, topic: str, position: str) -> Any:
    """Read one record with a consumer of kafka-python's own."""
    number, _, offset = position.partition(":")
    partition = TopicPartition(topic, int(number))
    consumer = KafkaConsumer(bootstrap_servers=admin.config["bootstrap_servers"])
    try:
        consumer.assign([partition])
        consumer.seek(partition, int(offset))
        found = consumer.poll(timeout_ms=30_000, max_records=1)
        return found[partition][0]
    finally:
        consumer.close()
