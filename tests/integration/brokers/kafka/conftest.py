"""Brokers on a real Kafka, each with a namespace of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from kafka import KafkaAdminClient

from tests.integration.brokers.kafka.flow import Members
from yadtq_core.brokers import kafka
from yadtq_core.settings import Settings

CLOSE_SECONDS = 5.0


@pytest.fixture
def make_broker(kafka_url: str, namespace: str) -> Iterator[Callable[..., kafka.KafkaBroker]]:
    """Open a broker in the test's namespace; takes a `tuning` and settings (4 partitions unless told)."""
    with ExitStack() as at_end:

        def make(*, tuning: kafka.Tuning | None = None, **settings: Any) -> kafka.KafkaBroker:
            given: dict[str, Any] = {"broker": kafka_url, "namespace": namespace, "partitions": 4} | settings
            broker = kafka.open(Settings(**given), tuning)
            at_end.callback(broker.close, CLOSE_SECONDS)
            return broker

        yield make


@pytest.fixture
def broker(make_broker: Callable[..., kafka.KafkaBroker]) -> kafka.KafkaBroker:
    """A broker whose queue `default` exists, with 4 partitions."""
    made = make_broker()
    made.ensure(["default"], create=True)
    return made


@pytest.fixture
def members() -> Iterator[Members]:
    """Members of the group, closed at the end."""
    with Members() as made:
        yield made


@pytest.fixture
def admin(kafka_url: str) -> Iterator[KafkaAdminClient]:
    """kafka-python's own admin client, to look behind the broker's back."""
    client = KafkaAdminClient(bootstrap_servers=kafka_url.removeprefix("kafka://"))
    yield client
    client.close()
