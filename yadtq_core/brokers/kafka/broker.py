"""The broker on Kafka: publishing, topics, and members of the group (`interfaces.Broker`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

from yadtq_core.brokers.kafka import checks
from yadtq_core.brokers.kafka.admin import Admin, dead_configs, topic_configs
from yadtq_core.brokers.kafka.consumer import KafkaGroupConsumer
from yadtq_core.brokers.kafka.names import Names
from yadtq_core.brokers.kafka.publisher import KafkaPublication, Publisher
from yadtq_core.brokers.kafka.tuning import Cluster, Tuning, client_settings, quiet
from yadtq_core.brokers.kafka.urls import host_and_port, parse
from yadtq_core.errors import BrokerUnavailable, ConfigurationRefused
from yadtq_core.interfaces import Outgoing
from yadtq_core.model import Finding
from yadtq_core.net.tls import Secret, warnings_of
from yadtq_core.settings import Settings

log = logging.getLogger("yadtq.broker")

DEAD_PARTITIONS = 1
"""Dead letters are few, and a reader reads all of them."""
_LOOK_SECONDS = 0.1


def open(settings: Settings, tuning: Tuning | None = None) -> KafkaBroker:  # noqa: A001  called as `kafka.open`
    """Return the broker of `settings.broker`; it connects at its first use.

    Raises InvalidSetting for an address that cannot be used, ConfigurationRefused for a file that it names.
    """
    return KafkaBroker(settings, tuning or Tuning())


class KafkaBroker:
    """Carries messages by one topic a queue, and one of dead letters. Safe for use by several threads.

    A topic may have more partitions than `settings.partitions`: the setting is the number at creation and the least
    number allowed, so that processes with the old and the new setting work together.
    """

    replayable = True
    partitioned = True

    def __init__(self, settings: Settings, tuning: Tuning) -> None:
        self._settings = settings
        self._names = Names(settings.namespace)
        address = parse(settings.broker, settings.broker_password)
        self._cluster = Cluster(address, self._names, tuning)
        client_settings(self._cluster)  # refuses a missing file now
        self._publisher = Publisher(self._cluster, settings.shards)
        self._admin = Admin(self._cluster)
        quiet()
        hosts = [host_and_port(server)[0] for server in address.servers]
        for warning in warnings_of(
            address.shown, hosts, address.tls, address.login.secret if address.login else Secret()
        ):
            log.warning("%s", warning)

    def ensure(self, queues: Sequence[str], *, create: bool) -> None:
        """Check that the topics of queues and dead letters have enough partitions; with `create` make missing ones.

        Raises ConfigurationRefused with the command that corrects it, and BrokerUnavailable.
        """
        wanted = self._wanted(queues)
        found = self._publisher.counts(list(wanted))
        missing = [topic for topic in wanted if topic not in found]
        if missing and create:
            self._create({topic: wanted[topic] for topic in missing})
            found = self._wait_for(wanted)
        for topic, count in wanted.items():
            self._check(topic, count, found.get(topic, 0))

    def grow(self, queues: Sequence[str], partitions: int) -> None:
        """Raise the partitions of each queue's topic to this number; create missing topics.

        Raises ConfigurationRefused when a topic has more (Kafka cannot remove partitions) or when the number is not a
        multiple of the shards, and BrokerUnavailable.
        """
        if partitions % self._settings.shards:
            raise ConfigurationRefused(
                f"{partitions} partitions cannot be spread over {self._settings.shards} shards: use a multiple"
            )
        topics = [self._names.topic(queue) for queue in queues]
        found = self._admin.describe(topics)
        for topic, count in found.items():
            if count > partitions:
                raise ConfigurationRefused(
                    f"topic {topic} has {count} partitions, and Kafka cannot take any away: ask for {count} or more"
                )
        missing = {topic: partitions for topic in topics if topic not in found}
        dead = {self._names.dead(queue): DEAD_PARTITIONS for queue in queues}
        missing |= {topic: count for topic, count in dead.items() if topic not in self._admin.describe(list(dead))}
        if missing:
            self._create(missing)
        growing = {topic: partitions for topic, count in found.items() if count < partitions}
        if growing:
            self._admin.grow(growing)

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> KafkaPublication:
        """Send messages to partitions of their shards, in turn; returns at once.

        If more than 10,000 are unacknowledged it waits, `settings.submit_timeout` at most, then raises
        BrokerUnavailable. It raises that too if it cannot read the partitions of the topic.
        """
        return self._publisher.publish(messages, timestamp_ms, self._settings.submit_timeout)

    def publish_dead(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> KafkaPublication:
        """Send messages to the dead letters of their queues, keyed by ID; an empty body removes a letter."""
        return self._publisher.publish_keyed(messages, timestamp_ms, self._settings.submit_timeout)

    def unacknowledged(self) -> int:
        """Return the number of published messages that may still be acknowledged; failed ones do not count."""
        return self._publisher.unacknowledged()

    def stream(self, queue: str, shard: int) -> None:
        """Return None: messages are published apart from their records."""

    def consumer(self, queues: Sequence[str], *, member: str) -> KafkaGroupConsumer:
        """Join the group of this namespace; `member` is the client's name in Kafka's tools.

        Raises BrokerUnavailable if the broker cannot be reached.
        """
        return KafkaGroupConsumer(self._cluster, queues, member)

    def findings(self, now_ms: int) -> Iterator[Finding]:
        """Yield the findings of `yadtq doctor` about this Kafka; creates and joins nothing."""
        return checks.run_checks(self._admin, self._names, self._settings, now_ms)

    def close(self, timeout: float) -> None:
        """Send accepted messages for at most `timeout` seconds, then disconnect. Never raises."""
        deadline = time.monotonic() + timeout
        self._publisher.close(timeout)
        self._admin.close(max(1.0, deadline - time.monotonic()))

    def _wanted(self, queues: Sequence[str]) -> dict[str, int]:
        """Return the required topics with their least numbers of partitions, each a multiple of the shards."""
        shards = self._settings.shards
        partitions = -(-self._settings.partitions // shards) * shards
        topics = {self._names.topic(queue): partitions for queue in queues}
        return topics | {self._names.dead(queue): DEAD_PARTITIONS for queue in queues}

    def _create(self, topics: dict[str, int]) -> None:
        alive = topic_configs(self._settings.retention)
        configs = {topic: dead_configs() if topic.endswith(".dead") else alive for topic in topics}
        self._admin.create(topics, configs, self._settings.replication)

    def _wait_for(self, wanted: dict[str, int]) -> dict[str, int]:
        """Return the partitions of new topics, once the metadata show all of them."""
        deadline = time.monotonic() + self._cluster.tuning.reach
        while True:
            found = self._publisher.counts(list(wanted))
            if len(found) == len(wanted):
                return found
            if time.monotonic() > deadline:
                missing = ", ".join(topic for topic in wanted if topic not in found)
                raise BrokerUnavailable(f"Kafka has created {missing}, but does not list it yet: try again")
            time.sleep(_LOOK_SECONDS)

    def _check(self, topic: str, wanted: int, found: int) -> None:
        if found == 0:
            raise ConfigurationRefused(f"topic {topic} does not exist: run `yadtq provision`")
        if found < wanted:
            raise ConfigurationRefused(
                f"topic {topic} has {found} partition{'s' if found > 1 else ''}, the settings ask for {wanted}: "
                f"run `yadtq provision --partitions {wanted}`, or set YADTQ_PARTITIONS={found}"
            )
