"""The reference broker, in the memory of this process, with the rules of the streams; for tests and for reading.

A message waits until it is delivered, is then pending for its consumer until it is settled, and is then removed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from yadtq_core.brokers.published import Published
from yadtq_core.errors import ConfigurationRefused, EnvelopeError
from yadtq_core.interfaces import Outgoing
from yadtq_core.model import Delivery, Finding, Partition, Place, Unreadable, ok
from yadtq_core.settings import Settings, masked_url
from yadtq_core.wire import envelope


class Pending(NamedTuple):
    """A delivered message, and the time from which another consumer may take it (the queues' clock)."""

    body: bytes
    holder: object
    until: float


class Queues:
    """One namespace's messages. `clock` gives seconds; a test may set its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        """Held during every use of the rest; notified when messages arrive."""
        self.waiting: dict[str, dict[int, bytes]] = {}
        self.pending: dict[str, dict[int, Pending]] = {}
        self.dead: dict[tuple[str, str], bytes] = {}
        self.next_offset = 0

    def make(self, queue: str) -> None:
        """Create a queue if it is missing."""
        self.waiting.setdefault(queue, {})
        self.pending.setdefault(queue, {})

    def add(self, queue: str, body: bytes) -> int:
        """Add a message to the end of its queue; return its offset."""
        self.make(queue)
        offset, self.next_offset = self.next_offset, self.next_offset + 1
        self.waiting[queue][offset] = body
        self.changed.notify_all()
        return offset

    def take(self, queue: str, holder: object, most: int, lease: float) -> list[tuple[int, bytes]]:
        """Deliver messages that other consumers did not settle in time, then waiting ones."""
        now = self.clock()
        late = [(offset, entry.body) for offset, entry in self.pending[queue].items() if entry.until <= now]
        taken = [*late, *self.waiting[queue].items()][:most]
        for offset, body in taken:
            self.waiting[queue].pop(offset, None)
            self.pending[queue][offset] = Pending(body, holder, now + lease)
        return taken

    def leave(self, holder: object) -> None:
        """Leave a closing consumer's pending messages to any other one."""
        for entries in self.pending.values():
            for offset, entry in entries.items():
                if entry.holder is holder:
                    entries[offset] = entry._replace(until=self.clock())
        self.changed.notify_all()


_queues: dict[tuple[str, str], Queues] = {}
"""By address and namespace: shared by all of one process; like the backend's records they outlive a broker."""


def open(settings: Settings) -> MemoryBroker:  # noqa: A001  (the name of every implementation's factory)
    """Return the broker at `settings.broker`; all brokers of this process at one address share their messages.

    Raises ConfigurationRefused if the backend is not in memory too.
    """
    if not settings.backend.startswith("memory://"):
        raise ConfigurationRefused(
            f"broker {settings.broker} with backend {masked_url(settings.backend)}: memory lives in one process and "
            "ends with it; use memory:// for both or for neither"
        )
    queues = _queues.setdefault((settings.broker, settings.namespace), Queues())
    return MemoryBroker(queues, lease=settings.claim_stale_seconds)


class MemoryBroker:
    """`interfaces.Broker` in this process. `lease`: seconds until another consumer may take an unsettled message."""

    replayable = False
    partitioned = False

    def __init__(self, queues: Queues, *, lease: float = 15.0) -> None:
        self._queues = queues
        self._lease = lease

    def ensure(self, queues: Sequence[str], *, create: bool) -> None:
        """Check that each queue exists; with `create` make missing ones. Raises ConfigurationRefused."""
        with self._queues.changed:
            for queue in queues:
                if create:
                    self._queues.make(queue)
                elif queue not in self._queues.waiting:
                    raise ConfigurationRefused(f"queue {queue} does not exist: call provision() first")

    def grow(self, queues: Sequence[str], partitions: int) -> None:
        """Raise ConfigurationRefused: a queue in memory has one partition."""
        raise ConfigurationRefused("memory:// has no partitions to set")

    def publish(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Published:
        """Add messages to their queues."""
        with self._queues.changed:
            return Published([f"0:{self._queues.add(message.queue, message.body)}" for message in messages])

    def publish_dead(self, messages: Sequence[Outgoing], *, timestamp_ms: int) -> Published:
        """Keep messages as dead letters, by ID; an empty body removes a letter."""
        with self._queues.changed:
            for message in messages:
                if message.body:
                    self._queues.dead[message.queue, message.id] = message.body
                else:
                    self._queues.dead.pop((message.queue, message.id), None)
        return Published([f"dead:{message.id}" for message in messages])

    def unacknowledged(self) -> int:
        """Return 0: every published message is in its queue."""
        return 0

    def stream(self, queue: str, shard: int) -> None:
        """Return None: messages are published apart from their records."""

    def consumer(self, queues: Sequence[str], *, member: str) -> MemoryConsumer:
        """Return a consumer of these queues."""
        self.ensure(queues, create=True)
        return MemoryConsumer(self._queues, queues, self._lease)

    def findings(self, now_ms: int) -> Sequence[Finding]:
        """Return one finding for each queue, with the number of its waiting messages."""
        with self._queues.changed:
            return [
                ok("lag", f"queue {queue}: {len(waiting)} messages are waiting in this process's memory")
                for queue, waiting in self._queues.waiting.items()
            ]

    def close(self, timeout: float) -> None:
        """Do nothing: messages stay until the process ends."""


class MemoryConsumer:
    """`interfaces.Consumer` in this process."""

    def __init__(self, queues: Queues, names: Sequence[str], lease: float) -> None:
        self._queues = queues
        self._partitions = [Partition(name, 0) for name in names]
        self._paused: set[Partition] = set()
        self._lease = lease

    def poll(self, max_messages: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        """Return up to `max_messages` messages, waiting at most `timeout` seconds for the first."""
        with self._queues.changed:
            return self._queues.changed.wait_for(lambda: self._taken(max_messages), timeout)

    def _taken(self, most: int) -> list[Delivery | Unreadable]:
        found: list[Delivery | Unreadable] = []
        for partition in self._partitions:
            if partition not in self._paused:
                entries = self._queues.take(partition.queue, self, most - len(found), self._lease)
                found += [_read(partition, offset, body) for offset, body in entries]
        return found

    def changes(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        """Return nothing: all consumers share every queue."""
        return frozenset(), frozenset()

    def settle(self, places: Sequence[Place]) -> None:
        """Remove these messages."""
        with self._queues.changed:
            for partition, offset in places:
                self._queues.pending[partition.queue].pop(offset, None)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop delivery from these partitions."""
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Continue delivery from these partitions."""
        self._paused.difference_update(partitions)

    def close(self, timeout: float) -> None:
        """Leave unsettled messages to other consumers."""
        with self._queues.changed:
            self._queues.leave(self)


def _read(partition: Partition, offset: int, body: bytes) -> Delivery | Unreadable:
    try:
        return Delivery(envelope.decode(body), body, partition, offset)
    except EnvelopeError as error:
        return Unreadable(body, partition, offset, str(error), error.task_id)
