"""The seam of the kit: a store that implements it is a complete backend with `StoreBackend`.

A store keeps two things for one namespace: records, found by ID and in order of a score within an index, and small
values by name (messages, the epoch, counters, workers). Every call of a backend is one transaction.

A store raises only BackendUnavailable (it cannot be reached, or does not answer in time) and ConfigurationRefused (it
answers, but is full, read-only or lacks a permission).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from yadtq_core.model import Finding


class Entry(NamedTuple):
    """A record as it is written: its bytes, and what a store must find it by."""

    id: str
    data: bytes
    listed: tuple[str, int] | None
    """The name of the one index that lists it, and its score there (0 to 2**53); None: no index does."""
    holder: str | None
    """Its place in the answer of `held`; None: not in any."""
    expires_ms: int | None
    """`purge` removes it from then on; None: never."""
    ended: bool
    """This write ends the record: a store that pushes tells its listeners."""


class Transaction(Protocol):
    """One transaction. All that it writes is there at its end, or nothing.

    No other transaction of this namespace changes what it has read before it ends. A store whose isolation is weaker
    takes a lock at the beginning.
    """

    def read(self, ids: Sequence[str]) -> Mapping[str, bytes]:
        """Return the bytes of the records that exist."""
        ...

    def write(self, entries: Sequence[Entry]) -> None:
        """Insert or replace these records."""
        ...

    def first(self, index: str, low: int, high: int, limit: int) -> Sequence[str]:
        """Return the IDs of at most `limit` records of an index, the lowest score first: low <= score < high."""
        ...

    def highest(self, index: str, low: int, high: int) -> int | None:
        """Return the highest score in an index with low <= score < high; None if there is none."""
        ...

    def size(self, index: str) -> int:
        """Return how many records an index lists."""
        ...

    def held(self, holder: str) -> Sequence[str]:
        """Return the IDs of the records with this holder."""
        ...

    def purge(self, now_ms: int) -> None:
        """Remove the records that expire at `now_ms` or before. Called with every heartbeat of a worker."""
        ...

    def get(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """Return the values that exist, by name."""
        ...

    def put(self, values: Mapping[str, bytes | None]) -> None:
        """Insert or replace these values; None removes one."""
        ...


class EndListener(Protocol):
    """A listener to the ends of records; used by one thread, closed by any."""

    def wait(self, timeout: float) -> Sequence[str] | None:
        """Return the IDs of records that ended since the last call, waiting at most `timeout` seconds for the first.

        None: some may have been missed, for example because a connection was lost.
        """
        ...

    def close(self) -> None:
        """Let a `wait` in another thread return, and release what is held. Never raises."""
        ...


class RecordStore(Protocol):
    """A store of one namespace. Safe for use by several threads."""

    @property
    def run_id(self) -> str:
        """An ID that changes when the store may have lost writes that it had acknowledged.

        A constant for a store that never loses them. A store with asynchronous writes changes it with each start.
        """
        ...

    def now_us(self) -> int:
        """Return the store's clock, in microseconds since 1970. All processes must read the same clock."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin a transaction: the end of the block commits it, an exception undoes it."""
        ...

    def listen(self) -> EndListener | None:
        """Return a new listener, or None if this store cannot push: then waiting clients ask every 0.1 s."""
        ...

    def check(self) -> None:
        """Raise unless the store can be reached and used."""
        ...

    def findings(self) -> Iterable[Finding]:
        """Yield what `yadtq doctor` reports about the store. Changes nothing."""
        ...

    def close(self) -> None:
        """Release connections. Never raises. May be called twice."""
        ...
