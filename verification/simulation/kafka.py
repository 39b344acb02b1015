"""A process's way to the modelled Kafka: `interfaces.Broker`, through the weather."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from verification.simulation.consumer import Consumer
from verification.simulation.history import short
from verification.simulation.log import Entry, Kafka, name_of
from verification.simulation.strands import Signal, SimulatedProcess
from verification.simulation.weather import Weather
from yadtq_core.errors import BrokerUnavailable, ConfigurationRefused
from yadtq_core.interfaces import Outgoing
from yadtq_core.model import Finding, Partition, shard_of

DELIVERY_SECONDS = 10.0
"""Seconds after which a producer drops a message."""
_AGAIN_SECONDS = 0.3


class Publication:
    """Messages on their way: `interfaces.Publication`."""

    def __init__(self, broker: Broker, count: int) -> None:
        self._broker = broker
        self.positions: list[str | None] = [None] * count
        self.open = count
        self.errors: Mapping[int, str] = {}
        self.news = Signal()

    def wait(self, timeout: float) -> Sequence[str | None]:
        """Return the position of each that was acknowledged."""
        loom = self._broker.process.loom
        until = loom.now + timeout
        while self.open and loom.now < until:
            loom.wait(until - loom.now, self.news)
        return list(self.positions)


class Broker:
    """One process's producer, and its questions. Not idempotent: an acknowledgement that is lost makes a copy."""

    replayable = True
    partitioned = False

    def __init__(
        self, kafka: Kafka, weather: Weather, process: SimulatedProcess, rng: random.Random, shards: int
    ) -> None:
        self._kafka = kafka
        self._weather = weather
        self.process = process
        self._rng = rng
        self._shards = shards
        self._unacknowledged = 0

    def ensure(self, queues: Sequence[str], *, create: bool) -> None:
        """Raise BrokerUnavailable if it cannot be reached; the topics exist."""
        self._ask()

    def grow(self, queues: Sequence[str], partitions: int) -> None:
        """Raise ConfigurationRefused: the number of partitions is part of the plan."""
        raise ConfigurationRefused("the simulated log has no partitions to set")

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Publication:
        """Send messages to partitions of their shards."""
        self.process.check()
        publication = Publication(self, len(messages))
        for index, message in enumerate(messages):
            partitions = [
                each
                for each in self._kafka.logs
                if each.queue == message.queue and each.number % self._shards == shard_of(message.id, self._shards)
            ]
            entry = Entry(message.id, message.body, timestamp_ms)
            self._send(publication, index, entry, self._rng.choice(partitions))
        return publication

    def publish_dead(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Publication:
        """Send messages to the dead letters."""
        self.process.check()
        publication = Publication(self, len(messages))
        for index, message in enumerate(messages):
            self._send(publication, index, Entry(message.id, message.body, timestamp_ms), None)
        return publication

    def _send(self, publication: Publication, index: int, entry: Entry, partition: Partition | None) -> None:
        self._unacknowledged += 1
        loom, until = self.process.loom, self.process.loom.now + DELIVERY_SECONDS

        def arrives() -> None:
            if self.process.dead:
                return
            if self.process.paused_since is None and self._weather.kafka_reached(self.process):
                position = self._stored(entry, partition)
                lost = self._rng.random() < self._weather.kafka_loss
                loom.after(_AGAIN_SECONDS if lost else self._weather.delay(), arrives if lost else answer(position))
            elif loom.now < until or self.process.paused_since is not None:
                loom.after(_AGAIN_SECONDS, arrives)
            else:
                self._unacknowledged -= 1

        def answer(position: str) -> Answered:
            return Answered(self, publication, index, position)

        loom.after(self._weather.delay(), arrives)

    def _stored(self, entry: Entry, partition: Partition | None) -> str:
        if partition is None:
            self._kafka.dead[entry.id] = entry.body
            self._kafka.history.tell("broker", f"has the dead letter of {short(entry.id)} from {self.process.name}")
            return "0:0"
        offset = self._kafka.append(partition, entry)
        self._kafka.history.tell(
            "broker", f"has {short(entry.id)} from {self.process.name} at {name_of(partition)}:{offset}"
        )
        return f"{partition.number}:{offset}"

    def acknowledged(self, publication: Publication, index: int, position: str) -> None:
        """The broker has said that it has this message."""
        self._unacknowledged -= 1
        publication.positions[index] = position
        publication.open -= 1
        publication.news.fire(self.process.loom)

    def unacknowledged(self) -> int:
        """Return how many messages are not acknowledged."""
        return self._unacknowledged

    def stream(self, queue: str, shard: int) -> str | None:
        """Return None: messages are published apart from their records."""
        return None

    def consumer(self, queues: Sequence[str], *, member: str) -> Consumer:
        """Return a consumer; it joins with its first poll."""
        self._ask()
        return Consumer(self._kafka, self._weather, self.process, queues)

    def findings(self, now_ms: int) -> Iterable[Finding]:
        """Return nothing."""
        return ()

    def close(self, timeout: float) -> None:
        """Do nothing: what was sent arrives."""

    def _ask(self) -> None:
        loom = self.process.loom
        loom.wait(self._weather.delay())
        if not self._weather.kafka_reached(self.process):
            loom.wait(self._weather.patience())
            raise BrokerUnavailable("the broker does not answer")


class Answered:
    """An acknowledgement on its way; the process may not live to hear it."""

    def __init__(self, broker: Broker, publication: Publication, index: int, position: str) -> None:
        self._broker, self._publication, self._index, self._position = broker, publication, index, position

    def __call__(self) -> None:
        if not self._broker.process.dead:
            self._broker.acknowledged(self._publication, self._index, self._position)
