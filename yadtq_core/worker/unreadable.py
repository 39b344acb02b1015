"""The unreadable messages on their way from intake, which polls them, to the sweeper, which dead-letters them."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from yadtq_core.model import Unreadable

UNREADABLE_BYTES = 16 * 1024 * 1024
"""How much may wait. During an outage of the broker the sweeper sends nothing, and the memory must not fill up."""


class UnreadableQueue:
    """Messages that could not be decoded. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Unreadable] = []

    def add(self, messages: Iterable[Unreadable]) -> None:
        """Add messages that intake polled."""
        with self._lock:
            self._waiting += messages

    def full(self) -> bool:
        """True when unreadable messages exceed UNREADABLE_BYTES and polling must stop."""
        with self._lock:
            return sum(len(entry.body) for entry in self._waiting) > UNREADABLE_BYTES

    def take(self) -> list[Unreadable]:
        """Take all of them."""
        with self._lock:
            taken, self._waiting = self._waiting, []
        return taken

    def put_back(self, messages: list[Unreadable]) -> None:
        """Put back messages that were taken and could not be sent yet."""
        with self._lock:
            self._waiting = messages + self._waiting
