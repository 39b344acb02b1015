"""The rules of a worker without a free slot: when it offers what waits here, leaves the group, and joins again.

Its runs and their leases go on while it is out of the group. Times are local monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from yadtq_core.model import WorkerRow

OFFER_AFTER = 1.0
"""Without a free slot for this long, a worker offers what waits here to its peers."""
LEAVE_AFTER = 3.0
"""Without a free slot for this long, a worker leaves the group if its peers can do its work: a requeue request costs a
script call for 200 tasks and a peer's look at the store, and a peer that reads the partition itself needs neither."""
JOIN_AFTER = 1.0
"""A slot must be free for this long before the worker joins again: each join costs the group a rebalance."""
LEAVE_AGAIN_AFTER = 30.0


class Saturation:
    """How long a worker has had no free slot, or some."""

    def __init__(self) -> None:
        self._full_since: float | None = None
        self._free_since: float | None = None
        self._left_at: float | None = None
        self._freed = False
        """A slot has been free since the worker has left."""

    def note(self, free: int, now: float) -> None:
        """Note how many slots are free now."""
        if free:
            self._freed = True
            self._full_since = None
            self._free_since = now if self._free_since is None else self._free_since
        else:
            self._free_since = None
            self._full_since = now if self._full_since is None else self._full_since

    def offers(self, now: float) -> bool:
        """True when requeue requests are to be sent."""
        return self._full_since is not None and now - self._full_since > OFFER_AFTER

    def may_leave(self, now: float) -> bool:
        """True when the worker has been full for long and has not left within the last LEAVE_AGAIN_AFTER seconds."""
        full = self._full_since is not None and now - self._full_since > LEAVE_AFTER
        return full and (self._left_at is None or now - self._left_at > LEAVE_AGAIN_AFTER)

    def left(self, now: float) -> None:
        """Note that the worker has left the group because it is full."""
        self._left_at = now
        self._freed = False

    def may_join(self, now: float) -> bool:
        """True when the worker may be in the group, as far as its slots are concerned.

        Ready records may take each slot that becomes free, so that none is free for a second: after LEAVE_AGAIN_AFTER
        any slot that was free counts, or the log might have no reader.
        """
        free = self._free_since is not None and now - self._free_since >= JOIN_AFTER
        return free or (self._freed and self._left_at is not None and now - self._left_at > LEAVE_AGAIN_AFTER)


def replaceable(queues: Sequence[str], names: Iterable[tuple[str, str]], peers: Sequence[WorkerRow]) -> bool:
    """True when peers with free slots serve each of these queues and have loaded each of these (queue, task).

    The last member of a queue is never replaceable: no peer with a free slot serves it.
    """
    free = [row.stats for row in peers if row.stats.free]
    return all(any(queue in row.queues for row in free) for queue in queues) and all(
        any(queue in row.queues and task in row.tasks for row in free) for queue, task in names
    )
