"""A channel within the process (`interfaces.Subscription`)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence


class MemorySubscription:
    """What is pushed to one channel. `forget` is called when it is closed."""

    def __init__(self, forget: Callable[[str], object]) -> None:
        self._name = secrets.token_hex(8)
        self._forget = forget
        self._pushed: list[str] = []
        self._changed = threading.Condition()
        self._closed = False

    @property
    def channel(self) -> str:
        """The channel's name, for `watch`."""
        return self._name

    def push(self, task_id: str) -> None:
        """Hand an ID to whoever waits."""
        with self._changed:
            self._pushed.append(task_id)
            self._changed.notify()

    def wait(self, timeout: float) -> Sequence[str] | None:
        """Return IDs pushed since the last call, waiting at most `timeout` seconds; no connection can be lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._pushed or self._closed, timeout)
            pushed, self._pushed = self._pushed, []
        return pushed

    def close(self) -> None:
        """Let go, and let a `wait` that is under way return. Never raises."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._forget(self._name)
