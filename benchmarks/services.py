"""The Kafka and the Redis of a run, and the topics and keys that it creates and removes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import redis
from kafka import KafkaAdminClient

from benchmarks.by_hand import Topic
from yadtq_local import LocalKafka, LocalServer, LocalValkey

KAFKA_VARIABLE, REDIS_VARIABLE = "YADTQ_TEST_KAFKA", "YADTQ_TEST_REDIS"
PARTITIONS = 8
"""Partitions of every topic, as yadtq's default."""
_BATCH = 500


class Services:
    """A Kafka, a Redis, and a unique name for this run in both. `ours`: this run is the only client of the Redis."""

    def __init__(self, kafka_url: str, redis_url: str, *, ours: bool) -> None:
        self.kafka_url = kafka_url
        self.redis_url = redis_url
        self.ours = ours
        self.run = f"bench-{secrets.token_hex(3)}"
        self.redis = redis.Redis.from_url(redis_url, protocol=2)
        self._servers = tuple(urlsplit(kafka_url).netloc.split(","))

    def topic(self, name: str) -> Topic:
        """Create a topic for this run."""
        topic = Topic(self._servers, f"{self.run}-{name}", PARTITIONS)
        with closing(self._admin()) as admin:
            admin.create_topics({topic.name: {"num_partitions": PARTITIONS, "replication_factor": 1}})
        return topic

    def namespace(self, name: str) -> str:
        """Return the name of a yadtq namespace for this run."""
        return f"{self.run}-{name}"

    def script_calls(self) -> int:
        """Return how many script calls the Redis has answered since its start."""
        stats: dict[str, Any] = self.redis.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))

    def bytes_of(self, pattern: str, most: int) -> list[int]:
        """Return the memory of each key that matches the pattern, for at most `most` keys."""
        sizes: list[int] = []
        for key in self.redis.scan_iter(match=pattern, count=_BATCH):
            sizes += [size] if (size := self.redis.memory_usage(key)) is not None else []
            if len(sizes) == most:
                break
        return sizes

    def versions(self) -> list[str]:
        """Return the names and versions of both services."""
        info: dict[str, Any] = self.redis.info("server")
        store = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info['redis_version']}"
        with closing(self._admin()) as admin:
            node = admin.describe_cluster()["brokers"][0]["broker_id"]
            kafka = ".".join(map(str, admin.get_broker_version_data(node).broker_version))
        return [f"Kafka {kafka}", store]

    def drop(self, namespace: str) -> None:
        """Remove the keys of one namespace, which may be many."""
        self._unlink(f"yadtq:{{{namespace}*")

    def clean(self) -> None:
        """Remove this run's topics and keys."""
        with closing(self._admin()) as admin:
            admin.delete_topics([topic for topic in admin.list_topics() if self.run in topic])
        for pattern in (f"{self.run}-*", f"yadtq:{{{self.run}-*"):
            self._unlink(pattern)
        self.redis.close()

    def _unlink(self, pattern: str) -> None:
        keys: list[bytes] = list(self.redis.scan_iter(match=pattern, count=_BATCH))
        for start in range(0, len(keys), _BATCH):
            self.redis.unlink(*keys[start : start + _BATCH])

    def _admin(self) -> KafkaAdminClient:
        return KafkaAdminClient(bootstrap_servers=list(self._servers))


@contextmanager
def running(report: Callable[[str], None]) -> Iterator[Services]:
    """Yield the services that the environment names, else local ones that live as long as the context."""
    with ExitStack() as at_end:
        folder = Path(at_end.enter_context(TemporaryDirectory(prefix="yadtq-bench-")))

        def address(variable: str, make: Callable[[], LocalServer]) -> str:
            if given := os.environ.get(variable):
                return given
            server = make()
            report(f"starting {server.name}")
            return at_end.enter_context(server).url

        kafka_url = address(KAFKA_VARIABLE, lambda: LocalKafka(folder / "kafka", report=report))
        redis_url = address(REDIS_VARIABLE, lambda: LocalValkey(folder / "valkey", report=report))
        services = Services(kafka_url, redis_url, ours=REDIS_VARIABLE not in os.environ)
        at_end.callback(services.clean)
        yield services
