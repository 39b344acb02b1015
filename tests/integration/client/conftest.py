"""Fixtures of the client's tests on real services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.client.worker import Worker
from yadtq_core import Client


@pytest.fixture
def client(kafka_url: str, redis_url: str, namespace: str) -> Iterator[Client]:
    """A client of a namespace of the test's own, with its topics."""
    with Client.connect(kafka_url, redis_url, namespace=namespace) as made:
        made.provision(["default", "slow"])
        yield made


@pytest.fixture
def worker(client: Client) -> Iterator[Worker]:
    """Who ends the client's tasks."""
    made = Worker(client.settings)
    yield made
    made.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pass over sockets that kafka-python 3.0.12 leaves to the garbage collector when a connection is refused."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))
