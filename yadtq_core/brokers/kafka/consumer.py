"""One worker's membership in the group (`interfaces.ReplayableConsumer`). Used by one thread only."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.structs import MemberState

from yadtq_core.brokers.kafka import workarounds
from yadtq_core.brokers.kafka.admin import unreachable, within
from yadtq_core.brokers.kafka.commits import Commits
from yadtq_core.brokers.kafka.membership import Ownership, Watch
from yadtq_core.brokers.kafka.tuning import Cluster, consumer_settings
from yadtq_core.errors import EnvelopeError
from yadtq_core.model import Delivery, Partition, Place, Unreadable
from yadtq_core.wire import envelope

log = logging.getLogger("yadtq.broker")
Answer = TypeVar("Answer")

_STEP_SECONDS, _STEP_JOINING_SECONDS = 0.5, 0.1
"""Between two checks for gained and lost partitions while a poll waits: each costs 1 ms of CPU."""
_BUSY_MESSAGES = 100
_BUSY_SECONDS = 1.0
"""After a poll of this many messages a member is busy for this long: its fetches wait less at the broker."""
_WAIT_MS, _BUSY_WAIT_MS = 500, 10
_TROUBLE_PAUSE_SECONDS = 0.1
_TROUBLE_SECONDS = 20.0
"""A client whose every poll raises for this long is replaced."""
_ABANDON_SECONDS = 3.0
_CLOSE_SECONDS = 1.0


class KafkaGroupConsumer:
    """A member of the group of its namespace.

    Gained partitions are paused until `resume`; lost ones are committed as far as `commit` was called. A member that
    hangs outside the group is closed and replaced in here: to the caller all its partitions are lost.
    """

    def __init__(self, cluster: Cluster, queues: Sequence[str], member: str) -> None:
        self._cluster = cluster
        self._url = cluster.url
        self._names = cluster.names
        self._tuning = tuning = cluster.tuning
        self._topics = [self._names.topic(queue) for queue in queues]
        self._member = member
        self._trouble_since: float | None = None
        self._busy_until = 0.0
        self._closed = False
        self._partitions: dict[TopicPartition, Partition] = {}
        self._begin()
        try:
            workarounds.fetch_metadata(self._consumer, self._topics, tuning.reach)
        except KafkaError as error:
            within(_ABANDON_SECONDS, lambda: self._consumer.close(timeout_ms=_ABANDON_SECONDS * 1000))
            raise unreachable(self._cluster, error) from None

    def poll(self, max_messages: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        """Return up to `max_messages` messages, waiting at most `timeout` seconds for the first.

        With 0 messages all partitions are paused during the poll. Returns at once when partitions were gained or lost:
        the caller reads them by `changes`.
        """
        deadline = time.monotonic() + timeout
        while not self._closed:
            step = _STEP_SECONDS if self._joined else _STEP_JOINING_SECONDS
            left = deadline - time.monotonic()
            found = self._poll_once(max_messages, max(0.0, min(left, step)))
            if found or left <= step or self._ownership.changed:
                return found
        return []

    def changes(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        """Return the partitions (gained, lost) since the last call; gained ones are paused."""
        gained, lost = self._ownership.changes()
        return frozenset(map(self._names.from_kafka, gained)), frozenset(map(self._names.from_kafka, lost))

    def settle(self, places: Sequence[Place]) -> None:
        """Do nothing: progress is an offset (`commit`)."""

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop delivery from these partitions."""
        self._consumer.pause(*self._mine(partitions))

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Continue delivery from these partitions."""
        mine = self._mine(partitions)
        self._ownership.held.difference_update(mine)
        self._consumer.resume(*mine)

    def committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, tuple[int, str]]:
        """Return committed (offset, metadata) of the partitions that have one. Raises BrokerUnavailable."""
        asked = [self._names.to_kafka(partition) for partition in partitions]
        found = self._ask(lambda: workarounds.committed(self._consumer, asked, self._tuning.reach))
        return {
            self._names.from_kafka(partition): (commit.offset, commit.metadata or "")
            for partition, commit in found.items()
        }

    def commit(self, offsets: Mapping[Partition, tuple[int, str]]) -> None:
        """Begin to commit (offset, metadata) of the partitions that this member holds.

        The newest waits behind one in progress. Of longer metadata the first 4,096 characters are kept. The next
        commit repeats a failed one.
        """
        assigned = self._consumer.assignment()
        mine = {self._names.to_kafka(partition): offset for partition, offset in offsets.items()}
        try:
            self._commits.give({partition: offset for partition, offset in mine.items() if partition in assigned})
        except Exception as error:
            self._trouble(error, 0)

    def position(self, partition: Partition) -> int | None:
        """Return the offset of the next message; None if it is not known yet or another member has the partition."""
        return workarounds.position(self._consumer, self._names.to_kafka(partition))

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Return the offset after the last acknowledged message of each log. Raises BrokerUnavailable."""
        asked = [self._names.to_kafka(partition) for partition in partitions]
        found = self._ask(lambda: self._consumer.end_offsets(asked, timeout_ms=self._tuning.reach * 1000))
        return {self._names.from_kafka(partition): int(end) for partition, end in found.items()}

    def offset_at(self, partition: Partition, time_ms: int) -> int | None:
        """Return the first offset whose message is not older than `time_ms`, None if there is none.

        Raises BrokerUnavailable.
        """
        asked = self._names.to_kafka(partition)
        found = self._ask(
            lambda: self._consumer.offsets_for_times({asked: max(0, time_ms)}, timeout_ms=self._tuning.reach * 1000)
        )[asked]
        return None if found is None else int(found.offset)

    def seek(self, partition: Partition, offset: int) -> None:
        """Read this partition from this offset on; a partition of another member is ignored."""
        for mine in self._mine([partition]):
            self._consumer.seek(mine, offset)

    def close(self, timeout: float) -> None:
        """Commit, leave the group and disconnect within `timeout` seconds. Never raises."""
        self._closed = True
        within(timeout + _CLOSE_SECONDS, lambda: self._consumer.close(timeout_ms=timeout * 1000))

    def _begin(self) -> None:
        """Create the client and subscribe; it joins with the first poll."""
        # Read again, because the password may have changed in its file.
        settings = consumer_settings(self._cluster, self._member)
        self._consumer = KafkaConsumer(partition_assignment_strategy=[CooperativeStickyAssignor], **settings)
        workarounds.never_create_topics(self._consumer)
        workarounds.finish_joins(self._consumer)
        workarounds.rest_between_looks(self._consumer)
        self._commits = Commits(self._consumer.commit_async)
        self._ownership = Ownership(self._commits, self._consumer.pause)
        self._watch = Watch(self._tuning.rebalance + self._tuning.stuck)
        self._consumer.subscribe(topics=self._topics, listener=self._ownership)

    def _begin_anew(self, reason: str) -> None:
        log.error("replacing the membership: %s", reason)
        old, ownership = self._consumer, self._ownership
        ownership.lose(old.assignment())
        lost = ownership.changes()[1]
        within(_ABANDON_SECONDS, lambda: old.close(timeout_ms=_ABANDON_SECONDS * 1000))
        self._begin()
        self._ownership.lose(lost)
        self._trouble_since = None

    @property
    def _joined(self) -> bool:
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def _look_after(self) -> None:
        """Watch the membership and send waiting commits, between two polls."""
        self._watch.sight(workarounds.coordinator_known(self._consumer), self._url)
        if self._watch.stuck(self._joined):
            self._begin_anew(f"not in the group for {self._tuning.rebalance + self._tuning.stuck:g} s")
        try:
            self._commits.advance()
        except Exception as error:
            self._trouble(error, 0)

    def _trouble(self, error: Exception, timeout: float) -> None:
        """Log and survive an error of kafka-python; replace a client that only raises."""
        now = time.monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
            log.warning("polling Kafka at %s failed and continues: %r", self._url, error)
        elif now - self._trouble_since > _TROUBLE_SECONDS:
            self._begin_anew(f"every poll for {_TROUBLE_SECONDS:g} s failed: {error!r}")
        time.sleep(min(timeout, _TROUBLE_PAUSE_SECONDS))

    def _poll_once(self, max_messages: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        self._look_after()
        try:
            poll = self._polled if max_messages else self._polled_for_none
            records = poll(timeout * 1000, max_messages)
            self._trouble_since = None
        except Exception as error:
            self._trouble(error, timeout)
            return []
        self._adapt_wait(sum(map(len, records.values())))
        found: list[Delivery | Unreadable] = []
        for partition, part in records.items():
            if partition in self._ownership.held:  # polled by the same poll that joined: fetched again after resume
                self._consumer.seek(partition, part[0].offset)
            else:
                self._read(partition, part, found)
        return found

    def _polled(self, timeout_ms: float, most: int) -> dict[TopicPartition, Sequence[Any]]:
        records: dict[TopicPartition, Sequence[Any]] = self._consumer.poll(timeout_ms=timeout_ms, max_records=most)
        return records

    def _polled_for_none(self, timeout_ms: float, _: int) -> dict[TopicPartition, Sequence[Any]]:
        """Keep the membership: kafka-python refuses a poll for 0 records, and keeps what it has fetched when paused."""
        flowing = self._consumer.assignment() - self._consumer.paused()
        self._consumer.pause(*flowing)
        try:
            return self._polled(timeout_ms, 1)
        finally:
            # A partition that the poll has taken away and given back is held until `resume`.
            self._consumer.resume(*((flowing & self._consumer.assignment()) - self._ownership.held))

    def _adapt_wait(self, messages: int) -> None:
        """Let fetches wait less at the broker while many messages come: a busy partition waits for idle ones."""
        now = time.monotonic()
        if messages >= _BUSY_MESSAGES:
            self._busy_until = now + _BUSY_SECONDS
        workarounds.wait_at_broker(self._consumer, _BUSY_WAIT_MS if now < self._busy_until else _WAIT_MS)

    def _read(self, partition: TopicPartition, records: Sequence[Any], found: list[Delivery | Unreadable]) -> None:
        """Decode records; every message passes this loop."""
        place = self._partitions.get(partition)
        if place is None:
            place = self._partitions[partition] = self._names.from_kafka(partition)
        decode = envelope.decode
        for record in records:
            body = record.value
            try:
                found.append(Delivery(decode(body), body, place, record.offset))
            except EnvelopeError as error:
                found.append(Unreadable(body, place, record.offset, str(error), error.task_id))
            except TypeError:  # a record without a value
                found.append(Unreadable(body or b"", place, record.offset, "it has no value"))

    def _mine(self, partitions: Sequence[Partition]) -> list[TopicPartition]:
        assigned = self._consumer.assignment()
        return [held for partition in partitions if (held := self._names.to_kafka(partition)) in assigned]

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except KafkaError as error:
            raise unreachable(self._cluster, error) from None
