"""Consumers that write partitions and commits into the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verification.faults import history as h
from yadtq_core.model import Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from yadtq_core.interfaces import Consumer, ReplayableConsumer
    from yadtq_core.model import Delivery, Partition, Place


class RecordedConsumer:
    """`interfaces.Consumer` that writes every gained and lost partition into the history."""

    def __init__(self, behind: Consumer, writer: h.Writer) -> None:
        self._behind = behind
        self._writer = writer

    def poll(self, max_messages: int, timeout: float) -> Sequence[Delivery | Unreadable]:
        b, found = h.now(), self._behind.poll(max_messages, timeout)
        left = [one.task_id for one in found if isinstance(one, Unreadable) and one.task_id]
        if left:
            self._writer.write(h.Left(self._writer.who, b, h.now(), left))
        return found

    def changes(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        gained, lost = self._behind.changes()
        if gained or lost:
            at = h.now()
            came, went = (
                sorted((one.queue, one.number) for one in gained),
                sorted((one.queue, one.number) for one in lost),
            )
            self._writer.write(h.Assigned(self._writer.who, at, at, came, went))
        return gained, lost

    def settle(self, places: Sequence[Place]) -> None:
        self._behind.settle(places)

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._behind.pause(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._behind.resume(partitions)

    def close(self, timeout: float) -> None:
        self._behind.close(timeout)


class RecordedReplayableConsumer(RecordedConsumer):
    """`interfaces.ReplayableConsumer` that writes every offset to be committed into the history."""

    def __init__(self, behind: ReplayableConsumer, writer: h.Writer) -> None:
        super().__init__(behind, writer)
        self._offsets = behind
        self._last: dict[Partition, int] = {}

    def commit(self, offsets: Mapping[Partition, tuple[int, str]]) -> None:
        at = h.now()
        new = {part: offset for part, (offset, _) in offsets.items() if self._last.get(part) != offset}
        if new:
            self._last.update(new)
            told = [h.Offset(part.queue, part.number, offset) for part, offset in new.items()]
            self._writer.write(h.Committing(self._writer.who, at, at, told))
        self._offsets.commit(offsets)

    def committed(self, partitions: Sequence[Partition]) -> Mapping[Partition, tuple[int, str]]:
        return self._offsets.committed(partitions)

    def position(self, partition: Partition) -> int | None:
        return self._offsets.position(partition)

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        return self._offsets.ends(partitions)

    def offset_at(self, partition: Partition, time_ms: int) -> int | None:
        return self._offsets.offset_at(partition, time_ms)

    def seek(self, partition: Partition, offset: int) -> None:
        self._offsets.seek(partition, offset)
