"""How the services look from each process: away, cut off, or losing what is sent."""

from __future__ import annotations

import random
from enum import Enum

from verification.simulation.strands import SimulatedProcess

QUICK = (0.0002, 0.003)
SLOW = (0.01, 0.4)
"""Seconds that a request or its answer is under way, in good weather and in bad."""


class Fate(Enum):
    """What becomes of one request."""

    ARRIVES = 0
    LOST = 1
    UNANSWERED = 2
    """Carried out; the reply is lost."""
    LATE = 3
    """Carried out after the sender has stopped waiting."""
    TWICE = 4
    """The connection was lost after it was carried out, and it is sent again."""


class Weather:
    """The state of both services' networks. `loss` is the share of requests that go wrong."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.store_away = False
        self.kafka_away = False
        self.cut_from_store: set[str] = set()
        self.cut_from_kafka: set[str] = set()
        self.store_loss = 0.0
        self.kafka_loss = 0.0

    def store_reached(self, process: SimulatedProcess) -> bool:
        """Whether the store hears this process now."""
        return not self.store_away and process.name not in self.cut_from_store

    def kafka_reached(self, process: SimulatedProcess) -> bool:
        """Whether the broker hears this process now."""
        return not self.kafka_away and process.name not in self.cut_from_kafka

    def store_fate(self) -> Fate:
        """Return what becomes of the next request to the store."""
        if self._rng.random() >= self.store_loss:
            return Fate.ARRIVES
        return self._rng.choice((Fate.LOST, Fate.UNANSWERED, Fate.UNANSWERED, Fate.LATE, Fate.TWICE))

    def delay(self) -> float:
        """Return how long a request or an answer is under way."""
        low, high = SLOW if self.store_loss and self._rng.random() < 0.2 else QUICK
        return self._rng.uniform(low, high)

    def patience(self) -> float:
        """Return after how long a client gives up one request."""
        return self._rng.uniform(0.02, 0.8)
