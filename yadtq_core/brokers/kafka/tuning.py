"""The settings of the Kafka clients: values that worked together when the protocol was measured, in seconds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from yadtq_core.brokers.kafka.login import log_no_logins, login_settings
from yadtq_core.brokers.kafka.names import Names
from yadtq_core.brokers.kafka.urls import KafkaAddress
from yadtq_core.brokers.kafka.workarounds import CLOSING_SOCKET

API_VERSION = (4, 3)
"""The newest version that kafka-python knows. Naming one saves a round trip; an older broker lowers it."""
MAX_REQUEST_BYTES = 1024 * 1024
"""One message with its frame; the broker's default limit is 12 bytes more."""
FETCH_BYTES = 8 * 1024 * 1024
"""One answer of one server. The default, 50 MB, bounds nothing below 200 partitions, and would fill a small worker."""

# kafka-python logs every reconnect and rebalance of each client, most of them as warnings and errors. `yadtq.broker`
# logs the important ones once. A level that the application has set stays.
_NOISY = ("kafka.net", "kafka.cluster", "kafka.coordinator", "kafka.producer", "kafka.consumer")


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times and limits of the Kafka clients; only tests change the defaults."""

    reach: float = 5.0
    """For connecting, and for each question to the broker."""
    request: float = 15.0
    """An unanswered request counts as lost after this time: longer than a broker's pause, shorter than `delivery`."""
    delivery: float = 30.0
    """A message that is not acknowledged within this time has failed; a sweep publishes it again."""
    outstanding: int = 10_000
    """Messages that may wait for their acknowledgement: kafka-python has no limit."""
    metadata_age: float = 60.0
    """New partitions of a topic are noticed within this time."""
    session: float = 10.0
    """The partitions of a silent member go to other members after this time; the broker requires at least 6."""
    heartbeat: float = 1.0
    rebalance: float = 60.0
    """The group waits this long for a member that does not poll."""
    stuck: float = 15.0
    """A member that is outside the group for `rebalance` and this is replaced."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka for one namespace: its address, the names of topics and group, and the settings of clients."""

    address: KafkaAddress
    names: Names
    tuning: Tuning

    @property
    def url(self) -> str:
        """The address without secrets."""
        return self.address.shown


def client_settings(cluster: Cluster) -> dict[str, Any]:
    """Return the common settings of producer, consumer and admin client; a password in a file is read again."""
    tuning = cluster.tuning
    return {
        "bootstrap_servers": list(cluster.address.servers),
        "api_version": API_VERSION,
        "bootstrap_timeout_ms": _ms(tuning.reach),
        "metadata_max_age_ms": _ms(tuning.metadata_age),
        "reconnect_backoff_max_ms": 1000,
        "proxy_url": CLOSING_SOCKET,
        **login_settings(cluster.address),
    }


def producer_settings(cluster: Cluster) -> dict[str, Any]:
    """Return the producer's settings.

    Idempotence is off: with it an outage longer than `delivery` ends the producer. Task IDs deduplicate instead.
    Linger is 0: a single message is sent at once, and batches of a bulk fill while earlier ones are in transit.
    """
    tuning = cluster.tuning
    return client_settings(cluster) | {
        "acks": "all",
        "enable_idempotence": False,
        "batch_size": 64 * 1024,
        "linger_ms": 0,
        "delivery_timeout_ms": _ms(tuning.delivery),
        "request_timeout_ms": _ms(min(tuning.request, tuning.delivery)),
        "max_block_ms": _ms(tuning.reach),
        "max_request_size": MAX_REQUEST_BYTES,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def consumer_settings(cluster: Cluster, member: str) -> dict[str, Any]:
    """Return a member's settings."""
    tuning = cluster.tuning
    return client_settings(cluster) | {
        "client_id": member,
        "group_id": cluster.names.group,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": _ms(tuning.session),
        "heartbeat_interval_ms": _ms(tuning.heartbeat),
        "max_poll_interval_ms": _ms(tuning.rebalance),
        "request_timeout_ms": _ms(tuning.request),
        "max_partition_fetch_bytes": 256 * 1024,
        "fetch_max_bytes": FETCH_BYTES,
        "fetch_min_bytes": 1,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def admin_settings(cluster: Cluster) -> dict[str, Any]:
    """Return the admin client's settings."""
    return client_settings(cluster) | {"request_timeout_ms": _ms(cluster.tuning.reach)}


def quiet() -> None:
    """Limit kafka-python's log to critical errors, unless the application has set a level."""
    for name in _NOISY:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)
    log_no_logins()


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
