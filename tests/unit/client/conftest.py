"""Fixtures of the client's unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.client.memory import Installation
from yadtq_core import Client


@pytest.fixture
def place() -> Iterator[Installation]:
    """A backend and a broker in memory, whose clients are closed at the end."""
    made = Installation()
    yield made
    made.broker.speak()
    for client in made.clients:
        client.close()


@pytest.fixture
def client(place: Installation) -> Client:
    """A client of `place`."""
    return place.client()
