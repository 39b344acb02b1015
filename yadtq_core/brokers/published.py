"""A publication that is complete at once: for brokers whose publish returns the new entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Published:
    """`interfaces.Publication` of messages whose positions are known, or will never be known (None)."""

    positions: Sequence[str | None]
    errors: Mapping[int, str] = field(default_factory=dict)
    """The reasons of refused messages, by their index."""

    def wait(self, timeout: float) -> Sequence[str | None]:
        """Return the position of each message at once."""
        return self.positions
