"""The queue of unreadable messages between intake and sweeper."""

from __future__ import annotations

from yadtq_core.model import Partition, Unreadable
from yadtq_core.worker.unreadable import UNREADABLE_BYTES, UnreadableQueue

P0 = Partition("default", 0)


def unreadable(offset: int, size: int = 1) -> Unreadable:
    return Unreadable(b"x" * size, P0, offset, "not JSON")


def test_it_is_full_when_the_bodies_exceed_the_limit_and_no_longer_when_they_were_taken() -> None:
    queue = UnreadableQueue()
    queue.add([unreadable(0, UNREADABLE_BYTES)])
    assert not queue.full()
    queue.add([unreadable(1)])
    assert queue.full()
    queue.take()
    assert not queue.full()


def test_messages_that_were_put_back_come_first() -> None:
    queue = UnreadableQueue()
    queue.add([unreadable(0), unreadable(1)])
    taken = queue.take()
    queue.add([unreadable(2)])
    queue.put_back(taken[1:])
    assert [entry.offset for entry in queue.take()] == [1, 2]
    assert queue.take() == []
