"""How a waiting client hears that a task has ended (`interfaces.Subscription`): by the store's push, or by polling."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from yadtq_core.records.store import EndListener

POLL_SECONDS = 0.1
"""Between two looks at a store that does not push."""


class StoreSubscription:
    """The IDs that one channel watches.

    ended: returns those of the given IDs that have ended or do not exist. closed: called with the channel at the end.
    """

    def __init__(
        self,
        listener: EndListener | None,
        ended: Callable[[Sequence[str]], Iterable[str]],
        closed: Callable[[str], object],
    ) -> None:
        self.channel = secrets.token_hex(8)
        self._listener = listener
        self._ended = ended
        self._at_close = closed
        self._watched: set[str] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def watch(self, ids: Sequence[str]) -> set[str]:
        """Watch these IDs; return those that need no watch because they have ended already."""
        with self._lock:  # before the look at the records, so that no end falls between the two
            self._watched.update(ids)
        return set(self._taken(self._ended(ids)))

    def wait(self, timeout: float) -> Sequence[str] | None:
        """Return watched IDs that ended since the last call, waiting at most `timeout` seconds for the first."""
        until = time.monotonic() + timeout
        while not self._closed.is_set():
            left = until - time.monotonic()
            found = self._pushed(left) if self._listener else self._taken(self._ended(self._snapshot()))
            if found or found is None or left <= 0:
                return found
            if not self._listener:
                self._closed.wait(min(POLL_SECONDS, left))
        return []

    def forget(self, ids: Sequence[str]) -> None:
        """Watch these IDs no longer, so that a store that does not push is not asked about them."""
        with self._lock:
            self._watched.difference_update(ids)

    def close(self) -> None:
        """Stop watching, and let a `wait` in another thread return. Never raises."""
        self._closed.set()
        if self._listener:
            self._listener.close()
        self._at_close(self.channel)

    def _pushed(self, timeout: float) -> list[str] | None:
        pushed = self._listener.wait(max(timeout, 0.0)) if self._listener else ()
        return None if pushed is None else self._taken(pushed)

    def _snapshot(self) -> list[str]:
        with self._lock:
            return list(self._watched)

    def _taken(self, ids: Iterable[str]) -> list[str]:
        """Return the watched ones of these IDs, and watch them no longer."""
        with self._lock:
            taken = [task_id for task_id in ids if task_id in self._watched]
            self._watched.difference_update(taken)
        return taken
