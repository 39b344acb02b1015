"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import Site, site

LEASE = 3.0


@pytest.fixture
def lease() -> float:
    """Seconds; a test that must not wait for its end parametrizes it with a long one."""
    return LEASE


@pytest.fixture
def here(tmp_path: Path, kafka_url: str, redis_url: str, namespace: str, lease: float) -> Iterator[Site]:
    """A site on Kafka."""
    with site(tmp_path, kafka_url, redis_url, namespace, lease) as made:
        made.client.provision()
        yield made


@pytest.fixture(params=[pytest.param("kafka", marks=pytest.mark.kafka), "streams"])
def anywhere(
    request: pytest.FixtureRequest, tmp_path: Path, redis_url: str, namespace: str, lease: float
) -> Iterator[Site]:
    """A site on Kafka, and one on the streams of the Redis that keeps the records: for what must hold on either."""
    streams = redis_url.replace("://", "+streams://", 1)
    broker_url = request.getfixturevalue("kafka_url") if request.param == "kafka" else streams
    with site(tmp_path, broker_url, redis_url, namespace, lease) as made:
        made.client.provision()
        yield made
