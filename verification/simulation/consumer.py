"""One worker's membership in the modelled group: `interfaces.Consumer` by the rules that the Kafka adapter keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from verification.simulation.log import Kafka, Member, name_of
from verification.simulation.strands import SimulatedProcess
from verification.simulation.weather import Weather
from yadtq_core.errors import BrokerUnavailable, EnvelopeError
from yadtq_core.model import Delivery, Partition, Place, Unreadable
from yadtq_core.wire import envelope

STEP = 0.2
"""Seconds between two looks for changes without a signal, while a poll waits."""


class Consumer:
    """The state of a member: its partitions, the position in each, and the offsets given to commit."""

    def __init__(self, kafka: Kafka, weather: Weather, process: SimulatedProcess, queues: Sequence[str]) -> None:
        self._kafka = kafka
        self._weather = weather
        self._process = process
        self._loom = process.loom
        self._queues = tuple(queues)
        self._member: Member | None = None
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._given: dict[Partition, tuple[int, str]] = {}
        self._gained: set[Partition] = set()
        self._lost: set[Partition] = set()
        self._commit_number = 0

    # Membership

    def _follow(self) -> bool:
        """Do what the coordinator asks of a member that polls; True where partitions came or went."""
        if not self._weather.kafka_reached(self._process):
            return False
        kafka = self._kafka
        kafka.expire(lambda process: not self._weather.kafka_reached(process))
        if self._member is not None and self._member.left:
            self._let_go(list(self._positions), "lost with its session")
            self._member = None
        if self._member is None:
            self._member = kafka.join(self._process, self._queues)
        mine = self._member
        for partition in [each for each in self._positions if kafka.targets.get(each) is not mine]:
            self._last_word([partition])
            kafka.owners.pop(partition, None)
            self._let_go([partition], "given up")
        for partition, target in kafka.targets.items():
            if target is mine and partition not in kafka.owners:
                kafka.owners[partition] = mine
                self._positions[partition] = kafka.committed(partition)
                self._paused.add(partition)
                self._gained.add(partition)
                kafka.history.tell(self._process.name, f"is given {name_of(partition)} at {self._positions[partition]}")
        return bool(self._gained or self._lost)

    def _let_go(self, partitions: Sequence[Partition], how: str) -> None:
        for partition in partitions:
            for kept in (self._positions, self._given):
                kept.pop(partition, None)
            self._paused.discard(partition)
            self._gained.discard(partition)
            self._lost.add(partition)
            self._kafka.history.tell(self._process.name, f"{name_of(partition)} is {how}")

    def _last_word(self, partitions: Sequence[Partition]) -> None:
        offsets = {each: self._given[each] for each in partitions if each in self._given}
        if offsets and self._member is not None and self._weather.kafka_reached(self._process):
            self._kafka.commit(self._member, offsets)

    def changes(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        """Return the partitions (gained, lost) since the last call."""
        self._process.check()
        found = frozenset(self._gained), frozenset(self._lost)
        self._gained, self._lost = set(), set()
        return found

    def close(self, timeout: float) -> None:
        """Commit, leave the group."""
        self._process.check()
        self._last_word(list(self._positions))
        if self._member is not None:
            self._member.closed_at = self._loom.now
            if self._weather.kafka_reached(self._process):
                self._kafka.leave(self._member)
        self._member, self._positions = None, {}

    # Messages

    def poll(self, max_messages: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        """Return up to `max_messages` messages; returns early where partitions came or went."""
        until = self._loom.now + timeout
        self._loom.wait(self._weather.delay() / 4)
        while True:
            changed = self._follow()
            found = self._fetched(max_messages) if self._weather.kafka_reached(self._process) else []
            left = until - self._loom.now
            if found or changed or left <= 0.0:
                return found
            self._loom.wait(min(left, STEP), self._kafka.news)

    def _fetched(self, most: int) -> list[Delivery | Unreadable]:
        found: list[Delivery | Unreadable] = []
        for partition, read_to in sorted(self._positions.items()):
            if partition in self._paused or len(found) >= most:
                continue
            log, start = self._kafka.logs[partition], self._kafka.starts[partition]
            position = read_to if start <= read_to <= len(log) else start  # out of range: reset to the earliest
            taken = log[position : position + most - len(found)]
            self._positions[partition] = position + len(taken)
            found += [_read(partition, position + index, entry.body) for index, entry in enumerate(taken)]
        return found

    def settle(self, places: Sequence[Place]) -> None:
        """Do nothing: progress is an offset."""

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Let no more messages of these come."""
        self._paused.update(each for each in partitions if each in self._positions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Let messages of these come again."""
        self._paused.difference_update(partitions)

    # Offsets

    def committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, tuple[int, str]]:
        """Return what is committed of those that have a commit."""
        self._asked("committed offsets")
        return {each: self._kafka.commits[each] for each in partitions if each in self._kafka.commits}

    def commit(self, offsets: Mapping[Partition, tuple[int, str]]) -> None:
        """Begin to commit what is ours; the newest of each partition counts."""
        self._process.check()
        mine = {each: point for each, point in offsets.items() if each in self._positions}
        if not mine or self._member is None:
            return
        self._given.update(mine)
        self._commit_number += 1
        member, number = self._member, self._commit_number
        self._loom.after(self._weather.delay(), lambda: self._arrives(member, mine, number))

    def _arrives(self, member: Member, offsets: Mapping[Partition, tuple[int, str]], number: int) -> None:
        """A commit arrives, unless a newer one of the same partition has. A lost one is tried again."""
        still = {each: self._given[each] for each in offsets if each in self._given}
        if member is not self._member or not still:
            return
        if self._weather.kafka_reached(self._process):
            self._kafka.commit(member, still)
        elif not self._process.dead and number == self._commit_number:
            self._loom.after(0.5, lambda: self._arrives(member, offsets, number))

    def position(self, partition: Partition) -> int | None:
        """Return the offset of the next message to come."""
        return self._positions.get(partition)

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Return the offset after the last message of each log."""
        self._asked("ends")
        return {each: self._kafka.end(each) for each in partitions}

    def offset_at(self, partition: Partition, time_ms: int) -> int | None:
        """Return the first offset whose message is not older than `time_ms`."""
        self._asked("an offset by time")
        log, start = self._kafka.logs[partition], self._kafka.starts[partition]
        return next((index for index in range(start, len(log)) if log[index].timestamp_ms >= time_ms), None)

    def seek(self, partition: Partition, offset: int) -> None:
        """Go on from this offset."""
        self._process.check()
        if partition in self._positions:
            self._positions[partition] = offset
            self._kafka.history.tell(self._process.name, f"goes back to {offset} in {name_of(partition)}")

    def _asked(self, what: str) -> None:
        self._loom.wait(self._weather.delay())
        if not self._weather.kafka_reached(self._process):
            self._loom.wait(self._weather.patience())
            raise BrokerUnavailable(f"no answer to the question for {what}")


def _read(partition: Partition, offset: int, body: bytes) -> Delivery | Unreadable:
    try:
        return Delivery(envelope.decode(body), body, partition, offset)
    except EnvelopeError as error:
        return Unreadable(body, partition, offset, str(error), error.task_id)
