"""A publication that is complete at once: for brokers whose publish returns the new entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Published:
    """`interfaces.Publication` of messages whose positions are known, or will never be known (None)."""

    __slots__ = ("_errors", "_positions")

    def __init__(self, positions: Sequence[str | None], errors: Mapping[int, str] | None = None) -> None:
        self._positions = positions
        self._errors = errors or {}

    def wait(self, timeout: float) -> Sequence[str | None]:
        """Return the position of each message at once."""
        return self._positions

    @property
    def errors(self) -> Mapping[int, str]:
        """The reasons of refused messages, by their index."""
        return self._errors
