"""All uses of kafka-python beyond its public names, and their reasons.

`kafka-python` is pinned to >=3.0.12,<3.1. `tests/unit/brokers/kafka/test_workarounds.py` checks these names
against the installed version, so that an upgrade which moves them fails there and not in production.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import BrokerResponseError, KafkaError, KafkaTimeoutError, TopicAuthorizationFailedError
from kafka.future import Future
from kafka.net import KafkaNetSocket
from kafka.net.compat import KafkaNetClient
from kafka.structs import MemberState

_LOOK_SECONDS = 0.001
_REST_SECONDS = 0.05


def finish_joins(consumer: KafkaConsumer) -> None:
    """Make a consumer finish the joins that it begins, however short its polls are.

    `poll(timeout)` may end before the replies to JoinGroup and SyncGroup arrive. Then kafka-python 3.0.12

    - never applies the join, sends no heartbeat, and hangs, if it began the join because the metadata had changed
      (new partitions) and `need_rejoin` is false by then: 4 of 60 starts at 100 ms;
    - drops a join that finished between two polls, and begins another. A leader that does so makes the whole group
      join again, and two members that poll in turn may never finish.

    No report of either was found upstream.
    """
    coordinator = consumer._coordinator
    decided: Callable[[], bool] = coordinator.need_rejoin
    join = coordinator.join_group_async

    def need_rejoin() -> bool:
        return decided() or bool(coordinator.rejoining and coordinator._subscription.partitions_auto_assigned())

    async def join_group_async(timeout_ms: float | None = None) -> bool:
        finished = coordinator._join_task
        if (
            finished is not None
            and finished.succeeded()
            and coordinator.rejoining
            and coordinator.state == MemberState.REBALANCING
        ):
            coordinator._join_task = again = Future()  # the same answer, as if it arrived now
            coordinator._net.call_soon(lambda: again.success(finished.value))
        return bool(await join(timeout_ms=timeout_ms))

    coordinator.need_rejoin = need_rejoin
    coordinator.join_group_async = join_group_async


def rest_between_looks(consumer: KafkaConsumer) -> None:
    """Keep `poll` from spinning while a heartbeat waits for its answer.

    It waits for messages until the next heartbeat at most, and from one second after an unanswered heartbeat that is
    0 s. If a broker hangs, kafka-python 3.0.12 loops 3,000 times a second until the request times out, and every loop
    leaves a traceback with the pending fetch (300 MB in 15 s, measured). A message still ends the wait.
    """
    coordinator = consumer._coordinator
    decided: Callable[[], float] = coordinator.time_to_next_poll
    coordinator.time_to_next_poll = lambda: max(decided(), _REST_SECONDS)


class ClosingSocket(KafkaNetSocket):  # type: ignore[misc]  # kafka-python has no type hints
    """Connects as kafka-python does, and closes the socket if that fails.

    3.0.12 leaves it to the garbage collector, in a cycle: an outage of an hour costs a worker hundreds of file
    descriptors. It is configured as a proxy (`proxy_url`), the only setting that accepts another socket class.
    """

    SCHEMES = ("yadtq-direct",)

    async def sock_connect(self, net: Any, sock: Any, sockaddr: Any, timeout_at: float | None = None) -> Any:
        """Connect the socket; raises what kafka-python raises."""
        try:
            return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except Exception:
            sock.close()
            raise


CLOSING_SOCKET = "yadtq-direct://"


def never_create_topics(client: KafkaConsumer | KafkaProducer) -> None:
    """Stop metadata requests from creating topics: kafka-python 3.0.12 does not pass the setting of this name on."""
    cluster = client._metadata if isinstance(client, KafkaProducer) else client._cluster
    cluster.config["allow_auto_create_topics"] = False


def fetch_metadata(consumer: KafkaConsumer, topics: Sequence[str], timeout: float) -> None:
    """Wait until the consumer knows the partitions of its topics, at most `timeout` seconds.

    Without them the first join is repeated, and the second one may hang (`finish_joins`).
    `KafkaConsumer.topics()` does the same for every topic of the cluster, and waits without a limit.
    Raises KafkaTimeoutError if the broker cannot be reached; a topic that does not exist is ignored.
    """
    deadline = time.monotonic() + timeout
    cluster = consumer._cluster
    for _ in range(3):
        if all(cluster.partitions_for_topic(topic) for topic in topics):
            return
        left = max(0.0, deadline - time.monotonic()) * 1000
        try:
            consumer._net.run(consumer._manager.wait_for, cluster.request_update(), left)
        except KafkaTimeoutError:
            raise
        except KafkaError:
            continue


def partition_counts(producer: KafkaProducer, topics: Iterable[str], timeout: float) -> dict[str, int]:
    """Return the number of partitions of each topic; topics that do not exist are left out.

    One metadata request by the producer's own connection: a one-off `yadtq submit` needs no second client.
    Raises KafkaTimeoutError if no answer came within `timeout` seconds, and TopicAuthorizationFailedError.
    """
    deadline = time.monotonic() + timeout
    metadata = producer._metadata
    wanted = set(topics)
    for topic in wanted:
        producer._sender.add_topic(topic)
    while not wanted <= metadata._topics:
        _sleep_until(deadline, "the producer's thread does not answer")
    answers = 0
    while answers < 2:  # the first answer may be to a request sent before the topics were added
        asked = metadata.request_update()
        answered = threading.Event()
        asked.add_both(lambda _, done=answered: done.set())
        producer._sender.wakeup()
        if not answered.wait(max(0.0, deadline - time.monotonic())):
            raise KafkaTimeoutError("no metadata within the time given")
        counts = {topic: len(found) for topic in wanted if (found := metadata.partitions_for_topic(topic))}
        if len(counts) == len(wanted):
            return counts
        if asked.succeeded() or isinstance(asked.exception, BrokerResponseError):
            answers += 1
        else:
            _sleep_until(deadline, "the broker cannot be reached")
    if refused := wanted & metadata.unauthorized_topics:
        raise TopicAuthorizationFailedError(", ".join(sorted(refused)))
    return counts


def _sleep_until(deadline: float, reason: str) -> None:
    if time.monotonic() > deadline:
        raise KafkaTimeoutError(reason)
    time.sleep(_LOOK_SECONDS)


def appender(producer: KafkaProducer) -> Callable[[TopicPartition, int, bytes], Any]:
    """Return `append(partition, timestamp_ms, value) -> future`: `KafkaProducer.send` without its checks.

    The checks (partition, size) cost 5 µs of the 13 µs of a message, and the caller makes them before. Call `wake`
    after the last append.
    """
    accumulator = producer._accumulator
    headers: list[tuple[str, bytes]] = []

    def append(partition: TopicPartition, timestamp_ms: int, value: bytes) -> Any:
        return accumulator.append(partition, timestamp_ms, None, value, headers)[0]

    return append


def wake(producer: KafkaProducer) -> None:
    """Wake the producer's thread, so that it sends appended messages."""
    producer._sender.wakeup()


