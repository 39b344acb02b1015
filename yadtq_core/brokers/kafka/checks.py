"""The checks of the Kafka that carries a namespace's tasks, for `yadtq doctor`.

They ask the admin client only: they create no topic, join no group and read no message.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from yadtq_core.brokers.kafka.admin import REPLICAS, Admin
from yadtq_core.brokers.kafka.names import Names
from yadtq_core.errors import ConfigurationRefused
from yadtq_core.model import Finding, ok, problem, some, warning
from yadtq_core.settings import Settings

LEAST_MESSAGE = 512 * 1024
"""Bytes that a topic must accept in one message: the largest arguments, headers and the envelope."""
_DEAD = ".dead"
_DAY = 86400.0


class Topic(NamedTuple):
    """One topic as the cluster describes it."""

    name: str
    partitions: int
    replicas: int
    missing: int
    """Replicas that are not in sync."""
    leaderless: int
    """Partitions without a leader: they can be neither written nor read."""
    config: Mapping[str, str]


def run_checks(admin: Admin, names: Names, settings: Settings, now_ms: int) -> Iterator[Finding]:
    """Yield all findings. Raises BrokerUnavailable, ConfigurationRefused."""
    brokers, finding = _cluster(admin)
    yield finding
    wanted = [names.topic(queue) for queue in settings.queues]
    prefix = names.topic("")
    existing = admin.ask(lambda client: client.list_topics())
    topics = _topics(admin, sorted({*wanted, *(name for name in existing if name.startswith(prefix))}))
    yield from _missing(wanted, topics)
    for topic in topics.values():
        yield from partitions(topic, settings, wanted=topic.name in wanted)
        yield from replication(topic, brokers)
        yield from configuration(topic, settings)
    alive = [topic for topic in topics.values() if not topic.name.endswith(_DEAD)]
    yield from _waiting(admin, names, alive, now_ms)
    yield from _dead(admin, names, [topic for topic in topics.values() if topic.name.endswith(_DEAD)])


def _cluster(admin: Admin) -> tuple[int, Finding]:
    """Return the number of brokers, and the finding on version and speed."""
    admin.ask(lambda client: client.describe_cluster())  # connect first, so that the time measured is that of an answer
    began = time.monotonic()
    nodes = admin.ask(lambda client: client.describe_cluster())["brokers"]
    took = time.monotonic() - began
    number = admin.ask(lambda client: client.get_broker_version_data(nodes[0]["broker_id"])).broker_version
    version = ".".join(map(str, number))
    return len(nodes), ok("kafka", f"Kafka {version} with {some(len(nodes), 'broker')} answers in {took * 1000:.1f} ms")


def _topics(admin: Admin, names: Sequence[str]) -> dict[str, Topic]:
    described = admin.ask(lambda client: client.describe_topics(list(names))) if names else []
    existing = [topic for topic in described if topic["error_code"] == 0]
    configs = _configs(admin, [topic["name"] for topic in existing])
    return {topic["name"]: _topic(topic, configs.get(topic["name"], {})) for topic in existing}


def _topic(found: Mapping[str, Any], config: Mapping[str, str]) -> Topic:
    parts = found["partitions"]
    return Topic(
        found["name"],
        len(parts),
        min((len(part["replica_nodes"]) for part in parts), default=0),
        sum(len(part["replica_nodes"]) - len(part["isr_nodes"]) for part in parts),
        sum(part["leader_id"] < 0 for part in parts),
        config,
    )


def _configs(admin: Admin, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the settings of topics; empty if the user may not read them."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    try:
        found = admin.ask(lambda client: client.describe_configs(asked, config_filter="all")) if asked else {}
    except ConfigurationRefused:
        return {}
    return {
        topic: {name: str(entry["value"]) for name, entry in entries.items()}
        for topic, entries in found.get("topic", {}).items()
    }


def _missing(wanted: Sequence[str], topics: Mapping[str, Topic]) -> Iterator[Finding]:
    for name in wanted:
        if name not in topics:
            found = f"topic {name} does not exist yet: the first worker or client creates it"
            yield warning("topic", found, "start a worker, or run `yadtq provision`")


def partitions(topic: Topic, settings: Settings, *, wanted: bool) -> Iterator[Finding]:
    """Compare the partitions of a topic with the settings.

    wanted: the topic belongs to a queue of the settings.
    """
    count = topic.partitions
    if topic.leaderless:
        found = f"topic {topic.name}: {topic.leaderless} of {some(count, 'partition')} without a leader"
        yield problem("topic", found, "restart the brokers that hold them (kafka-topics.sh --describe)")
    if topic.name.endswith(_DEAD):
        return
    asked = settings.partitions
    if count < asked:
        found = f"topic {topic.name} has {some(count, 'partition')}, the settings ask for {asked}"
        remedy = f"run `yadtq provision --partitions {asked}`, or set YADTQ_PARTITIONS={count}"
        yield (problem if wanted else warning)("topic", found, remedy)
    elif count % settings.shards:
        found = f"topic {topic.name} has {count} partitions, which is not a multiple of {settings.shards} shards"
        more = -(-count // settings.shards) * settings.shards
        yield warning("topic", found, f"run `yadtq provision --partitions {more}`")
    else:
        yield ok("topic", f"topic {topic.name} has {some(count, 'partition')}")


def replication(topic: Topic, brokers: int) -> Iterator[Finding]:
    """Check what the loss of one broker would do to a topic."""
    insync = int(topic.config.get("min.insync.replicas", 1))
    name, replicas = topic.name, topic.replicas
    if brokers > 1 and replicas == 1:
        found = f"topic {name} has one replica on {brokers} brokers: if one broker is lost, tasks are lost"
        remedy = "raise it with kafka-reassign-partitions.sh" + (
            "" if brokers < REPLICAS else f" to {REPLICAS}, and min.insync.replicas to 2"
        )
        yield problem("replication", found, remedy)
    elif replicas > 1 and insync >= replicas:
        found = f"topic {name}: min.insync.replicas is {insync} of {replicas}: if one broker is down, all submits fail"
        yield warning("replication", found, f"set its min.insync.replicas to {replicas - 1} (kafka-configs.sh)")
    elif replicas >= REPLICAS and insync == 1:
        found = (
            f"topic {name}: min.insync.replicas is 1: a message acknowledged by one broker may be lost with that broker"
        )
        yield warning("replication", found, f"set its min.insync.replicas to {replicas - 1} (kafka-configs.sh)")
    if topic.missing:
        found = f"topic {name}: {some(topic.missing, 'replica')} not in sync"
        yield warning("replication", found, "restart the missing brokers, or wait until they have caught up")


def configuration(topic: Topic, settings: Settings) -> Iterator[Finding]:
    """Check for settings of a topic that lose, refuse or misdate messages."""
    config, name = topic.config, topic.name
    alter = f"kafka-configs.sh --alter --topic {name} --add-config"
    if config.get("unclean.leader.election.enable") == "true":
        found = f"topic {name} may elect a leader that lacks messages"
        yield warning("topic-config", found, f"{alter} unclean.leader.election.enable=false")
    if int(config.get("max.message.bytes", LEAST_MESSAGE)) < LEAST_MESSAGE:
        found = f"topic {name} accepts at most {config['max.message.bytes']} bytes a message: large arguments fail"
        yield problem("topic-config", found, f"{alter} max.message.bytes=1048588")
    if name.endswith(_DEAD):
        return
    if "compact" in config.get("cleanup.policy", "delete"):
        found = f"topic {name} is compacted: Kafka deletes messages before they are run"
        yield problem("topic-config", found, f"{alter} cleanup.policy=delete")
    kept = int(config.get("retention.ms", -1)) / 1000
    if 0 <= kept < settings.retention:
        found = f"topic {name} keeps messages for {_days(kept)}, the settings say {_days(settings.retention)}"
        yield warning("retention", found, f"{alter} retention.ms={int(settings.retention * 1000)}")
    if config.get("message.timestamp.type") == "LogAppendTime":
        found = f"topic {name} stamps messages with the brokers' clocks"
        yield warning("topic-config", found, f"{alter} message.timestamp.type=CreateTime")


def _waiting(admin: Admin, names: Names, topics: Sequence[Topic], now_ms: int) -> Iterator[Finding]:
    """Yield the lag of each queue, and a problem if waiting messages come near the end of their retention."""
    parts = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
    if not parts:
        return
    ranges = admin.ranges(parts)
    committed = admin.committed(names.group, parts)
    nexts = {part: max(start, committed.get(part, 0)) for part, (start, _) in ranges.items()}
    for topic in topics:
        own = [part for part in ranges if part.topic == topic.name]
        behind = sum(ranges[part][1] - nexts[part] for part in own)
        lost = sum(part in committed and committed[part] < ranges[part][0] for part in own)
        queue = names.queue(topic.name)
        if lost:
            found = f"queue {queue}: Kafka deleted unread messages in {some(lost, 'partition')}"
            remedy = "workers publish tasks with a record again; raise retention.ms, or add workers"
            yield warning("retention", found, remedy)
        yield _old(admin, queue, topic, {part: nexts[part] for part in own}, now_ms) or ok(
            "lag", f"queue {queue}: the group is {some(behind, 'message')} behind"
        )


def _old(admin: Admin, queue: str, topic: Topic, nexts: Mapping[TopicPartition, int], now_ms: int) -> Finding | None:
    """Return a problem if a waiting message has used up half of its topic's retention."""
    kept_ms = int(topic.config.get("retention.ms", -1))
    if kept_ms <= 0:
        return None
    asked = dict.fromkeys(nexts, now_ms - kept_ms // 2)
    young = admin.ask(lambda client: client.list_partition_offsets(asked))
    ends = admin.ranges(list(nexts))
    old = sum(
        max(0, (young[part].offset if young[part].offset >= 0 else ends[part][1]) - start)
        for part, start in nexts.items()
    )
    if not old:
        return None
    found = (
        f"queue {queue}: {some(old, 'message')} waiting for more than half of the retention ({_days(kept_ms / 1000)})"
    )
    return problem("retention", found, "start more workers, or raise the topic's retention.ms")


def _dead(admin: Admin, names: Names, topics: Sequence[Topic]) -> Iterator[Finding]:
    """Yield the number of dead letters, an upper bound: a removed one counts until Kafka compacts the topic."""
    parts = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
    ranges = admin.ranges(parts) if parts else {}
    for topic in topics:
        count = sum(end - start for part, (start, end) in ranges.items() if part.topic == topic.name)
        queue = names.queue(topic.name).removesuffix(_DEAD)
        if count:
            found = f"queue {queue}: up to {some(count, 'dead letter')} (removed ones count until Kafka compacts it)"
            remedy = f"the key of each message of topic {topic.name} is a task ID: `yadtq query ID` shows why it failed"
            yield warning("dead-letters", found, remedy)


def _days(seconds: float) -> str:
    return f"{seconds / _DAY:g} days" if seconds >= _DAY else f"{seconds / 3600:g} h"
