"""Messages for the tests of a broker, members that read them as a worker does, and a namespace with both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from yadtq_core.interfaces import Broker, Consumer, ReplayableConsumer
from yadtq_core.model import Delivery, Outgoing, Partition, Place, Unreadable, new_id
from yadtq_core.testing.waiting import wait_until
from yadtq_core.wire import envelope

STEP_SECONDS = 0.1
CLOSE_SECONDS = 5.0


def messages(count: int, queue: str = "default", padding: int = 0) -> list[Outgoing]:
    """Return new messages with different IDs."""
    return [message(new_id(), queue, padding) for _ in range(count)]


def message(task_id: str, queue: str = "default", padding: int = 0) -> Outgoing:
    """Return one stamped message, longer by `padding` bytes."""
    arguments = b"[[1,2,3],{}]" + b" " * padding
    built = envelope.build("add", arguments, id=task_id, queue=queue)
    return Outgoing(task_id, queue, envelope.stamp(envelope.encode(built), now_ms()))


def now_ms() -> int:
    """Return the current time, as `publish` takes it."""
    return int(time.time() * 1000)


def publish(broker: Broker, sent: Sequence[Outgoing], timeout: float = 30.0) -> list[str]:
    """Publish, and return the positions; every message must be acknowledged in time."""
    positions = broker.publish(sent, timestamp_ms=now_ms()).wait(timeout)
    assert None not in positions
    return [position for position in positions if position is not None]


class Member:
    """A member of the group: it resumes the partitions that it gains, and keeps the messages that it read."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.owned: set[Partition] = set()
        self.read: list[Delivery] = []
        self.unreadable: list[Unreadable] = []

    @property
    def offsets(self) -> ReplayableConsumer:
        """The consumer, of a replayable broker."""
        assert isinstance(self.consumer, ReplayableConsumer)
        return self.consumer

    def step(self, timeout: float = STEP_SECONDS, most: int = 500) -> int:
        """Poll once; return the number of messages."""
        found = self.consumer.poll(most, timeout)
        gained, lost = self.consumer.changes()
        self.owned = self.owned - lost | gained
        self.consumer.resume(list(gained))
        for one in found:
            if isinstance(one, Delivery):
                self.read.append(one)
            else:
                self.unreadable.append(one)
        return len(found)

    def commit_read(self, metadata: str = "") -> None:
        """Commit the offsets behind everything read, as a worker does when all of it is done."""
        newest: dict[Partition, int] = {}
        for delivery in self.read:
            assert delivery.partition is not None
            newest[delivery.partition] = max(newest.get(delivery.partition, 0), delivery.offset + 1)
        self.offsets.commit({partition: (offset, metadata) for partition, offset in newest.items()})

    def settle_read(self) -> None:
        """Settle every message that was read, and commit past it if the broker is replayable."""
        self.consumer.settle([Place(one.partition, one.offset) for one in self.read if one.partition is not None])
        if isinstance(self.consumer, ReplayableConsumer):
            self.commit_read()
        self.step(0.0, 0)

    @property
    def ids(self) -> list[str]:
        """The IDs of the messages read, in order."""
        return [delivery.message.id for delivery in self.read]


def step_until(
    members: Iterable[Member], condition: Callable[[], object], description: str, timeout: float = 40.0
) -> None:
    """Step the members in turn until `condition` is true."""
    working = list(members)

    def look() -> object:
        for member in working:
            member.step(STEP_SECONDS / len(working))
        return condition()

    wait_until(look, description, timeout)


class BrokerBed:
    """A namespace with the queues `default` and `other`, and the members opened in it."""

    def __init__(self, opener: Callable[[], Broker]) -> None:
        self._opener = opener
        self._opened: list[Broker] = []
        self._members: list[Member] = []
        self.broker = self.open()
        self.broker.ensure(["default", "other"], create=True)

    def open(self) -> Broker:
        """Return another broker of this namespace."""
        made = self._opener()
        self._opened.append(made)
        return made

    def join(self, queues: Sequence[str] = ("default",), broker: Broker | None = None) -> Member:
        """Return a new member; it joins the group with its first step."""
        member = Member((broker or self.broker).consumer(queues, member="member"))
        self._members.append(member)
        return member

    def close(self) -> None:
        """Close all members and brokers."""
        for member in self._members:
            member.consumer.close(CLOSE_SECONDS)
        for made in self._opened:
            made.close(CLOSE_SECONDS)
