"""The internals that `workarounds` uses still exist, and the faults that it works around are still there.

A failure here after an upgrade of kafka-python shows what to look at: a workaround may no longer be needed.
"""

from __future__ import annotations

import gc
import hashlib
import inspect
import socket
import time
from collections.abc import Callable, Iterator

import kafka
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.consumer.fetcher import Fetcher
from kafka.coordinator.base import BaseCoordinator
from kafka.coordinator.consumer import ConsumerCoordinator
from kafka.future import Future
from kafka.net import KafkaNetSocket
from kafka.producer.record_accumulator import RecordAccumulator
from kafka.structs import MemberState

from tests.services import NOWHERE
from tests.waiting import wait_until
from yadtq_core.brokers.kafka import workarounds

READ = {
    BaseCoordinator.join_group_async: "f9b7d8038dabf04d",
    BaseCoordinator.need_rejoin: "ae48ec8f8589812f",
    ConsumerCoordinator.need_rejoin: "7f90bc6c6f09cb6e",
    ConsumerCoordinator._perform_assignment: "6c2d497eab59efe2",
    Fetcher._create_fetch_requests: "4399843be7e40180",
    RecordAccumulator.append: "834a501e1eab0788",
}


@pytest.fixture
def address() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def consumer(address: str) -> Iterator[KafkaConsumer]:
    """A consumer that has subscribed and will not join."""
    made = KafkaConsumer(bootstrap_servers=address, api_version=(4, 3), group_id="g", enable_auto_commit=False)
    made.subscribe(topics=["t"])
    yield made
    made.close(timeout_ms=100)


def test_the_version_is_the_one_that_was_read() -> None:
    assert kafka.__version__.startswith("3.0.")


def test_the_code_that_is_worked_around_is_unchanged() -> None:
    """Read the change, see whether `internals` still fits, then put the new digest here."""
    assert {function: _digest(function) for function in READ} == READ


def test_a_begun_join_is_still_forgotten_upstream_and_not_here(consumer: KafkaConsumer) -> None:
    """Begun because partitions grew, not applied yet: upstream sees no need to go on."""
    coordinator = consumer._coordinator
    coordinator.group_protocols()
    coordinator.rejoin_needed = False
    coordinator.rejoining = True
    assert coordinator.need_rejoin() is False
    workarounds.finish_joins(consumer)
    assert coordinator.need_rejoin() is True
    coordinator.rejoining = False
    assert coordinator.need_rejoin() is False


@pytest.mark.parametrize("mended", [False, True])
def test_a_finished_join_is_still_thrown_away_upstream_and_not_here(consumer: KafkaConsumer, mended: bool) -> None:
    """Finished between two polls: upstream begins another, for which the whole group must join again."""
    if mended:
        workarounds.finish_joins(consumer)
    coordinator = consumer._coordinator
    coordinator.rejoining, coordinator.state = True, MemberState.REBALANCING
    coordinator._join_task = Future().success(b"")
    begun: list[int] = []

    async def found(timeout_ms: float | None = None) -> bool:
        return True

    async def join() -> bytes:
        begun.append(1)
        return b""

    async def applied(*_: object) -> None:
        pass

    coordinator.ensure_coordinator_ready_async = found
    coordinator._do_join_and_sync_async = join
    coordinator._on_join_complete_async = applied
    assert consumer._net.run(lambda: coordinator.join_group_async(timeout_ms=1000))
    assert coordinator.state == MemberState.STABLE
    assert len(begun) == (0 if mended else 1)


def test_a_heartbeat_without_an_answer_still_makes_poll_spin_upstream_and_not_here(consumer: KafkaConsumer) -> None:
    coordinator = consumer._coordinator
    coordinator.state = MemberState.STABLE

    def wait() -> float:
        """How long a poll would wait; the consumer's own thread may send a heartbeat at any time."""
        coordinator.heartbeat.last_send = coordinator.heartbeat.last_reset = time.monotonic() - 60
        return float(coordinator.time_to_next_poll())

    wait_until(lambda: wait() == 0, "a poll that would not wait at all")
    workarounds.rest_between_looks(consumer)
    assert min(wait() for _ in range(100)) > 0
    coordinator.state = MemberState.UNJOINED


@pytest.mark.slow
@pytest.mark.parametrize("mended", [False, True])
def test_a_connection_refused_still_leaves_its_socket_upstream_and_not_here(
    mended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's file descriptors must not grow while its broker is down."""
    settings: dict[str, object] = {"reconnect_backoff_max_ms": 100}
    settings |= {"proxy_url": workarounds.CLOSING_SOCKET} if mended else {}
    connect, tried = KafkaNetSocket.sock_connect, list[int]()

    async def counted(*given: object, **named: object) -> object:
        tried.append(1)
        return await connect(*given, **named)

    monkeypatch.setattr(KafkaNetSocket, "sock_connect", counted)
    gc.collect()
    gc.disable()
    try:
        made = KafkaConsumer(bootstrap_servers=NOWHERE, api_version=(4, 3), group_id="g", **settings)
        made.subscribe(topics=["t"])
        before = _sockets()
        wait_until(lambda: made.poll(timeout_ms=100) or len(tried) > 5, "it has tried to connect again and again")
        left = _sockets() - before
        made.close(timeout_ms=100)
    finally:
        gc.enable()
        gc.collect()
    assert (left <= 1) if mended else (left >= 3)


def test_a_producer_has_the_internals_that_are_used(address: str) -> None:
    producer = KafkaProducer(bootstrap_servers=address, api_version=(4, 3), enable_idempotence=False)
    try:
        workarounds.never_create_topics(producer)
        assert producer._metadata.metadata_request().allow_auto_topic_creation is False
        assert producer._accumulator.append
        assert producer._sender.wakeup
    finally:
        workarounds.end_producer(producer, 0.1)
    assert not producer._sender.is_alive()


def _sockets() -> int:
    """Return how many sockets this process has open."""
    return sum(1 for item in gc.get_objects() if isinstance(item, socket.socket) and item.fileno() >= 0)


def _digest(function: Callable[..., object]) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]


def test_how_long_a_fetch_waits_at_the_broker_can_be_changed(consumer: KafkaConsumer) -> None:
    assert consumer._fetcher.config["fetch_max_wait_ms"] == 500
    workarounds.wait_at_broker(consumer, 10)
    assert consumer._fetcher.config["fetch_max_wait_ms"] == 10
