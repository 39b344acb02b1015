"""What waits for a slot, by lane, and the turns between lanes. A lane is a queue.

Each lane has two sources: deliveries that were polled from the log, and records that are ready in the store. Lanes take
turns, and within a lane so do its sources. So neither a backlog of another queue nor the backlog of its own queue
delays a retry, a delayed task, or a task that a lost worker has left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from yadtq_core.model import Delivery, Partition

ENOUGH_WAITING = 200
"""When this many deliveries of a lane wait to be claimed, no more are polled: other workers could take them sooner."""


@dataclass(slots=True)
class Waiting:
    """A delivery that was polled and is not claimed yet."""

    delivery: Delivery
    offered: bool = False


class Share(NamedTuple):
    """How many runs of the next claim come from each source of each lane."""

    ready: dict[str, int]
    polled: dict[str, int]


@dataclass(slots=True)
class Lane:
    """One lane. `ready`: records of this queue that are ready in the store, as the last answer said."""

    waiting: deque[Waiting] = field(default_factory=deque)
    ready: int = 0
    ready_first: bool = True
    """The next run comes from the store, if both sources have one."""
    paused: bool = False
    """Its partitions are paused, because enough of it waits here and other lanes must be polled."""


class Lanes:
    """The lanes of one worker."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._turns: deque[str] = deque()

    def _lane(self, queue: str) -> Lane:
        lane = self._lanes.get(queue)
        if lane is None:
            lane = self._lanes[queue] = Lane()
            self._turns.append(queue)
        return lane

    def __len__(self) -> int:
        """Return how many polled deliveries wait."""
        return sum(len(lane.waiting) for lane in self._lanes.values())

    def __iter__(self) -> Iterator[Waiting]:
        """Return the polled deliveries in the order of the turns: one of each lane, then the second of each."""
        sources = deque(iter(self._lanes[queue].waiting) for queue in self._turns)
        while sources:
            source = sources.popleft()
            entry = next(source, None)
            if entry is not None:
                yield entry
                sources.append(source)

    def deliveries(self) -> Iterator[Delivery]:
        """Return the polled deliveries in no particular order."""
        return (entry.delivery for lane in self._lanes.values() for entry in lane.waiting)

    # What waits

    def append(self, delivery: Delivery) -> None:
        """Add a polled delivery as the last of its lane."""
        self._lane(_queue(delivery)).waiting.append(Waiting(delivery))

    def put_first(self, entries: Iterable[Waiting]) -> None:
        """Add deliveries as the first of their lanes, in this order."""
        for entry in reversed(list(entries)):
            self._lane(_queue(entry.delivery)).waiting.appendleft(entry)

    def remove(self, entries: Iterable[Waiting]) -> None:
        """Remove these deliveries."""
        gone = {id(entry) for entry in entries}
        for lane in self._lanes.values():
            if any(id(entry) in gone for entry in lane.waiting):
                lane.waiting = deque(entry for entry in lane.waiting if id(entry) not in gone)

    def drop(self, partition: Partition) -> None:
        """Forget the deliveries of a partition."""
        lane = self._lane(partition.queue)
        lane.waiting = deque(entry for entry in lane.waiting if entry.delivery.partition != partition)

    def lowest(self, partition: Partition) -> int | None:
        """Return the lowest offset of this partition that waits, None if none does."""
        waiting = self._lane(partition.queue).waiting
        return min((e.delivery.offset for e in waiting if e.delivery.partition == partition), default=None)

    # What is ready in the store

    def note_ready(self, ready: Mapping[str, int]) -> None:
        """Note how many records of each queue are ready in the store."""
        for queue, count in ready.items():
            if count or queue in self._lanes:
                self._lane(queue).ready = count

    @property
    def ready(self) -> int:
        """How many records are ready in the store, as far as is known."""
        return sum(lane.ready for lane in self._lanes.values())

    # Turns

    def share(self, window: int) -> Share:
        """Divide the next `window` runs among the lanes in turn, and within a lane between its sources."""
        share = Share({}, {})
        left = {queue: [self._lanes[queue].ready, len(self._lanes[queue].waiting)] for queue in self._turns}
        left = {queue: counts for queue, counts in left.items() if any(counts)}
        if len(left) == 1 and not self.ready:
            return Share({}, dict.fromkeys(left, window))  # the usual case: one queue, and nothing is due
        while window and left:
            queue = self._next_turn(left)
            ready, polled = left[queue]
            lane = self._lanes[queue]
            from_store = bool(ready) and (lane.ready_first or not polled)
            if ready and polled:
                lane.ready_first = not lane.ready_first
            source = share.ready if from_store else share.polled
            source[queue] = source.get(queue, 0) + 1
            left[queue][0 if from_store else 1] -= 1
            if not any(left[queue]):
                del left[queue]
            window -= 1
        return share

    def _next_turn(self, among: Mapping[str, object]) -> str:
        """Return the next of these lanes, and make it the last."""
        while True:
            queue = self._turns[0]
            self._turns.rotate(-1)
            if queue in among:
                return queue

    def take(self, polled: Mapping[str, int]) -> Iterator[Delivery]:
        """Remove and return these numbers of polled deliveries by lane, and then those of any lane."""
        for queue, count in polled.items():
            waiting = self._lane(queue).waiting
            for _ in range(min(count, len(waiting))):
                yield waiting.popleft().delivery
        for queue in self._turns:
            waiting = self._lanes[queue].waiting
            while waiting:
                yield waiting.popleft().delivery

    # Polling

    def hungry(self, queues: Iterable[str]) -> bool:
        """True when one of these lanes has fewer than ENOUGH_WAITING deliveries."""
        return any(len(self._lane(queue).waiting) < ENOUGH_WAITING for queue in queues)

    def to_pause(self, queues: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return (lanes to pause now, lanes to resume now), of the assigned `queues`.

        A lane is paused while it has enough and another one does not: a poll returns messages of any lane, and those of
        a long backlog would leave no room for the others.
        """
        assigned = list(queues)
        several = len(assigned) > 1
        pause, resume = [], []
        for queue in assigned:
            lane = self._lane(queue)
            if several and not lane.paused and len(lane.waiting) >= ENOUGH_WAITING:
                lane.paused = True
                pause.append(queue)
            elif lane.paused and (not several or len(lane.waiting) < ENOUGH_WAITING // 2):
                lane.paused = False
                resume.append(queue)
        return pause, resume

    def paused(self, queue: str) -> bool:
        """True when this lane is paused."""
        lane = self._lanes.get(queue)
        return lane is not None and lane.paused


def _queue(delivery: Delivery) -> str:
    return delivery.message.queue if delivery.partition is None else delivery.partition.queue
