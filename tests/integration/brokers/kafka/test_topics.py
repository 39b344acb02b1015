"""Topics are created by the settings, refused if they differ, and read at a given position."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from tests.integration.brokers.kafka.flow import Members
from tests.services import NOWHERE
from tests.waiting import wait_until
from yadtq_core.brokers.kafka import KafkaBroker, Tuning
from yadtq_core.errors import BrokerUnavailable, ConfigurationRefused
from yadtq_core.testing.contracts.broker_bed import messages, publish, step_until

Make = Callable[..., KafkaBroker]


def test_topics_are_made_as_the_settings_say(make_broker: Make, admin: KafkaAdminClient, namespace: str) -> None:
    make_broker(partitions=6, retention=3600.0).ensure(["default", "mail"], create=True)
    topic = f"yadtq.{namespace}.mail"
    counts = {found["name"]: len(found["partitions"]) for found in admin.describe_topics([topic, f"{topic}.dead"])}
    assert counts == {topic: 6, f"{topic}.dead": 1}
    alive, dead = _configs(admin, topic), _configs(admin, f"{topic}.dead")
    assert (alive["cleanup.policy"], alive["retention.ms"]) == ("delete", "3600000")
    assert dead["cleanup.policy"] == "compact"
    for config in (alive, dead):
        assert config["message.timestamp.type"] == "CreateTime"
        assert config["message.timestamp.after.max.ms"] == str(2**63 - 1)


def test_workers_that_start_together_make_them_once(make_broker: Make) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            make_broker().ensure(["default"], create=True)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_missing_topic_is_refused_at_once(make_broker: Make, namespace: str) -> None:
    """K12: not after the 60 s that a send to it would wait."""
    started = time.monotonic()
    with pytest.raises(ConfigurationRefused, match=f"topic yadtq.{namespace}.default does not exist.*yadtq provision"):
        make_broker().ensure(["default"], create=False)
    assert time.monotonic() - started < 30.0


def test_too_few_partitions_are_refused_with_the_command_to_run(make_broker: Make, namespace: str) -> None:
    """K11."""
    make_broker(partitions=1).ensure(["default"], create=True)
    with pytest.raises(ConfigurationRefused) as refused:
        make_broker(partitions=8).ensure(["default"], create=True)
    text = str(refused.value)
    assert f"yadtq.{namespace}.default has 1 partition, the settings ask for 8" in text
    assert "yadtq provision --partitions 8" in text


def test_more_partitions_are_fine(make_broker: Make) -> None:
    make_broker(partitions=6).ensure(["default"], create=True)
    make_broker(partitions=2).ensure(["default"], create=False)


def test_partitions_are_a_multiple_of_the_shards(make_broker: Make) -> None:
    broker = make_broker(partitions=5, shards=4)
    broker.ensure(["default"], create=True)
    make_broker(partitions=8, shards=4).ensure(["default"], create=False)
    with pytest.raises(ConfigurationRefused, match="10 partitions cannot be spread over 4 shards"):
        broker.grow(["default"], 10)


def test_more_replicas_than_brokers_are_refused(make_broker: Make) -> None:
    with pytest.raises(ConfigurationRefused, match=r"(?i)replication factor"):
        make_broker(replication=3).ensure(["default"], create=True)


def test_grow_gives_more_partitions_and_never_less(make_broker: Make) -> None:
    broker = make_broker(partitions=2)
    broker.ensure(["default"], create=True)
    broker.grow(["default", "new"], 6)
    make_broker(partitions=6).ensure(["default", "new"], create=False)
    with pytest.raises(ConfigurationRefused, match="has 6 partitions, and Kafka cannot take any away"):
        broker.grow(["default"], 4)


@pytest.mark.parametrize("call", ["ensure", "publish", "consumer", "grow"])
def test_an_address_without_an_answer_is_reported_in_time(make_broker: Make, call: str) -> None:
    address = f"kafka://{NOWHERE}"
    broker = make_broker(broker=address, tuning=Tuning(reach=0.5))
    calls: dict[str, Callable[[], object]] = {
        "ensure": lambda: broker.ensure(["default"], create=True),
        "publish": lambda: broker.publish(messages(1), timestamp_ms=1),
        "consumer": lambda: broker.consumer(["default"], member="m"),
        "grow": lambda: broker.grow(["default"], 8),
    }
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=f"{address} cannot be reached.*is it running"):
        calls[call]()
    assert time.monotonic() - started < 4.0  # without the setting 5 and more


def test_a_failed_start_leaves_no_thread_behind(make_broker: Make) -> None:
    before = threading.active_count()
    broker = make_broker(broker=f"kafka://{NOWHERE}", tuning=Tuning(reach=0.3))
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            broker.grow(["default"], 8)
        with pytest.raises(BrokerUnavailable):
            broker.consumer(["default"], member="m")
    wait_until(lambda: threading.active_count() <= before, "the threads are gone")


def test_the_end_of_a_log_is_not_moved_by_what_was_deleted_before_it(
    broker: KafkaBroker, admin: KafkaAdminClient, namespace: str, members: Members
) -> None:
    publish(broker, messages(40))
    member = members.join(broker)
    step_until([member], lambda: len(member.read) == 40, "all are polled")
    admin.delete_records({TopicPartition(f"yadtq.{namespace}.default", 1): 3})
    assert member.offsets.ends(sorted(member.owned)) == dict.fromkeys(member.owned, 10)


def _configs(admin: KafkaAdminClient, topic: str) -> dict[str, Any]:
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    return {name: config["value"] for name, config in found["topic"][topic].items()}
