"""Questions to the broker beside the flow of messages: creating topics and looking up offsets."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from kafka import KafkaAdminClient, OffsetSpec, TopicPartition
from kafka.errors import (
    AuthorizationError,
    BrokerResponseError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    KafkaError,
    NoError,
    NotCoordinatorError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    for_code,
)

from yadtq_core.brokers.kafka import workarounds
from yadtq_core.brokers.kafka.tuning import Cluster, admin_settings
from yadtq_core.brokers.kafka.unreachable import refusal
from yadtq_core.errors import BrokerUnavailable, ConfigurationRefused, YadtqError

log = logging.getLogger("yadtq.broker")
Answer = TypeVar("Answer")

REPLICAS = 3
"""Replicas of a topic in a cluster of that many brokers: one may fail without a pause (min.insync.replicas is 2)."""
_RETRY_SECONDS = 0.1
_DROP_SECONDS = 1.0
_OPEN_SECONDS = 0.02
"""The longest that one new partition takes to open: a broker on two busy cores opened 230 a second."""
_LONG_MAX = 2**63 - 1
_REFUSALS = (
    AuthorizationError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    PolicyViolationError,
)


class Admin:
    """The admin client, created at its first use. Safe for use by several threads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._url = cluster.url
        self._lock = threading.Lock()
        self._client: KafkaAdminClient | None = None
        self._failed: tuple[float, YadtqError] | None = None

    def create(self, partitions: Mapping[str, int], configs: Mapping[str, Mapping[str, str]], replication: int) -> None:
        """Create topics with these numbers of partitions. A topic that exists by now is no error.

        Raises ConfigurationRefused with the broker's reason, or BrokerUnavailable.
        """
        replicas = replication or self._replicas()
        durable = {"min.insync.replicas": str(max(1, replicas - 1)), "unclean.leader.election.enable": "false"}
        topics = {
            topic: {
                "num_partitions": count,
                "replication_factor": replicas,
                "configs": {**durable, **configs[topic]},
            }
            for topic, count in partitions.items()
        }
        answer = self.ask(lambda client: client.create_topics(topics, timeout_ms=self._ms, raise_errors=False))
        for topic in answer["topics"]:
            self._check(topic["name"], topic["error_code"], topic.get("error_message"), TopicAlreadyExistsError)
        self._wait_to_open(partitions)
        log.info("created the topics %s with %d replicas", ", ".join(partitions), replicas)

    def grow(self, partitions: Mapping[str, int]) -> None:
        """Raise the partitions of topics to these numbers; raises ConfigurationRefused if a topic has more."""
        answer = self.ask(
            lambda client: client.create_partitions(dict(partitions), timeout_ms=self._ms, raise_errors=False)
        )
        for topic in answer.results:
            self._check(topic.name, topic.error_code, topic.error_message)
        self._wait_to_see(partitions)
        self._wait_to_open(partitions)
        log.info("raised the partitions of %s", ", ".join(f"{name} to {count}" for name, count in partitions.items()))

    def _wait_to_see(self, partitions: Mapping[str, int]) -> None:
        """Wait until the broker's metadata show the new partitions: they lag by up to a second."""
        until = time.monotonic() + self._ms / 1000
        while time.monotonic() < until:
            seen = self.describe(sorted(partitions))
            if all(seen.get(topic, 0) >= count for topic, count in partitions.items()):
                return
            time.sleep(_RETRY_SECONDS)

    def _wait_to_open(self, partitions: Mapping[str, int]) -> None:
        """Wait until the broker accepts messages in every partition of these topics.

        The metadata list new partitions before their leader has opened them, and it refuses their messages until then.
        """
        asked = [TopicPartition(topic, number) for topic, count in partitions.items() for number in range(count)]
        until = time.monotonic() + self._cluster.tuning.reach + _OPEN_SECONDS * len(asked)
        while time.monotonic() < until:
            try:
                self.ask(lambda client: client.list_partition_offsets(dict.fromkeys(asked, OffsetSpec.EARLIEST)))
            except BrokerUnavailable:
                continue
            except ConfigurationRefused as error:
                log.debug("cannot see whether new partitions are open: %s", error)
            return

    def describe(self, topics: Sequence[str]) -> dict[str, int]:
        """Return the number of partitions of each topic; topics that do not exist are left out."""
        found = self.ask(lambda client: client.describe_topics(list(topics)))
        return {topic["name"]: len(topic["partitions"]) for topic in found if topic["error_code"] == NoError.errno}

    def ranges(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Return the log's (start, end) of each partition; partitions that do not exist are left out."""
        known = self.describe(sorted({partition.topic for partition in partitions}))
        asked = [partition for partition in partitions if partition.partition < known.get(partition.topic, 0)]
        if not asked:
            return {}
        starts = self.ask(lambda client: client.list_partition_offsets(dict.fromkeys(asked, OffsetSpec.EARLIEST)))
        ends = self.ask(lambda client: client.list_partition_offsets(dict.fromkeys(asked, OffsetSpec.LATEST)))
        return {partition: (starts[partition].offset, ends[partition].offset) for partition in asked}

    def committed(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offsets that the group has committed; partitions without one are left out."""
        found = self.ask(lambda client: client.list_group_offsets({group: list(partitions)}))[group]
        return {partition: commit.offset for partition, commit in found.items() if commit.offset >= 0}

    def ask(self, question: Callable[[KafkaAdminClient], Any]) -> Any:
        """Return the answer to a question; repeat it during an outage for `Tuning.reach` seconds.

        Raises ConfigurationRefused if the broker refuses, BrokerUnavailable if it does not answer.
        """
        started = time.monotonic()
        deadline = started + self._cluster.tuning.reach
        while True:
            client = self._opened(started)
            try:
                return question(client)
            except _REFUSALS as error:
                raise ConfigurationRefused(f"Kafka at {self._url} refuses: {_text(error)}") from None
            except (KafkaError, RuntimeError) as error:  # kafka-python raises RuntimeError without a controller
                if time.monotonic() + _RETRY_SECONDS > deadline or not getattr(error, "retriable", True):
                    raise unreachable(self._cluster, error) from None
                if isinstance(error, NotCoordinatorError):  # it would ask the old coordinator for ever
                    self.close(_DROP_SECONDS)
            time.sleep(_RETRY_SECONDS)

    def close(self, timeout: float) -> None:
        """Disconnect within `timeout` seconds. Never raises."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            within(timeout, client.close)

    def _opened(self, asked_at: float) -> KafkaAdminClient:
        """Return the client. If it cannot be created, all waiting threads fail together, not one after another."""
        with self._lock:
            if self._client is not None:
                return self._client
            if self._failed is not None and self._failed[0] >= asked_at:
                raise self._failed[1]
            clients = workarounds.Clients()
            try:
                self._client = KafkaAdminClient(**admin_settings(self._cluster), kafka_client=clients)
            except KafkaError as error:
                clients.close()
                self._failed = time.monotonic(), unreachable(self._cluster, error, find_reason=True)
                raise self._failed[1] from None
            return self._client

    def _replicas(self) -> int:
        brokers = len(self.ask(lambda client: client.describe_cluster())["brokers"])
        return REPLICAS if brokers >= REPLICAS else 1

    def _check(self, topic: str, code: int, message: str | None, *fine: type[BrokerResponseError]) -> None:
        error = for_code(code)
        if error is NoError or error in fine:
            return
        text = message or error.description or error.__name__
        if issubclass(error, _REFUSALS):
            raise ConfigurationRefused(f"topic {topic}: {text}")
        raise BrokerUnavailable(f"Kafka at {self._url} did not change topic {topic}: {text}")

    @property
    def _ms(self) -> int:
        return int(self._cluster.tuning.reach * 1000)


def unreachable(cluster: Cluster, reason: BaseException | str, *, find_reason: bool = False) -> YadtqError:
    """Return the error for a broker that does not answer, with the remedy.

    find_reason: probe the servers for the reason, which takes a few seconds; for a client that never reached one.
    """
    found = refusal(cluster.address) if find_reason else None
    return found or BrokerUnavailable(
        f"Kafka at {cluster.url} cannot be reached ({_text(reason)}): is it running? "
        "Start one with `docker compose up -d` or `yadtq dev --kafka`, or set YADTQ_BROKER to yours"
    )


def topic_configs(retention: float) -> dict[str, str]:
    """Return the settings of a queue's topic.

    The client sets a message's time (Redis's clock): the broker must keep it, and must not refuse it if its own clock
    is behind.
    """
    return _TIMES | {"cleanup.policy": "delete", "retention.ms": str(int(retention * 1000))}


def dead_configs() -> dict[str, str]:
    """Return the settings of a topic of dead letters: the newest letter of each ID stays until it is removed."""
    return _TIMES | {"cleanup.policy": "compact"}


def within(seconds: float, action: Callable[[], object]) -> bool:
    """Run an action that may hang or fail; return whether it ended in time."""

    def attempt() -> None:
        try:
            action()
        except Exception as error:
            log.debug("while closing: %r", error)

    thread = threading.Thread(target=attempt, daemon=True, name="yadtq-kafka-close")
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def _text(error: BaseException | str) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


_TIMES = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(_LONG_MAX)}
