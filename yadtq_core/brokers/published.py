"""A publication that was over when it was made: for brokers that answer a publish with the entries it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Published:
    """`interfaces.Publication` of messages whose positions are known, or never will be (None)."""

    __slots__ = ("_errors", "_positions")

    def __init__(self, positions: Sequence[str | None], errors: Mapping[int, str] | None = None) -> None:
        self._positions = positions
        self._errors = errors or {}

    def wait(self, timeout: float) -> Sequence[str | None]:
        """Return the position of each; there is nothing to wait for."""
        return self._positions

    @property
    def errors(self) -> Mapping[int, str]:
        """Why a message (by its index) was refused for good."""
        return self._errors
