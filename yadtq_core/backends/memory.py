"""The reference store: records in this process, under one lock. Read it beside `records/store.py`."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from yadtq_core.errors import ConfigurationRefused
from yadtq_core.model import Finding, ok
from yadtq_core.records import OPEN, SCHEDULED, Entry, StoreBackend
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
        self.entries: dict[str, Entry] = {}
        """The records as they were written last."""
        self._indexes: dict[str, list[tuple[int, str]]] = {}
        """Score and ID of what each index lists, in order."""
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
        return {task_id: self.entries[task_id].data for task_id in ids if task_id in self.entries}

    def write(self, entries: Sequence[Entry]) -> None:
        """Insert or replace these records; tell the listeners which have ended."""
        for entry in entries:
            self._remove(entry.id)
            self.entries[entry.id] = entry
            if entry.listed:
                name, score = entry.listed
                insort(self._indexes.setdefault(name, []), (score, entry.id))
        if ended := [entry.id for entry in entries if entry.ended]:
            for listener in tuple(self._listeners):  # another thread may close one
                listener.push(ended)

    def _remove(self, task_id: str) -> None:
        before = self.entries.pop(task_id, None)
        if before and before.listed:
            name, score = before.listed
            del self._indexes[name][bisect_left(self._indexes[name], (score, task_id))]

    def first(self, index: str, low: int, high: int, limit: int) -> Sequence[str]:
        """Return the IDs of the records with the lowest scores of this range."""
        return [task_id for _, task_id in self._between(index, low, high)[:limit]]

    def highest(self, index: str, low: int, high: int) -> int | None:
        """Return the highest score of this range."""
        found = self._between(index, low, high)
        return found[-1][0] if found else None

    def _between(self, index: str, low: int, high: int) -> list[tuple[int, str]]:
        listed = self._indexes.get(index, [])
        return listed[bisect_left(listed, (low, "")) : bisect_left(listed, (high, ""))]

    def size(self, index: str) -> int:
        """Return how many records an index lists."""
        return len(self._indexes.get(index, ()))

    def next_due(self) -> int | None:
        """Return the time (ms) of the next record that a sweep looks at."""
        return min((listed[0][0] for name in (OPEN, SCHEDULED) if (listed := self._indexes.get(name))), default=None)

    def held(self, holder: str) -> Sequence[str]:
        """Return the IDs of the records with this holder."""
        return [entry.id for entry in self.entries.values() if entry.holder == holder]

    def purge(self, now_ms: int) -> None:
        """Remove what has expired."""
        expired = [each.id for each in self.entries.values() if each.expires_ms and each.expires_ms <= now_ms]
        for task_id in expired:
            self._remove(task_id)

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
        return [ok("backend", f"{len(self.entries)} records in this process's memory")]

    def close(self) -> None:
        """Do nothing: the records stay until the process ends."""

    def lose_everything(self) -> None:
        """Forget all records and values, as a Redis does that was flushed."""
        with self._lock:
            for kept in (self.entries, self._indexes, self._values):
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
