"""The names of topics and of the group, and a partition's name in yadtq and in kafka-python."""

from __future__ import annotations

from dataclasses import dataclass

from kafka import TopicPartition

from yadtq_core.model import Partition


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a namespace's topics and of its group."""

    namespace: str

    @property
    def group(self) -> str:
        """The one group that all workers of the namespace join."""
        return f"yadtq.{self.namespace}"

    def topic(self, queue: str) -> str:
        """The topic that carries a queue."""
        return f"yadtq.{self.namespace}.{queue}"

    def dead(self, queue: str) -> str:
        """The topic of a queue's dead letters; no queue can have this name, because queue names have no dots."""
        return f"yadtq.{self.namespace}.{queue}.dead"

    def queue(self, topic: str) -> str:
        """The queue that a topic carries."""
        return topic.removeprefix(f"yadtq.{self.namespace}.")

    def to_kafka(self, partition: Partition) -> TopicPartition:
        """A partition as kafka-python names it."""
        return TopicPartition(self.topic(partition.queue), partition.number)

    def from_kafka(self, partition: TopicPartition) -> Partition:
        """A partition as yadtq names it."""
        return Partition(self.queue(partition.topic), partition.partition)
