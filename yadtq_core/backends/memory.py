"""The reference store: records in this process, under one lock. Read it beside `records/store.py`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from yadtq_core.errors import ConfigurationRefused
from yadtq_core.model import Finding, ok
from yadtq_core.records import Entry, StoreBackend
from yadtq_core.settings import Settings, masked_url

_stores: dict[tuple[str, str], MemoryStore] = {}
"""By address and namespace: a client and a worker of one process share them. The only state of a module in yadtq: a
store that ended with its last user would lose its results when a client is closed."""


def open(settings: Settings) -> StoreBackend:  # noqa: A001  (what every implementation's factory is called)
    """Return the backend at `settings.backend`; all that this process opens there share their records.

    Raises ConfigurationRefused unless the broker is in memory too.
    """
    if not settings.broker.startswith("memory://"):
        raise ConfigurationRefused(
            f"broker {masked_url(settings.broker)} with backend {settings.backend}: memory lives in one process and "
            "ends with it; use memory:// for both or for neither"
        )
    return StoreBackend(_stores.setdefault((settings.backend, settings.namespace), MemoryStore()), settings)


class MemoryStore:
    """`records.RecordStore` in this process. It is its own transaction, because one lock makes every call whole.

    clock: returns seconds since 1970; a test gives its own.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.run_id = "1"
        """A test changes it to stand for a restart that may have lost writes."""
        self.due_at: dict[str, int] = {}
        """The due time (ms) of every record that has one."""
        self._entries: dict[str, Entry] = {}
        self._values: dict[str, bytes] = {}
        self._listeners: list[MemoryListener] = []
        self._lock = threading.RLock()

    def now_us(self) -> int:
        """Return the clock in microseconds."""
        return int(self.clock() * 1_000_000)

    @contextmanager
    def transaction(self) -> Iterator[MemoryStore]:
        """Hold the lock. Nothing is undone after an exception: all writes come last, and none of them fails."""
        with self._lock:
            yield self

    def read(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """Return the bytes of the records that exist."""
        return {task_id: self._entries[task_id].data for task_id in ids if task_id in self._entries}

    def write(self, entries: Sequence[Entry]) -> None:
        """Insert or replace these records; tell the listeners which have ended."""
        for entry in entries:
            self._entries[entry.id] = entry
            if entry.due_ms is None:
                self.due_at.pop(entry.id, None)
            else:
                self.due_at[entry.id] = entry.due_ms
        if ended := [entry.id for entry in entries if entry.ended]:
            for listener in tuple(self._listeners):  # another thread may close one
                listener.push(ended)

    def due(self, now_ms: int, limit: int) -> Sequence[str]:
        """Return the IDs of what is due, the longest due first."""
        found = sorted((at, task_id) for task_id, at in self.due_at.items() if at <= now_ms)
        return [task_id for _, task_id in found[:limit]]

    def held(self, holder: str) -> Sequence[str]:
        """Return the IDs of the records with this holder."""
        return [entry.id for entry in self._entries.values() if entry.holder == holder]

    def purge(self, now_ms: int) -> None:
        """Remove what has expired."""
        expired = [each.id for each in self._entries.values() if each.expires_ms and each.expires_ms <= now_ms]
        for task_id in expired:
            del self._entries[task_id]

    def get(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return the values that exist."""
        return {name: self._values[name] for name in names if name in self._values}

    def put(self, values: Mapping[str, bytes | None]) -> None:
        """Insert, replace or remove these values."""
        for name, value in values.items():
            if value is None:
                self._values.pop(name, None)
            else:
                self._values[name] = value

    def listen(self) -> MemoryListener:
        """Return a new listener."""
        listener = MemoryListener(self._listeners.remove)
        self._listeners.append(listener)
        return listener

    def check(self) -> None:
        """Do nothing: memory can always be used."""

    def findings(self) -> Sequence[Finding]:
        """Return one finding: the number of records."""
        return [ok("backend", f"{len(self._entries)} records in this process's memory")]

    def close(self) -> None:
        """Do nothing: the records stay until the process ends."""

    def lose_everything(self) -> None:
        """Forget all records and values, as a Redis does that was flushed."""
        with self._lock:
            for kept in (self._entries, self.due_at, self._values):
                kept.clear()


class MemoryListener:
    """`records.EndListener` within the process."""

    def __init__(self, forget: Callable[[Any], object]) -> None:
        self._forget = forget
        self._ended: list[str] = []
        self._changed = threading.Condition()
        self._closed = False

    def push(self, ids: Sequence[str]) -> None:
        """Add the IDs of records that have ended."""
        with self._changed:
            self._ended += ids
            self._changed.notify()

    def wait(self, timeout: float) -> Sequence[str]:
        """Return the IDs of records that ended since the last call; no connection can be lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._closed, timeout)
            ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Let a `wait` in another thread return, and be forgotten. Never raises."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._forget(self)
            self._changed.notify_all()
