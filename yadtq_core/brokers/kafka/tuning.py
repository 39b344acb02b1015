"""How the Kafka clients are set: the values that held together in the measurements of the protocol, in seconds."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from yadtq_core.brokers.kafka.login import log_no_logins, login_settings
from yadtq_core.brokers.kafka.names import Names
from yadtq_core.brokers.kafka.urls import KafkaAddress
from yadtq_core.brokers.kafka.workarounds import CLOSING_SOCKET

API_VERSION = (4, 3)
"""What kafka-python knows best. A given version spares a round trip; an older broker lowers it by itself."""
MAX_REQUEST_BYTES = 1024 * 1024
"""Of one message with its frame; the broker's own default limit is 12 bytes more."""

# kafka-python tells of every reconnect and rebalance, most of it as warnings and errors, for each client anew.
# What of it matters is told once by `yadtq.broker`. A level that somebody has set is left as it is.
_NOISY = ("kafka.net", "kafka.cluster", "kafka.coordinator", "kafka.producer", "kafka.consumer")


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times and limits of the Kafka clients; the defaults are meant for everybody but the tests."""

    reach: float = 5.0
    """For connecting, and for each question that is asked of the broker."""
    request: float = 15.0
    """After so long an unanswered request counts as lost: longer than a broker's pause, shorter than `delivery`."""
    delivery: float = 30.0
    """After so long a message that was not acknowledged is given up; a sweep publishes it again."""
    outstanding: int = 10_000
    """Messages that may wait for their acknowledgement: kafka-python has no limit of its own."""
    metadata_age: float = 60.0
    """After so long a grown topic is noticed."""
    session: float = 10.0
    """After so long a silent member's partitions go to others; the broker allows no less than 6."""
    heartbeat: float = 1.0
    rebalance: float = 60.0
    """How long the group waits for a member that does not poll."""
    stuck: float = 15.0
    """A member that is not in the group for `rebalance` and this begins anew."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka as one namespace sees it: where it is, what things are called there, and how clients are set."""

    address: KafkaAddress
    names: Names
    tuning: Tuning

    @property
    def url(self) -> str:
        """The address without secrets, to be shown."""
        return self.address.shown


def client_settings(cluster: Cluster) -> dict[str, Any]:
    """Return what producer, consumer and admin client have in common; a password in a file is read anew."""
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

    Idempotence is off: an outage longer than `delivery` would end the producer for good. Task IDs deduplicate.
    Linger is 0: a single message goes at once, and in bulk batches fill while earlier ones are on their way.
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
        "fetch_min_bytes": 1,
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
    }


def admin_settings(cluster: Cluster) -> dict[str, Any]:
    """Return the admin client's settings."""
    return client_settings(cluster) | {"request_timeout_ms": _ms(cluster.tuning.reach)}


def quiet() -> None:
    """Keep kafka-python's own log to what is beyond it, where nobody has set another level."""
    for name in _NOISY:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)
    log_no_logins()


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
