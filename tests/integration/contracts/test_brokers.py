"""Every broker of the core keeps the promises of the seam."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.backends.redis.bed import Bed
from tests.services import NOWHERE
from yadtq_core.brokers import kafka
from yadtq_core.brokers.kafka import Tuning
from yadtq_core.interfaces import Broker
from yadtq_core.settings import Settings
from yadtq_core.testing import BrokerContract

NOBODY = f"kafka://{NOWHERE}"


def streams(url: str) -> str:
    """Return the address of a Redis's streams."""
    return url.replace("://", "+streams://", 1)


def cleaned(url: str, namespace: str) -> Iterator[Settings]:
    """Yield the settings of a namespace's streams; remove its keys afterwards."""
    yield Settings(broker=streams(url), backend=url, namespace=namespace)
    bed = Bed(url, namespace)
    bed.lose_everything()
    bed.close()


class TestKafka(BrokerContract):
    def open(self, settings: Settings) -> Broker:
        return kafka.open(settings, Tuning(reach=0.5)) if settings.broker == NOBODY else super().open(settings)

    @pytest.fixture
    def settings(self, kafka_url: str, namespace: str) -> Settings:
        return Settings(broker=kafka_url, namespace=namespace, partitions=4)

    @pytest.fixture
    def unreachable(self, namespace: str) -> Settings:
        return Settings(broker=NOBODY, namespace=namespace)


class TestStreamsOnValkey(BrokerContract):
    @pytest.fixture
    def settings(self, redis_url: str, namespace: str) -> Iterator[Settings]:
        yield from cleaned(redis_url, namespace)

    @pytest.fixture
    def unreachable(self, namespace: str) -> Settings:
        url = f"redis://{NOWHERE}"
        return Settings(broker=streams(url), backend=url, namespace=namespace)


class TestStreamsOnRedis(BrokerContract):
    @pytest.fixture
    def settings(self, redis_server_url: str, namespace: str) -> Iterator[Settings]:
        yield from cleaned(redis_server_url, namespace)


class TestMemory(BrokerContract):
    @pytest.fixture
    def settings(self, namespace: str) -> Settings:
        return Settings(broker="memory://", backend="memory://", namespace=namespace)