def end_producer(producer: KafkaProducer, timeout: float) -> None:
    """Close a producer within `timeout` seconds, and drop its unsent messages.

    `KafkaProducer.close` raises if messages are left, and leaves its thread running.
    """
    producer._unregister_cleanup()
    producer._sender.initiate_close()
    producer._sender.join(timeout)
    if producer._sender.is_alive():
        producer._sender.force_close()
        producer._sender.join(1.0)
    producer._closed = True


def position(consumer: KafkaConsumer, partition: TopicPartition) -> int | None:
    """Return the offset of the next message, None if it is not known (`KafkaConsumer.position` asks the broker)."""
    state = consumer._subscription.assignment.get(partition)
    found = None if state is None else state.position
    return None if found is None else int(found.offset)


def committed(
    consumer: KafkaConsumer, partitions: Sequence[TopicPartition], timeout: float
) -> Mapping[TopicPartition, OffsetAndMetadata]:
    """Return the group's commits of many partitions by one request (`KafkaConsumer.committed` takes one)."""
    found: Mapping[TopicPartition, OffsetAndMetadata]
    found = consumer._coordinator.fetch_committed_offsets(list(partitions), timeout_ms=timeout * 1000)
    return found


def wait_at_broker(consumer: KafkaConsumer, milliseconds: int) -> None:
    """Let the broker hold later fetches for this long at most when it has no message (`fetch_max_wait_ms`).

    A broker has one fetch at a time, and a fetch is about the partitions whose messages are used up: while one of the
    idle partitions waits for 500 ms, a busy one gets nothing: 2,600 messages a second, measured.
    """
    consumer._fetcher.config["fetch_max_wait_ms"] = milliseconds


def coordinator_known(consumer: KafkaConsumer) -> bool:
    """True if the group's coordinator is known."""
    return consumer._coordinator.coordinator() is not None


class Clients:
    """Creates the network clients of a kafka-python object, and closes them if its constructor raises.

    An admin client that cannot reach its broker raises from its constructor and leaves a thread running.
    """

    def __init__(self) -> None:
        self._made: list[KafkaNetClient] = []

    def __call__(self, **settings: Any) -> KafkaNetClient:
        client = KafkaNetClient(**settings)
        self._made.append(client)
        return client

    def close(self) -> None:
        for client in self._made:
            client.close()
        self._made.clear()
