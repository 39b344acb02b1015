"""Kafka without yadtq: messages by hand, topics and groups changed behind its back."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from verification.faults import history as h
from verification.faults.lookout import QUEUE
from verification.faults.scene import Scene
from yadtq_core.brokers.kafka.names import Names
from yadtq_core.wire import envelope

ACK_SECONDS = 20.0


def produce(scene: Scene, bodies: Sequence[bytes]) -> None:
    """Put messages into the topic, at random partitions; return when the broker has them."""
    producer = KafkaProducer(bootstrap_servers=scene.stage.straight_broker, enable_idempotence=False, linger_ms=5)
    draw, topic = random.Random(7), Names(scene.namespace).topic(QUEUE)
    try:
        sent = [producer.send(topic, body, partition=draw.randrange(8)) for body in bodies]
        for one in sent:
            one.get(ACK_SECONDS)
    finally:
        producer.close()


def messages_by_hand(scene: Scene, count: int) -> list[bytes]:
    """Return messages that no client submitted, and write them into the history as accepted submits."""
    draw, bodies = random.Random(count), []
    for _ in range(count):
        task_id, numbers = str(uuid.uuid4()), [draw.randrange(1000) for _ in range(3)]
        message = envelope.build("faults.add", json.dumps([numbers, {}]).encode(), id=task_id)
        bodies.append(envelope.encode(message))
        at = h.now()
        scene.writer.write(h.Submit("harness", at, at, task_id, "faults.add", [float(one) for one in numbers]))
        scene.writer.write(h.Submitted("harness", at, at, task_id, "ok"))
    return bodies


def published(scene: Scene) -> set[str]:
    """Return the IDs of the tasks whose messages are in the topic."""
    return {envelope.decode(body).id for body in scene.lookout.bodies()}


def dead_letters(scene: Scene) -> set[str]:
    """Return the IDs of the tasks that have a dead letter."""
    topic, servers = Names(scene.namespace).dead(QUEUE), scene.stage.straight_broker
    consumer = KafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest", consumer_timeout_ms=3000)
    try:
        return {(letter.key or b"").decode() for letter in consumer}
    finally:
        consumer.close()


def delete_topic(scene: Scene) -> None:
    """Delete the topic of the scene's queue, and return when it is gone."""
    topic = Names(scene.namespace).topic(QUEUE)
    admin = _admin(scene)
    try:
        admin.delete_topics([topic])
        scene.wait_for(lambda: topic not in admin.list_topics(), f"{topic} is gone", ACK_SECONDS)
    finally:
        admin.close()


def grow_topic(scene: Scene, partitions: int) -> None:
    """Grow the topic to this number of partitions."""
    admin = _admin(scene)
    try:
        admin.create_partitions({Names(scene.namespace).topic(QUEUE): partitions})
    finally:
        admin.close()


def delete_group(scene: Scene) -> None:
    """Delete the group, as soon as its last member has gone."""
    admin, group = _admin(scene), Names(scene.namespace).group
    try:
        until = time.monotonic() + ACK_SECONDS
        while time.monotonic() < until:
            with suppress(KafkaError):
                admin.delete_groups([group])
                return
            time.sleep(0.2)
        raise AssertionError(f"group {group} cannot be deleted")
    finally:
        admin.close()


def _admin(scene: Scene) -> KafkaAdminClient:
    return KafkaAdminClient(bootstrap_servers=scene.stage.straight_broker)
