"""Messages for tests of a broker, and members that take them as a worker would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from yadtq_core.interfaces import Broker, Consumer, ReplayableConsumer
from yadtq_core.model import Delivery, Outgoing, Partition, Place, Unreadable, new_id
from yadtq_core.testing.waiting import wait_until
from yadtq_core.wire import envelope

STEP_SECONDS = 0.1


def messages(count: int, queue: str = "default", padding: int = 0) -> list[Outgoing]:
    """Return new messages, each with an ID of its own."""
    return [message(new_id(), queue, padding) for _ in range(count)]


def message(task_id: str, queue: str = "default", padding: int = 0) -> Outgoing:
    """Return one message, stamped; `padding` makes it so many bytes longer."""
    arguments = b"[[1,2,3],{}]" + b" " * padding
    built = envelope.build("add", arguments, id=task_id, queue=queue)
    return Outgoing(task_id, queue, envelope.stamp(envelope.encode(built), now_ms()))


def now_ms() -> int:
    """Return the time as a publication bears it."""
    return int(time.time() * 1000)


def publish(broker: Broker, sent: Sequence[Outgoing], timeout: float = 30.0) -> list[str]:
    """Publish and return the positions, all of which must be known."""
    positions = broker.publish(sent, timestamp_ms=now_ms()).wait(timeout)
    assert None not in positions
    return [position for position in positions if position is not None]


class Member:
    """A worker's side of the group: resumes what it gains, and keeps what it read."""

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
        """Poll once; return how many messages came."""
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
        """Commit past what was read, as one does who has settled all of it."""
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
        """The IDs of what was read, in its order."""
        return [delivery.message.id for delivery in self.read]


def step_until(
    members: Iterable[Member], condition: Callable[[], object], description: str, timeout: float = 40.0
) -> None:
    """Let members work, each in turn, until `condition` is true."""
    working = list(members)

    def look() -> object:
        for member in working:
            member.step(STEP_SECONDS / len(working))
        return condition()

    wait_until(look, description, timeout)
