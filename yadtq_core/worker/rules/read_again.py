"""Deliveries that are read again, after a rewind or from a lost member: most of their tasks have ended.

The backend is asked which of them have, before the others wait for a claim.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from yadtq_core.model import Delivery, Partition

ASK_MOST = 500
"""Deliveries asked about at once: a call that only reads is cheap."""


class ReadAgain:
    """The deliveries that were not asked about yet, in the order in which they were polled."""

    def __init__(self) -> None:
        self._deliveries: deque[Delivery] = deque()

    def __bool__(self) -> bool:
        return bool(self._deliveries)

    def append(self, delivery: Delivery) -> None:
        """Add a delivery."""
        self._deliveries.append(delivery)

    def drop(self, partition: Partition) -> None:
        """Forget the deliveries of a partition."""
        self._deliveries = deque(delivery for delivery in self._deliveries if delivery.partition != partition)

    def first(self) -> list[Delivery]:
        """Return the first ASK_MOST deliveries."""
        return list(islice(self._deliveries, ASK_MOST))

    def answered(self, ended: Sequence[bool]) -> tuple[list[Delivery], list[Delivery]]:
        """Remove the first deliveries, as many as there are answers; return (those that have ended, the others)."""
        asked = [self._deliveries.popleft() for _ in ended]
        pairs = list(zip(asked, ended, strict=True))
        return [one for one, over in pairs if over], [one for one, over in pairs if not over]
